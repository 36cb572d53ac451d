/** @file A field that holds several pictures: a place for each, and one more. */
import type { FieldKind, JobValue } from "../api/types.ts";
import { PictureSlot } from "./picture-slot.tsx";

interface PicturesFieldProps {
  readonly label: string;
  readonly hint: string;
  readonly kind: FieldKind;
  readonly value: JobValue | undefined;
  readonly onChange: (value: JobValue | undefined) => void;
}

export function PicturesField({ label, hint, kind, value, onChange }: PicturesFieldProps) {
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
