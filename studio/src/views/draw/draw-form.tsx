/** @file The form: a prompt, a shape, how many; in Advanced every field of the server's schema beside them. Simple and Advanced hold the same values. */
import { useId } from "preact/hooks";
import type { SchemaField } from "../../api/types.ts";
import { maybe, t } from "../../messages/translate.ts";
import { Choice } from "../../parts/choice.tsx";
import { Field } from "../../parts/field.tsx";
import { Icon } from "../../parts/icon.tsx";
import { LoraWeights } from "../../parts/lora-weights.tsx";
import { count, form, prompt, schema, setField } from "../../state/form.ts";
import { isPhone, mode, setMode } from "../../state/settings.ts";
import { draw } from "./drawing.ts";
import { PromptHistory } from "./prompt-history.tsx";
import { SizePicker } from "./size-picker.tsx";
import { StartPicture } from "./start-picture.tsx";

/** They have places of their own. */
const PLACED = ["prompt", "width", "height", "initImage", "maskImage", "strength", "controls", "ipAdapters", "loras"];

export function DrawForm() {
  const known = schema.value;
  const id = useId();
  const submit = (event: Event) => {
    event.preventDefault();
    void draw();
  };
  return (
    <form class="draw-form" onSubmit={submit}>
      <div class="form-scroll">
        <div class="field prompt">
          <div class="label-row">
            <label for={id}>{t("draw.prompt")}</label>
            <PromptHistory />
          </div>
          <textarea
            id={id}
            dir="auto"
            rows={4}
            placeholder={t("draw.promptHint")}
            value={prompt.value}
            onInput={({ currentTarget }) => setField("prompt", currentTarget.value || undefined)}
          />
        </div>
        <SizePicker />
        <StartPicture />
        {known?.fields
          .filter(({ name }) => name === "controls" || name === "ipAdapters")
          .map((field) => (
            <Field key={field.name} field={field} />
          ))}
        <div data-field="loras">
          <LoraWeights adds={mode.value === "advanced"} />
        </div>
        <Count most={known?.maxCount ?? 1} />
        {!isPhone.value && (
          <Choice
            label={t("settings.mode")}
            value={mode.value}
            options={[
              ["simple", t("settings.simple")],
              ["advanced", t("settings.advanced")],
            ]}
            onChange={setMode}
          />
        )}
        {mode.value === "advanced" && known && <Advanced fields={known.fields} kind={known.model.kind} />}
      </div>
      <div class="form-foot">
        <button type="submit" class="primary" disabled={!known}>
          <Icon name="brush" />
          {t(known ? "draw.go" : "draw.opening")}
        </button>
      </div>
    </form>
  );
}

function Count({ most }: { readonly most: number }) {
  const choices = [1, 2, 4, 8].filter((each) => each <= Math.max(most, 1));
  return (
    <Choice
      label={t("draw.count")}
      value={String(count.value)}
      options={choices.map((each) => [String(each), String(each)] as const)}
      onChange={(value) => {
        count.value = Number(value);
      }}
    />
  );
}

function Advanced({ fields, kind }: { readonly fields: readonly SchemaField[]; readonly kind: string | undefined }) {
  const shown = fields.filter(({ name, group }) => group !== undefined && !PLACED.includes(name));
  const groups = [...new Set(shown.map(({ group }) => group!))];
  return (
    <div class="advanced">
      {kind !== undefined && <p class="hint">{t("draw.kind", { kind })}</p>}
      {groups.map((group, at) => (
        <details key={group} open={at === 0}>
          <summary>{maybe(`group.${group}`) ?? group}</summary>
          {shown
            .filter((field) => field.group === group)
            .map((field) => (
              <Field key={field.name} field={field} />
            ))}
        </details>
      ))}
      <button
        type="button"
        class="quiet"
        onClick={() => {
          const { prompt: words } = form.peek();
          form.value = words === undefined ? {} : { prompt: words };
        }}
      >
        {t("draw.reset")}
      </button>
    </div>
  );
}
