/** @file Reads the store's own JSON strictly: every field has its type and limit, or the file counts as damaged. */
import { damaged } from "./fs.ts";

/** One JSON value with its place, for messages. */
export class Field {
  readonly #value: unknown;
  readonly #at: string;
  readonly #subject: string;

  constructor(subject: string, value: unknown, at = "") {
    this.#subject = subject;
    this.#value = value;
    this.#at = at;
  }

  /** Throws ArtifactError `E_STORE_DAMAGED` if the text is no JSON. */
  static parse(subject: string, text: string): Field {
    try {
      return new Field(subject, JSON.parse(text));
    } catch {
      throw damaged(subject, "not JSON");
    }
  }

  get(name: string): Field {
    const value = this.#value;
    if (typeof value !== "object" || value === null || Array.isArray(value)) throw this.#wrong("an object");
    const own = Object.hasOwn(value, name) ? (value as Record<string, unknown>)[name] : undefined;
    return new Field(this.#subject, own, `${this.#at}.${name}`);
  }

  get exists(): boolean {
    return this.#value !== undefined;
  }

  list(maxItems = 1_000_000): Field[] {
    const value = this.#value;
    if (!Array.isArray(value) || value.length > maxItems) throw this.#wrong(`a list of at most ${maxItems}`);
    return value.map((item, i) => new Field(this.#subject, item, `${this.#at}[${i}]`));
  }

  text(pattern?: RegExp): string {
    const value = this.#value;
    if (typeof value !== "string" || (pattern && !pattern.test(value))) throw this.#wrong(`text ${pattern ?? ""}`);
    return value;
  }

  whole(min: number, max: number): number {
    const value = this.#value;
    if (typeof value === "number" && Number.isSafeInteger(value) && value >= min && value <= max) return value;
    throw this.#wrong(`a whole number from ${min} to ${max}`);
  }

  oneOf<const T extends string>(...allowed: readonly T[]): T {
    const found = allowed.find((item) => item === this.#value);
    if (found === undefined) throw this.#wrong(allowed.join(" or "));
    return found;
  }

  #wrong(expected: string): Error {
    const found = JSON.stringify(this.#value)?.slice(0, 60) ?? "nothing";
    return damaged(this.#subject, `field ${this.#at || "(whole)"} is not ${expected} (found ${found})`);
  }
}

export const HEX64 = /^[0-9a-f]{64}$/;
