/** @file Reads fields of a config file with checks: what is missing or out of range is said by file and field. */
import { ArtifactError } from "../errors.ts";
import { JsonFields, parseJsonObject } from "../source/json-fields.ts";

/** Config files are a few KB; anything near this is not one. */
export const MAX_CONFIG_BYTES = 4 * 1024 ** 2;

/** Integers, numbers, texts and choices as in JsonFields, and the lists that networks are described by. */
export class JsonConfig extends JsonFields {
  /** @throws ArtifactError `E_CONFIG` */
  constructor(file: string, text: string) {
    const refuse = (problem: string, next: string, cause?: unknown) =>
      new ArtifactError({ code: "E_CONFIG", subject: file, problem, next, cause });
    super(
      parseJsonObject(text, (problem, cause) => refuse(problem, "fetch the model's config files again", cause)),
      (field, found, allowed) =>
        refuse(
          `field "${field}" does not fit SDXL (found ${found}, allowed ${allowed})`,
          "use an SDXL model, or correct the field",
        ),
    );
  }

  strings(field: string): string[] {
    const value = this.value(field);
    if (Array.isArray(value) && value.length <= MAX_LIST && value.every((item) => typeof item === "string")) {
      return value as string[];
    }
    throw this.wrong(field, value, "a list of strings");
  }

  numbers(field: string): number[] | undefined {
    const value = this.value(field);
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
    const value = this.value(field) ?? fallback;
    if (typeof value === "number") return new Array<number>(count).fill(this.int(field, min, max, fallback));
    const list = this.ints(field, min, max);
    if (list.length !== count) throw this.wrong(field, value, `${count} entries`);
    return list;
  }

  /** Per place an integer or a list of integers (diffusers' transformer_layers_per_block). */
  nestedInts(field: string, count: number, max: number, fallback?: number): (number | readonly number[])[] | undefined {
    const value = this.value(field) ?? fallback;
    if (value === undefined) return undefined;
    const isInt = (item: unknown): item is number =>
      typeof item === "number" && Number.isInteger(item) && item >= 0 && item <= max;
    if (typeof value === "number" && isInt(value)) return new Array<number>(count).fill(value);
    if (Array.isArray(value) && value.length === count) {
      const items = value as readonly unknown[];
      if (items.every((item) => isInt(item) || (Array.isArray(item) && item.length <= MAX_LIST && item.every(isInt)))) {
        return items as (number | readonly number[])[];
      }
    }
    throw this.wrong(field, value, `${count} integers from 0 to ${max}, or lists of them`);
  }

  /** Refuses any value but the given ones (absent counts as the first). */
  require(field: string, allowed: readonly (string | number | boolean | null)[]): void {
    const value = this.value(field) ?? null;
    if (value === null && (allowed.includes(null) || !this.isWritten(field))) return;
    if (!(allowed as readonly unknown[]).includes(value)) {
      throw this.wrong(field, value, `one of ${allowed.map((item) => JSON.stringify(item)).join(", ")}`);
    }
  }
}

const MAX_LIST = 4096;
