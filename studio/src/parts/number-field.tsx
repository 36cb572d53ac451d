/** @file A number: typed, or moved where its range is short. What is half typed stays in the box and counts once it is a number in range. */
import { useId, useState } from "preact/hooks";
import type { FieldKind, JobValue } from "../api/types.ts";
import { number, t } from "../messages/translate.ts";

/** More values than that are no slider's. */
const MAX_STOPS = 400;

interface NumberFieldProps {
  readonly label: string;
  readonly hint: string;
  readonly kind: FieldKind;
  readonly value: JobValue | undefined;
  readonly standing: JobValue | undefined;
  readonly onChange: (value: number | undefined) => void;
}

export function NumberField({ label, hint, kind, value, standing, onChange }: NumberFieldProps) {
  const { min = 0, max = 1, multiple } = kind;
  const step = kind.type === "whole" ? (multiple ?? 1) : max - min <= 2 ? 0.01 : 0.1;
  const [typed, setTyped] = useState<string>();
  const id = useId();
  const text = typed ?? (value === undefined ? "" : String(value));
  const take = (written: string) => {
    const read = Number(written);
    const fits =
      written.trim() !== "" && read >= min && read <= max && (kind.type !== "whole" || Number.isInteger(read));
    if (written.trim() === "") onChange(undefined);
    else if (fits) onChange(read);
    setTyped(fits || written.trim() === "" ? undefined : written);
  };
  const slides = (max - min) / step <= MAX_STOPS;
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <div class="number">
        {slides && (
          <input
            type="range"
            aria-label={label}
            {...{ min, max, step }}
            value={Number(value ?? standing ?? min)}
            onInput={({ currentTarget }) => take(currentTarget.value)}
          />
        )}
        <input
          id={id}
          type="text"
          inputMode="decimal"
          aria-describedby={`${id}-hint`}
          aria-invalid={typed !== undefined}
          placeholder={standing === undefined ? "" : number(Number(standing))}
          value={text}
          onInput={({ currentTarget }) => take(currentTarget.value)}
        />
      </div>
      <p id={`${id}-hint`} dir="auto" class={typed === undefined ? "hint" : "hint wrong"}>
        {typed === undefined ? hint : t("field.range", { min, max })}
      </p>
    </div>
  );
}
