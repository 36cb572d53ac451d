/** @file Reads fields of a config file with checks: what is missing or out of range is said by file and field. */
import { ArtifactError } from "../errors.ts";

type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** Config files are a few KB; anything near this is not one. */
export const MAX_CONFIG_BYTES = 4 * 1024 ** 2;

export class JsonConfig {
  readonly #file: string;
  readonly #fields: ReadonlyMap<string, Json>;

  constructor(file: string, text: string) {
    this.#file = file;
    let parsed: Json;
    try {
      parsed = JSON.parse(text) as Json;
    } catch (cause) {
      throw new ArtifactError({
        code: "E_CONFIG",
        subject: file,
        problem: `not JSON (${cause instanceof Error ? cause.message : "unreadable"})`,
        next: "fetch the model's config files again",
        cause,
      });
    }
    if (parsed === null || typeof parsed !== "object" || Array.isArray(parsed)) {
      throw new ArtifactError({
        code: "E_CONFIG",
        subject: file,
        problem: "not a JSON object",
        next: "fetch the model's config files again",
      });
    }
    this.#fields = new Map(Object.entries(parsed as { [key: string]: Json }));
  }

  /** An integer in [min, max]; `fallback` where the field is absent or null. */
  int(field: string, min: number, max: number, fallback?: number): number {
    const value = this.#fields.get(field) ?? fallback;
    if (typeof value === "number" && Number.isInteger(value) && value >= min && value <= max) return value;
    throw this.wrong(field, value, `an integer from ${min} to ${max}`);
  }

  number(field: string, fallback?: number): number {
    const value = this.#fields.get(field) ?? fallback;
    if (typeof value === "number" && Number.isFinite(value)) return value;
    throw this.wrong(field, value, "a number");
  }

  bool(field: string, fallback: boolean): boolean {
    const value = this.#fields.get(field) ?? fallback;
    if (typeof value === "boolean") return value;
    throw this.wrong(field, value, "true or false");
  }

  string(field: string, fallback?: string): string {
    const value = this.#fields.get(field) ?? fallback;
    if (typeof value === "string") return value;
    throw this.wrong(field, value, "a string");
  }

  has(field: string): boolean {
    return (this.#fields.get(field) ?? null) !== null;
  }

  strings(field: string): string[] {
    const value = this.#fields.get(field);
    if (Array.isArray(value) && value.length <= MAX_LIST && value.every((item) => typeof item === "string")) {
      return value as string[];
    }
    throw this.wrong(field, value, "a list of strings");
  }

  numbers(field: string): number[] | undefined {
    const value = this.#fields.get(field) ?? undefined;
    if (value === undefined) return undefined;
    if (Array.isArray(value) && value.length <= MAX_LIST && value.every((item) => typeof item === "number")) {
      return value as number[];
    }
    throw this.wrong(field, value, "a list of numbers");
  }

  /** A list of 1 to `maxCount` integers in [min, max]. */
  ints(field: string, min: number, max: number, maxCount = MAX_LIST): number[] {
    const value = this.numbers(field);
    if (value !== undefined && value.length > maxCount) throw this.wrong(field, value, `up to ${maxCount} entries`);
    if (value?.length && value.every((item) => Number.isInteger(item) && item >= min && item <= max)) return value;
    throw this.wrong(field, value, `a list of integers from ${min} to ${max}`);
  }

  /** An integer for all of `count` places, or a list of that many integers. */
  intOrInts(field: string, count: number, min: number, max: number, fallback?: number): number[] {
    const value = this.#fields.get(field) ?? fallback;
    if (typeof value === "number") return new Array<number>(count).fill(this.int(field, min, max, fallback));
    const list = this.ints(field, min, max);
    if (list.length !== count) throw this.wrong(field, value, `${count} entries`);
    return list;
  }

  /** Per place an integer or a list of integers (diffusers' transformer_layers_per_block). */
  nestedInts(field: string, count: number, max: number, fallback?: number): (number | readonly number[])[] | undefined {
    const value = this.#fields.get(field) ?? fallback;
    if (value === undefined || value === null) return undefined;
    const isInt = (item: Json): item is number =>
      typeof item === "number" && Number.isInteger(item) && item >= 0 && item <= max;
    if (typeof value === "number" && isInt(value)) return new Array<number>(count).fill(value);
    if (Array.isArray(value) && value.length === count) {
      const items = value as readonly Json[];
      if (items.every((item) => isInt(item) || (Array.isArray(item) && item.length <= MAX_LIST && item.every(isInt)))) {
        return items as (number | readonly number[])[];
      }
    }
    throw this.wrong(field, value, `${count} integers from 0 to ${max}, or lists of them`);
  }

  /** Refuses any value but the given ones (absent counts as the first). */
  require(field: string, allowed: readonly (string | number | boolean | null)[]): void {
    const value = this.#fields.get(field) ?? null;
    if (value === null && (allowed.includes(null) || !this.#fields.has(field))) return;
    if (!(allowed as readonly Json[]).includes(value)) {
      throw this.wrong(field, value, `one of ${allowed.map((item) => JSON.stringify(item)).join(", ")}`);
    }
  }

  /** The refusal of a field's value. */
  wrong(field: string, found: unknown, allowed: string): ArtifactError {
    const shown = (JSON.stringify(found) ?? "nothing").slice(0, 80);
    return new ArtifactError({
      code: "E_CONFIG",
      subject: this.#file,
      problem: `field "${field}" does not fit SDXL (found ${shown}, allowed ${allowed})`,
      next: "check that this folder holds an SDXL model, or fetch its config files again",
    });
  }
}

const MAX_LIST = 4096;
