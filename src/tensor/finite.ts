/** @file Finds NaN and infinities in stored weights: exponent bits all ones. */
import type { DType } from "./dtype.ts";

interface Exponent {
  /** Of one value. */
  readonly mask: number;
  /** In a word of 32 bits, with one value or two: the exponents, the lowest bit of each, the place above each. */
  readonly words: number;
  readonly lowest: number;
  readonly carries: number;
}

const EXPONENTS: Partial<Record<DType, Exponent>> = {
  f16: { mask: 0x7c00, words: 0x7c007c00, lowest: 0x04000400, carries: 0x80008000 },
  bf16: { mask: 0x7f80, words: 0x7f807f80, lowest: 0x00800080, carries: 0x80008000 },
  f32: { mask: 0x7f800000, words: 0x7f800000, lowest: 0x00800000, carries: 0x80000000 },
};

/** Words looked at between two looks at what was found; a multiple of 4. */
const STRETCH_WORDS = 16384;

/** Index of the first such value and their number, or undefined. `bytes` aligned to the element size. */
export function firstNonFinite(dtype: DType, bytes: Uint8Array): { index: number; count: number } | undefined {
  const exponent = EXPONENTS[dtype];
  if (!exponent || allFinite(exponent, bytes)) return undefined;
  const { mask } = exponent;
  const values =
    dtype === "f32"
      ? new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4)
      : new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
  let count = 0;
  let index = -1;
  for (let i = 0; i < values.length; i++) {
    if ((values[i]! & mask) !== mask) continue;
    count++;
    if (index < 0) index = i;
  }
  return count > 0 ? { index, count } : undefined;
}

/**
 * True if no value has these exponent bits. An exponent plus its lowest bit carries into the place above it only where all of
 * its bits are ones. False where words can't tell.
 */
function allFinite({ words: mask, lowest, carries }: Exponent, bytes: Uint8Array): boolean {
  if (bytes.byteOffset % 4 !== 0 || bytes.byteLength % 16 !== 0) return false;
  const words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  for (let start = 0; start < words.length; start += STRETCH_WORDS) {
    const end = Math.min(words.length, start + STRETCH_WORDS);
    let found = 0;
    for (let i = start; i < end; i += 4) {
      found |=
        ((words[i]! & mask) + lowest) |
        ((words[i + 1]! & mask) + lowest) |
        ((words[i + 2]! & mask) + lowest) |
        ((words[i + 3]! & mask) + lowest);
    }
    if ((found & carries) !== 0) return false;
  }
  return true;
}
