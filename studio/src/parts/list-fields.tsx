/** @file Fields that hold several things: adapters with their weights, networks that steer by pictures, pictures. Each thing is a row. */
import { useId } from "preact/hooks";
import type { FieldKind, JobValue } from "../api/types.ts";
import { t } from "../messages/translate.ts";
import { Icon } from "./icon.tsx";
import { NumberField } from "./number-field.tsx";
import { PictureSlot } from "./picture-slot.tsx";

interface ListProps {
  readonly label: string;
  readonly hint: string;
  readonly kind: FieldKind;
  readonly value: JobValue | undefined;
  readonly onChange: (value: JobValue | undefined) => void;
}

/** A file and what it is told, as the API has it. */
interface Use {
  readonly file: string;
  readonly weight?: number | undefined;
  readonly image?: string | undefined;
  readonly preprocess?: string | undefined;
}

const WEIGHTS = { loras: { min: -2, max: 2 }, controls: { min: 0, max: 2 } } as const;

/** `value` as rows; what is none is passed over. */
function usesOf(value: JobValue | undefined): readonly Use[] {
  return Array.isArray(value) ? (value as Use[]).filter((use) => typeof use?.file === "string") : [];
}

export function UsesField({ label, hint, kind, value, onChange }: ListProps) {
  const uses = usesOf(value);
  const set = (next: readonly Use[]) => onChange(next.length === 0 ? undefined : next);
  return (
    <fieldset class="uses">
      <legend>{label}</legend>
      {uses.map((use, at) => (
        <UseRow
          // Rows have no name of their own, and keep their places.
          key={`${at}`}
          {...{ use, kind, label }}
          onChange={(changed) => set(changed ? uses.with(at, changed) : uses.toSpliced(at, 1))}
        />
      ))}
      <button type="button" class="quiet" onClick={() => set([...uses, { file: "" }])}>
        {t("uses.add")}
      </button>
      <p class="hint" dir="auto">
        {hint}
      </p>
    </fieldset>
  );
}

interface UseRowProps {
  readonly use: Use;
  readonly kind: FieldKind;
  readonly label: string;
  /** Undefined: it is taken away. */
  readonly onChange: (use: Use | undefined) => void;
}

function UseRow({ use, kind, label, onChange }: UseRowProps) {
  const id = useId();
  const isControl = kind.type === "controls";
  const { min, max } = isControl ? WEIGHTS.controls : WEIGHTS.loras;
  return (
    <div class="use">
      <div class="use-file">
        <label for={id} class="hidden">
          {t("uses.file")}
        </label>
        <input
          id={id}
          type="text"
          dir="auto"
          placeholder={t("uses.file")}
          value={use.file}
          onInput={({ currentTarget }) => onChange({ ...use, file: currentTarget.value })}
        />
        <button
          type="button"
          class="quiet icon-only"
          aria-label={t("draw.clear", { name: use.file || label })}
          onClick={() => onChange(undefined)}
        >
          <Icon name="close" />
        </button>
      </div>
      <NumberField
        label={t("uses.weight")}
        hint=""
        kind={{ type: "decimal", min, max }}
        value={use.weight}
        standing={1}
        onChange={(weight) => onChange({ ...use, weight })}
      />
      {isControl && (
        <>
          <PictureSlot label={t("uses.image")} value={use.image} onChange={(image) => onChange({ ...use, image })} />
          <select
            aria-label={t("uses.preprocess")}
            value={use.preprocess ?? ""}
            onChange={({ currentTarget }) => onChange({ ...use, preprocess: currentTarget.value || undefined })}
          >
            <option value="">{t("uses.preprocess")}</option>
            {kind.values?.map((each) => (
              <option key={each} value={each}>
                {each}
              </option>
            ))}
          </select>
        </>
      )}
    </div>
  );
}

export function PicturesField({ label, hint, kind, value, onChange }: ListProps) {
  const pictures = (Array.isArray(value) ? value : []) as readonly string[];
  const set = (next: readonly string[]) => onChange(next.length === 0 ? undefined : next);
  return (
    <fieldset class="uses">
      <legend>{label}</legend>
      {pictures.map((picture, at) => (
        <PictureSlot
          key={`${at}`}
          label={label}
          value={picture}
          onChange={(changed) => set(changed === undefined ? pictures.toSpliced(at, 1) : pictures.with(at, changed))}
        />
      ))}
      {pictures.length < (kind.maxCount ?? 1) && (
        <PictureSlot
          key={`new-${pictures.length}`}
          label={label}
          value={undefined}
          onChange={(added) => added !== undefined && set([...pictures, added])}
        />
      )}
      <p class="hint" dir="auto">
        {hint}
      </p>
    </fieldset>
  );
}
