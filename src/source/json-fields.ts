/** @file The fields of a JSON object, each checked as it is read. The words of a refusal are those of whoever reads the file. */
import { parsePythonJson } from "./python-json.ts";

export type JsonObject = Readonly<Record<string, unknown>>;

/** The object in a config file, read as Python reads it. @throws what `refuse` makes of it where the text is no JSON object */
export function parseJsonObject(text: string, refuse: (problem: string, cause?: unknown) => Error): JsonObject {
  let root: unknown;
  try {
    root = parsePythonJson(text);
  } catch (cause) {
    throw refuse(`not JSON (${cause instanceof Error ? cause.message : "unreadable"})`, cause);
  }
  if (!isJsonObject(root)) throw refuse("the root is not a JSON object");
  return root;
}

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The error for a field. `found`: its value as JSON, shortened; `allowed`: in words. */
export type RefuseField = (field: string, found: string, allowed: string) => Error;

/** What is absent or null is the fallback; without one it is refused. */
export class JsonFields {
  readonly #values: ReadonlyMap<string, unknown>;
  readonly #refuse: RefuseField;

  constructor(values: JsonObject, refuse: RefuseField) {
    this.#values = new Map(Object.entries(values));
    this.#refuse = refuse;
  }

  /** Unchecked; undefined where it is absent or null. */
  value(field: string): unknown {
    return this.#values.get(field) ?? undefined;
  }

  has(field: string): boolean {
    return this.value(field) !== undefined;
  }

  /** Whether the object has the field, even as null. */
  isWritten(field: string): boolean {
    return this.#values.has(field);
  }

  /** An integer in [min, max]. */
  int(field: string, min: number, max: number, fallback?: number): number {
    const value = this.value(field) ?? fallback;
    if (typeof value === "number" && Number.isInteger(value) && value >= min && value <= max) return value;
    throw this.wrong(field, value, `an integer from ${min} to ${max}`);
  }

  number(field: string, fallback?: number): number {
    const value = this.value(field) ?? fallback;
    if (typeof value === "number" && Number.isFinite(value)) return value;
    throw this.wrong(field, value, "a number");
  }

  bool(field: string, fallback?: boolean): boolean {
    const value = this.value(field) ?? fallback;
    if (typeof value === "boolean") return value;
    throw this.wrong(field, value, "true or false");
  }

  string(field: string, fallback?: string): string {
    const value = this.value(field) ?? fallback;
    if (typeof value === "string") return value;
    throw this.wrong(field, value, "a string");
  }

  /** The first of `allowed` is the fallback. */
  choice<const T extends string>(field: string, allowed: readonly [T, ...T[]]): T {
    const value = this.value(field) ?? allowed[0];
    const found = allowed.find((item) => item === value);
    if (found !== undefined) return found;
    throw this.wrong(field, value, allowed.join(", "));
  }

  /** The refusal of a field's value. */
  wrong(field: string, found: unknown, allowed: string): Error {
    const shown = typeof found === "number" ? String(found) : (JSON.stringify(found) ?? "nothing");
    return this.#refuse(field, shown.slice(0, 80), allowed);
  }
}
