/** @file What a picture says of how it was made, as far as it is understood here: values of fields, each checked, and notes of the rest. */
import { UsageError } from "../errors.ts";
import { allowed, type Field, type Fields, type FieldValue } from "./field-type.ts";
import { JOB_FIELDS } from "./fields.ts";
import type { GenerateJob } from "./job.ts";
import { lorasFromJson } from "./lora-use.ts";
import { type UseTable, usesFromJson } from "./parted-use.ts";
import { usePartReader, valueFromText } from "./text.ts";
import { useTable } from "./use-tables.ts";

export interface PictureSettings {
  /** The kind of text that they were read from. */
  readonly source: "solvay" | "infotext" | "comfyui" | "json";
  /** The program that made the picture, as it says: "Solvay 0.1.0", "A1111 v1.10.1", "ComfyUI" ... */
  readonly tool: string;
  /** Fields within their limits. What is not here was not said, or not understood. */
  readonly job: Partial<GenerateJob>;
  /** What else it says of its making, by our record's names: sampler, scheduleType, rng, model, backend, version ... */
  readonly facts: Readonly<Record<string, string>>;
  /** Entries that mean nothing to a job, by their own names. */
  readonly others: ReadonlyMap<string, string>;
  /** For the user: what was not understood, and so would be missing when the picture is made again. */
  readonly notes: readonly string[];
}

/** Longest value that a note quotes. */
const QUOTED_CHARS = 60;
/** Notes of a hostile picture shall not fill a terminal. */
const MAX_NOTES = 40;

/** Collects what a reader finds in a picture's text. */
export class SettingsFound {
  readonly #fields: Fields;
  readonly #job: Record<string, FieldValue> = {};
  readonly #facts: Record<string, string> = {};
  readonly #others = new Map<string, string>();
  readonly #notes: string[] = [];

  constructor(fields: Fields = JOB_FIELDS) {
    this.#fields = fields;
  }

  /** A value of a field, as text or as JSON has it. One that can't be is left out with a note that calls it `called`. */
  take(name: string, value: unknown, called: string = name): void {
    if (value === undefined || value === null) return;
    const field = Object.hasOwn(this.#fields, name) ? this.#fields[name] : undefined;
    if (!field) {
      this.pass(called, value);
      return;
    }
    const read = fieldValue(field, called, value);
    if (typeof read === "object" && "refused" in read) this.note(`${read.refused}: left out`);
    else if (read !== undefined) this.#job[name] = read;
  }

  /** Whether a job has such a field. */
  knows(name: string): boolean {
    return Object.hasOwn(this.#fields, name);
  }

  has(name: string): boolean {
    return Object.hasOwn(this.#job, name);
  }

  /** What the record calls `name`, and a job does not have. */
  fact(name: string, value: unknown): void {
    if (typeof value === "string" || typeof value === "number" || typeof value === "boolean") {
      this.#facts[name] = String(value);
    }
  }

  /** An entry that changes nothing, or nothing that can be told. */
  other(name: string, value: unknown): void {
    this.#others.set(name, typeof value === "string" ? value : (JSON.stringify(value) ?? ""));
  }

  /** An entry that would change the picture, if it were understood. */
  pass(name: string, value: unknown): void {
    this.other(name, value);
    this.note(`${name}: ${shown(value)} is not understood here: left out`);
  }

  note(text: string): void {
    if (this.#notes.length < MAX_NOTES) this.#notes.push(text);
    else if (this.#notes.length === MAX_NOTES) this.#notes.push("and more that is not told");
  }

  settings(source: PictureSettings["source"], tool: string): PictureSettings {
    const job = this.#job as Partial<GenerateJob>;
    return { source, tool, job, facts: this.#facts, others: this.#others, notes: this.#notes };
  }
}

/** Undefined for what stands for chance; what is wrong with it as text. */
function fieldValue({ kind }: Field, called: string, value: unknown): FieldValue | undefined | Refusal {
  const loras = kind.type === "loras" ? lorasFromJson(value) : undefined;
  if (loras) return loras;
  const table = useTable(kind);
  if (table) return usesOf(kind, table, called, value);
  if (
    (kind.type === "files" || kind.type === "pictures") &&
    Array.isArray(value) &&
    value.every((file) => typeof file === "string")
  ) {
    return value.length <= kind.maxCount
      ? value
      : { refused: `${called} must be ${allowed(kind)} (found ${value.length})` };
  }
  const fits =
    typeof value === "string" ||
    (kind.type === "switch" && typeof value === "boolean") ||
    (typeof value === "number" && kind.type !== "text" && kind.type !== "choice");
  if (!fits) return { refused: `${called} must be ${allowed(kind)} (found ${shown(value)})` };
  try {
    return valueFromText(kind, called, plainNumber(value));
  } catch (error) {
    if (error instanceof UsageError) return { refused: error.problem };
    throw error;
  }
}

function usesOf(kind: Field["kind"], table: UseTable, called: string, value: unknown) {
  try {
    const uses = usesFromJson(table, value, usePartReader(called));
    return uses ?? { refused: `${called} must be ${allowed(kind)} (found ${shown(value)})` };
  } catch (error) {
    if (error instanceof UsageError) return { refused: error.problem };
    throw error;
  }
}

interface Refusal {
  readonly refused: string;
}

/** As digits, without an exponent where there is a way. */
function plainNumber(value: unknown): string {
  return typeof value === "number" && Number.isSafeInteger(value) ? value.toFixed(0) : String(value);
}

function shown(value: unknown): string {
  const text = typeof value === "string" ? value : (JSON.stringify(value) ?? String(value));
  return text.length <= QUOTED_CHARS ? text : `${text.slice(0, QUOTED_CHARS)} ...`;
}
