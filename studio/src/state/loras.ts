/** @file The LoRAs that the form's job uses, each with its weight, in any field that holds some; and which model draws. */
import { computed } from "@preact/signals";
import { form, setField } from "./form.ts";
import { persisted } from "./persisted.ts";

/** What else a job may say of one (parts of the model, shares of the steps) stays as it is. */
export interface LoraUse {
  readonly file: string;
  readonly weight?: number;
}

/** Of sliders; what is typed may go further. */
export const LORA_WEIGHTS = { min: -1, max: 2, step: 0.05, standing: 1, most: 100 } as const;

function isUse(value: unknown): value is LoraUse {
  return typeof (value as LoraUse | null)?.file === "string";
}

/** Of a field, in the form's order; whoever renders them hears of changes. */
export function lorasOf(field: string): readonly LoraUse[] {
  const used = form.value[field];
  return Array.isArray(used) ? used.filter(isUse) : [];
}

/** Those of the picture itself. */
const FIELD = "loras";
export const loras = computed(() => lorasOf(FIELD));

function set(field: string, next: readonly LoraUse[]): void {
  setField(field, next.length === 0 ? undefined : next);
}

export function useLora(file: string, field = FIELD): void {
  const used = lorasOf(field);
  if (!used.some((use) => use.file === file)) set(field, [...used, { file, weight: LORA_WEIGHTS.standing }]);
}

export function dropLora(file: string, field = FIELD): void {
  set(
    field,
    lorasOf(field).filter((use) => use.file !== file),
  );
}

export function weighLora(file: string, weight: number, field = FIELD): void {
  set(
    field,
    lorasOf(field).map((use) => (use.file === file ? { ...use, weight } : use)),
  );
}

/** Adds words to the end of the prompt, unless they are there. */
export function addWords(words: string): void {
  const before = String(form.peek().prompt ?? "").trimEnd();
  if (before.toLowerCase().includes(words.toLowerCase())) return;
  setField("prompt", before === "" ? words : `${before.replace(/,$/, "")}, ${words}`);
}

/** The model that draws; "": the server's standing one. */
export const modelChoice = persisted("model", "", (kept) => (typeof kept === "string" ? kept : undefined));
