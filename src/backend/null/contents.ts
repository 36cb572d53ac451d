/** @file What a null device's memory would hold: which stretch of an arena was filled with what, and whether it still is. */
import type { DType } from "../../tensor/dtype.ts";
import type { Arena, Span } from "../device.ts";

/** Breaks a rule of device.ts: the caller's mistake, never the user's. */
export class DeviceRuleError extends Error {}

export type Content =
  | { readonly kind: "activation"; readonly elements: number }
  | { readonly kind: "weight"; readonly dtype: DType; readonly shape: readonly number[] };

/** Bytes [startByte, endByte) of an arena. */
interface Stretch {
  readonly startByte: number;
  readonly endByte: number;
  /** For messages. */
  readonly label: string;
}

interface Filled extends Stretch {
  readonly content: Content;
}

/** One arena's contents. Stretches that are filled never overlap: what is filled last is what is there. */
export class ArenaContents implements Arena {
  readonly label: string;
  readonly lengthBytes: number;
  readonly #onDispose: () => void;
  readonly #filled = new Map<number, Filled>();
  /** Being written, or being read by a segment that runs. */
  readonly #busy = new Set<Stretch & { readonly reading: boolean }>();
  #disposed = false;

  constructor(label: string, lengthBytes: number, onDispose: () => void) {
    this.label = label;
    this.lengthBytes = lengthBytes;
    this.#onDispose = onDispose;
  }

  get disposed(): boolean {
    return this.#disposed;
  }

  [Symbol.dispose](): void {
    if (this.#disposed) throw new DeviceRuleError(`arena ${this.label} is disposed twice`);
    const [user] = this.#busy;
    if (user) throw new DeviceRuleError(`arena ${this.label} is disposed while ${user.label} uses it`);
    this.#disposed = true;
    this.#filled.clear();
    this.#onDispose();
  }

  /** Until `end`, nothing else may use the stretch; what was there is gone. */
  beginWriting(span: Span, label: string): { readonly end: (content?: Content) => void } {
    const stretch = this.#enter(span, label, false);
    for (const [start, filled] of this.#filled) if (overlap(filled, stretch)) this.#filled.delete(start);
    return {
      end: (content) => {
        this.#busy.delete(stretch);
        if (content) this.#filled.set(stretch.startByte, { ...stretch, content });
      },
    };
  }

  /** The stretch must hold `expected`, and must not be written until `end`. */
  beginReading(span: Span, label: string, expected: Content): { readonly end: () => void } {
    const stretch = this.#enter(span, label, true);
    const found = this.#filled.get(span.offsetBytes);
    if (!found || !sameContent(found.content, expected)) {
      this.#busy.delete(stretch);
      const there = found ? `${found.label} (${describe(found.content)})` : "nothing whole";
      throw new DeviceRuleError(`${label}: ${describe(expected)} is read where ${there} lies (${this.label})`);
    }
    return { end: () => void this.#busy.delete(stretch) };
  }

  #enter({ offsetBytes, lengthBytes }: Span, label: string, reading: boolean): Stretch & { readonly reading: boolean } {
    const stretch = { startByte: offsetBytes, endByte: offsetBytes + lengthBytes, label, reading };
    for (const other of this.#busy) {
      if (!overlap(other, stretch) || (reading && other.reading)) continue;
      throw new DeviceRuleError(`${label} and ${other.label} use one place at once (${this.label})`);
    }
    this.#busy.add(stretch);
    return stretch;
  }
}

function sameContent(found: Content, expected: Content): boolean {
  if (found.kind === "activation") return expected.kind === "activation" && found.elements === expected.elements;
  return expected.kind === "weight" && found.dtype === expected.dtype && `${found.shape}` === `${expected.shape}`;
}

function describe(content: Content): string {
  if (content.kind === "activation") return `an activation of ${content.elements} elements`;
  return `a weight ${content.dtype} [${content.shape}]`;
}

function overlap(a: Stretch, b: Stretch): boolean {
  return a.startByte < b.endByte && b.startByte < a.endByte;
}
