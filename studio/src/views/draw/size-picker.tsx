/** @file The picture's shape, of those that fit the model; in Advanced its sides in pixels as well. */
import type { Size } from "../../api/types.ts";
import { t } from "../../messages/translate.ts";
import { Field } from "../../parts/field.tsx";
import { form, schema, setField } from "../../state/form.ts";
import { mode } from "../../state/settings.ts";

export function SizePicker() {
  const { sizes = [] } = schema.value?.model ?? {};
  const [own] = sizes;
  const { width = own?.width, height = own?.height } = form.value;
  const choose = (size: Size) => {
    const isOwn = size === own;
    setField("width", isOwn ? undefined : size.width);
    setField("height", isOwn ? undefined : size.height);
  };
  return (
    <fieldset class="sizes">
      <legend>{t("draw.size")}</legend>
      <div>
        {sizes.map((size) => {
          const isChosen = size.width === width && size.height === height;
          const longer = Math.max(size.width, size.height);
          const box = { inlineSize: `${(26 * size.width) / longer}px`, blockSize: `${(26 * size.height) / longer}px` };
          return (
            <button
              key={`${size.width}x${size.height}`}
              type="button"
              aria-pressed={isChosen}
              aria-label={`${t(nameOf(size))} ${t("draw.sizeOf", { width: String(size.width), height: String(size.height) })}`}
              title={t("draw.sizeOf", { width: String(size.width), height: String(size.height) })}
              onClick={() => choose(size)}
            >
              <span class="shape" style={box} />
            </button>
          );
        })}
      </div>
      <p class="hint">{width !== undefined && t("draw.sizeOf", { width: String(width), height: String(height) })}</p>
      {mode.value === "advanced" && (
        <div class="sides">
          {schema.value?.fields
            .filter(({ name }) => name === "width" || name === "height")
            .map((field) => (
              <Field key={field.name} field={field} />
            ))}
        </div>
      )}
    </fieldset>
  );
}

function nameOf({ width, height }: Size) {
  if (width === height) return "draw.square" as const;
  return width > height ? ("draw.wide" as const) : ("draw.tall" as const);
}
