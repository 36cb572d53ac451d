/**
 * @file A strict JSON reader for safetensors headers. JSON.parse keeps the last of two equal keys, rounds integers beyond
 * 2^53 and takes fractions: an auditor and a loader could then see two different files in the same bytes.
 */

/** Any other number than an integer from 0 to 2^53-1: no header needs one, free-form metadata may have it. */
export interface OtherNumber {
  readonly digits: string;
}

/** A header value: objects keep their keys in a Map, so `__proto__` is a name like any other. A number is an integer. */
export type HeaderValue =
  | string
  | number
  | boolean
  | null
  | OtherNumber
  | readonly HeaderValue[]
  | ReadonlyMap<string, HeaderValue>;

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
const HEADER_DEPTH = 4;
const NUMBER = /-?(?:(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|Infinity)|NaN/y;
const WORDS: readonly (readonly [string, boolean | null])[] = [
  ["true", true],
  ["false", false],
  ["null", null],
];

/**
 * Parses one value; Python's NaN and Infinity are numbers. Trailing spaces are allowed, as writers pad.
 * @param maxFields an object with more is refused as soon as that shows
 */
export function parseHeaderJson(text: string, maxFields: number, maxDepth = HEADER_DEPTH): HeaderValue {
  const reader = new Reader(text, maxFields, maxDepth);
  const value = reader.value(1);
  reader.end();
  return value;
}

class Reader {
  readonly #text: string;
  readonly #maxFields: number;
  readonly #maxDepth: number;
  #at = 0;

  constructor(text: string, maxFields: number, maxDepth: number) {
    this.#text = text;
    this.#maxFields = maxFields;
    this.#maxDepth = maxDepth;
  }

  value(depth: number): HeaderValue {
    if (depth > this.#maxDepth) throw this.#error(`nested deeper than ${this.#maxDepth}`);
    this.#space();
    const char = this.#text[this.#at];
    if (char === "{") return this.#object(depth);
    if (char === "[") return this.#array(depth);
    if (char === '"') return this.#string();
    const word = WORDS.find(([text]) => this.#text.startsWith(text, this.#at));
    if (!word) return this.#number();
    this.#at += word[0].length;
    return word[1];
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

  #number(): number | OtherNumber {
    NUMBER.lastIndex = this.#at;
    const digits = NUMBER.exec(this.#text)?.[0];
    if (digits === undefined) {
      throw this.#error(`a value expected (found ${JSON.stringify(this.#text.slice(this.#at, this.#at + 24))})`);
    }
    this.#at += digits.length;
    const value = Number(digits);
    return /^\d+$/.test(digits) && Number.isSafeInteger(value) ? value : { digits };
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
