/**
 * @file A strict JSON reader for safetensors headers. JSON.parse keeps the last of two equal keys, rounds integers beyond
 * 2^53 and takes fractions: an auditor and a loader could then see two different files in the same bytes.
 */

/** A header value: objects keep their keys in a Map, so `__proto__` is a name like any other. */
export type HeaderValue = string | number | readonly HeaderValue[] | ReadonlyMap<string, HeaderValue>;

/** Where and why the text is refused; the container names the file. */
export class HeaderSyntaxError extends Error {
  readonly code: "E_DUP_KEY" | "E_ST_HEADER";
  /** In the text's UTF-8 bytes. */
  readonly offset: number;

  constructor(code: "E_DUP_KEY" | "E_ST_HEADER", problem: string, offset: number) {
    super(problem);
    this.code = code;
    this.offset = offset;
  }
}

/** tensor -> fields -> data_offsets: deeper nesting is no header. */
const MAX_DEPTH = 4;

/**
 * Parses one value: objects, arrays, strings, and integers from 0 to 2^53-1. Trailing spaces are allowed, as writers pad.
 * @param maxFields an object with more is refused as soon as that shows
 */
export function parseHeaderJson(text: string, maxFields: number): HeaderValue {
  const reader = new Reader(text, maxFields);
  const value = reader.value(1);
  reader.end();
  return value;
}

class Reader {
  readonly #text: string;
  readonly #maxFields: number;
  #at = 0;

  constructor(text: string, maxFields: number) {
    this.#text = text;
    this.#maxFields = maxFields;
  }

  value(depth: number): HeaderValue {
    if (depth > MAX_DEPTH) throw this.#error(`nested deeper than ${MAX_DEPTH}`);
    this.#space();
    const char = this.#text[this.#at];
    if (char === "{") return this.#object(depth);
    if (char === "[") return this.#array(depth);
    if (char === '"') return this.#string();
    return this.#integer();
  }

  end(): void {
    this.#space();
    if (this.#at < this.#text.length) throw this.#error("text after the end of the header");
  }

  #object(depth: number): ReadonlyMap<string, HeaderValue> {
    this.#at++;
    const fields = new Map<string, HeaderValue>();
    const keyOffsets: number[] = [];
    this.#space();
    if (this.#take("}")) return fields;
    while (true) {
      this.#space();
      const keyAt = this.#at;
      if (this.#text[keyAt] !== '"') throw this.#error("a key must be a string");
      const key = this.#string();
      if (fields.has(key)) {
        const first = keyOffsets[[...fields.keys()].indexOf(key)]!;
        const distance = this.#byteAt(keyAt) - this.#byteAt(first);
        const problem = `${JSON.stringify(key.slice(0, 80))} stands twice: ${distance} bytes earlier, and`;
        throw new HeaderSyntaxError("E_DUP_KEY", problem, this.#byteAt(keyAt));
      }
      if (fields.size === this.#maxFields) throw this.#error(`too many entries (allowed ${this.#maxFields})`);
      keyOffsets.push(keyAt);
      this.#space();
      if (!this.#take(":")) throw this.#error('":" expected');
      fields.set(key, this.value(depth + 1));
      this.#space();
      if (this.#take("}")) return fields;
      if (!this.#take(",")) throw this.#error('"," or "}" expected');
    }
  }

  #array(depth: number): readonly HeaderValue[] {
    this.#at++;
    const items: HeaderValue[] = [];
    this.#space();
    if (this.#take("]")) return items;
    while (true) {
      items.push(this.value(depth + 1));
      this.#space();
      if (this.#take("]")) return items;
      if (!this.#take(",")) throw this.#error('"," or "]" expected');
    }
  }

  #string(): string {
    const start = this.#at++;
    while (this.#at < this.#text.length) {
      const code = this.#text.charCodeAt(this.#at);
      if (code === 0x22) {
        this.#at++;
        return this.#unescape(start);
      }
      if (code < 0x20) throw this.#error("a control character in a string");
      this.#at += code === 0x5c ? 2 : 1;
    }
    throw this.#error("a string without an end");
  }

  #unescape(start: number): string {
    try {
      return JSON.parse(this.#text.slice(start, this.#at)) as string;
    } catch {
      this.#at = start;
      throw this.#error("a string with a bad escape");
    }
  }

  #integer(): number {
    const start = this.#at;
    while (isDigit(this.#text.charCodeAt(this.#at))) this.#at++;
    const digits = this.#text.slice(start, this.#at);
    const next = this.#text[this.#at];
    const wrong =
      digits === "" || (digits.length > 1 && digits[0] === "0") || next === "." || next === "e" || next === "E";
    const value = Number(digits);
    if (wrong || !Number.isSafeInteger(value)) {
      this.#at = start;
      throw this.#error(
        `not an integer from 0 to 2^53-1 (found ${JSON.stringify(this.#text.slice(start, start + 24))})`,
      );
    }
    return value;
  }

  #take(char: string): boolean {
    if (this.#text[this.#at] !== char) return false;
    this.#at++;
    return true;
  }

  #space(): void {
    while (" \t\n\r".includes(this.#text[this.#at] ?? "x")) this.#at++;
  }

  #error(problem: string): HeaderSyntaxError {
    return new HeaderSyntaxError("E_ST_HEADER", problem, this.#byteAt(this.#at));
  }

  /** Offset in the UTF-8 bytes. */
  #byteAt(index: number): number {
    return new TextEncoder().encode(this.#text.slice(0, index)).byteLength;
  }
}

function isDigit(code: number): boolean {
  return code >= 0x30 && code <= 0x39;
}
