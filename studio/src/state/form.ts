/** @file What the form holds: the values that a person gave, half-typed prompt and all, kept over reloads; what is absent has the model's or the program's default. */
import { computed, signal } from "@preact/signals";
import type { JobFields, JobValue, ModelInfo, Schema, SchemaField } from "../api/types.ts";
import { t } from "../messages/translate.ts";
import { notify } from "../shell/notices.tsx";
import { persisted } from "./persisted.ts";

export const MAX_PROMPTS = 200;
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

/** What the part of a picture shall show that is drawn by itself (the field detail); "": what the prompt says. */
export const partPrompt = persisted("part-prompt", "", (kept) => (typeof kept === "string" ? kept : undefined));

/** Undefined until the server has said it. */
export const schema = signal<Schema | undefined>(undefined);
export const model = signal<ModelInfo | undefined>(undefined);

export const prompt = computed(() => String(form.value.prompt ?? ""));

/** Prompts, and what each was drawn from: with its template, a prompt stands as it is. */
const TEMPLATES: Readonly<Record<string, string>> = {
  prompt: "template",
  negativePrompt: "negativeTemplate",
  prompt2: "template2",
  negativePrompt2: "negativeTemplate2",
};

/** A prompt that is written anew was drawn from nothing. */
export function setField(name: string, value: JobValue | undefined): void {
  const { [name]: _, [TEMPLATES[name] ?? ""]: __, ...others } = form.peek();
  form.value = value === undefined ? others : { ...others, [name]: value };
}

/** All of the form is others' values, and there is a way back. `onUndo`: what else goes back then. */
export function fill(fields: JobFields, onUndo?: () => void): void {
  const before = form.peek();
  form.value = fields;
  const undo = () => {
    form.value = before;
    onUndo?.();
  };
  notify(t("draw.used"), { title: t("app.undo"), run: undo });
}

/** What a job is without what chance drew for it: another picture of the same settings, its templates drawn anew. */
export function withoutSeed(job: JobFields): JobFields {
  const { seed: _, subseed: __, subseedStrength: ___, ...rest } = job as Record<string, JobValue>;
  for (const [name, template] of Object.entries(TEMPLATES)) {
    const written = rest[template];
    if (written === undefined) continue;
    rest[name] = written;
    delete rest[template];
  }
  return rest;
}

/** What counts where nobody gave a value; undefined: the field's own words say it (`absent`). */
export function standingOf({ name, default: standing, absent = "" }: SchemaField): JobValue | undefined {
  const advised = schema.value?.model.advice[name] ?? standing;
  // "0.7", or words.
  const read = /^[\d.]+$/.test(absent) ? Number(absent) : undefined;
  return advised ?? (name === "strength" ? standingStrength() : read);
}

/** How much of the picture to begin with is drawn anew where nobody says it: as the engine has it (pipeline/job-settings.ts). */
function standingStrength(): number {
  const { detail, maskImage, outpaint } = form.value;
  if (detail !== undefined) return 0.4;
  return maskImage !== undefined || outpaint !== undefined ? 1 : 0.3;
}

/** What Draw asks for: only fields that the server knows. */
export function jobOfForm(): JobFields {
  const { fields = [], model: served } = schema.peek() ?? {};
  const { template, ...own } = form.peek();
  const part = own.detail === undefined ? "" : partPrompt.peek().trim();
  // A part's own words were drawn from no template.
  const words = part === "" ? { ...(template !== undefined && { template }) } : { prompt: part };
  const all: JobFields = { prompt: "", ...served?.advice, ...own, ...words };
  const known = new Set(fields.map(({ name }) => name));
  return Object.fromEntries(Object.entries(all).filter(([name]) => known.has(name)));
}

export function rememberPrompt(text: string): void {
  const words = text.trim().slice(0, MAX_PROMPT_CHARS);
  if (words !== "") prompts.value = [words, ...prompts.peek().filter((each) => each !== words)].slice(0, MAX_PROMPTS);
}
