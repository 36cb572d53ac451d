/** @file What the form holds: the values that a person gave, half-typed prompt and all, kept over reloads; what is absent has the model's or the program's default. */
import { computed, signal } from "@preact/signals";
import type { JobFields, JobValue, ModelInfo, Schema, SchemaField } from "../api/types.ts";
import { persisted } from "./persisted.ts";

const MAX_PROMPTS = 200;
const MAX_PROMPT_CHARS = 8192;

function fieldsOf(kept: unknown): JobFields | undefined {
  if (kept === null || typeof kept !== "object" || Array.isArray(kept)) return undefined;
  const fits = (value: unknown) => ["string", "number", "boolean"].includes(typeof value) || Array.isArray(value);
  return Object.fromEntries(Object.entries(kept).filter(([, value]) => fits(value))) as JobFields;
}

export const form = persisted<JobFields>("form", {}, fieldsOf);
export const count = persisted("count", 1, (kept) =>
  Number.isInteger(kept) && Number(kept) > 0 ? Number(kept) : undefined,
);

/** Earlier prompts, the latest first. */
export const prompts = persisted<readonly string[]>("prompts", [], (kept) =>
  Array.isArray(kept) ? kept.filter((each) => typeof each === "string").slice(0, MAX_PROMPTS) : undefined,
);

/** Undefined until the server has said it. */
export const schema = signal<Schema | undefined>(undefined);
export const model = signal<ModelInfo | undefined>(undefined);

export const prompt = computed(() => String(form.value.prompt ?? ""));

export function setField(name: string, value: JobValue | undefined): void {
  const { [name]: _, ...others } = form.peek();
  form.value = value === undefined ? others : { ...others, [name]: value };
}

/** What counts where nobody gave a value; undefined: the field's own words say it (`absent`). */
export function standingOf({ name, default: standing }: SchemaField): JobValue | undefined {
  return schema.value?.model.advice[name] ?? standing;
}

/** What Draw asks for: only fields that the server knows. */
export function jobOfForm(): JobFields {
  const { fields = [], model: served } = schema.peek() ?? {};
  const all: JobFields = { prompt: "", ...served?.advice, ...form.peek() };
  const known = new Set(fields.map(({ name }) => name));
  return Object.fromEntries(Object.entries(all).filter(([name]) => known.has(name)));
}

export function rememberPrompt(text: string): void {
  const words = text.trim().slice(0, MAX_PROMPT_CHARS);
  if (words !== "") prompts.value = [words, ...prompts.peek().filter((each) => each !== words)].slice(0, MAX_PROMPTS);
}
