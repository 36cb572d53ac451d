/** @file The LoRAs that the form's job uses, each with its weight; and which model draws. */
import { computed } from "@preact/signals";
import { form, setField } from "./form.ts";
import { persisted } from "./persisted.ts";

export interface LoraUse {
  readonly file: string;
  readonly weight?: number;
}

/** Of sliders; the form takes more by its field. */
export const LORA_WEIGHTS = { min: -1, max: 2, step: 0.05, standing: 1 } as const;

function isUse(value: unknown): value is LoraUse {
  return typeof (value as LoraUse | null)?.file === "string";
}

/** In the form's order. */
export const loras = computed<readonly LoraUse[]>(() => {
  const { loras: used } = form.value;
  return Array.isArray(used) ? used.filter(isUse) : [];
});

function set(next: readonly LoraUse[]): void {
  setField("loras", next.length === 0 ? undefined : next);
}

export function useLora(file: string): void {
  if (!loras.peek().some((use) => use.file === file)) set([...loras.peek(), { file, weight: LORA_WEIGHTS.standing }]);
}

export function dropLora(file: string): void {
  set(loras.peek().filter((use) => use.file !== file));
}

export function weighLora(file: string, weight: number): void {
  set(loras.peek().map((use) => (use.file === file ? { ...use, weight } : use)));
}

/** Adds words to the end of the prompt, unless they are there. */
export function addWords(words: string): void {
  const before = String(form.peek().prompt ?? "").trimEnd();
  if (before.toLowerCase().includes(words.toLowerCase())) return;
  setField("prompt", before === "" ? words : `${before.replace(/,$/, "")}, ${words}`);
}

/** The model that draws; "": the server's standing one. */
export const modelChoice = persisted("model", "", (kept) => (typeof kept === "string" ? kept : undefined));
