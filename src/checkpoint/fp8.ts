/**
 * @file 8-bit floats (OCP's E4M3 without infinities, and E5M2), widened while they are read: to fp16, which holds every value of both, or,
 * where they have scales, to fp32 by one multiplication. From there on they are weights like any other, on every backend.
 */
import type { ForeignTensor } from "../container/safetensors.ts";
import type { TensorEntry } from "../container/table.ts";
import type { ByteSource } from "../source/source.ts";
import { f16FromF32Bits, f16ToNumber } from "../tensor/dtype.ts";
import { VIEW_BYTES } from "./views.ts";

/** As safetensors calls them. */
export type Fp8 = "F8_E4M3" | "F8_E5M2";

/** The value of a byte. */
export function fp8ToNumber(dtype: Fp8, byte: number): number {
  // E5M2 is the upper half of an fp16.
  if (dtype === "F8_E5M2") return f16ToNumber(byte << 8);
  const sign = byte & 0x80 ? -1 : 1;
  const exponent = (byte >> 3) & 0xf;
  const mantissa = byte & 7;
  if (exponent === 15 && mantissa === 7) return Number.NaN;
  return exponent === 0 ? sign * mantissa * 2 ** -9 : sign * (8 + mantissa) * 2 ** (exponent - 10);
}

export function isFp8(dtype: string): dtype is Fp8 {
  return dtype === "F8_E4M3" || dtype === "F8_E5M2";
}

/** The tensor as fp16; with `scales`, one for all or one a row, as fp32. */
export function widenedFp8(tensor: ForeignTensor & { readonly dtype: Fp8 }, scales?: Float32Array): TensorEntry {
  const size = scales ? 4 : 2;
  const count = tensor.endByte - tensor.startByte;
  const source = new Fp8Source(tensor, scales, size);
  return { ...tensor, dtype: scales ? "f32" : "f16", source, startByte: 0, endByte: size * count };
}

class Fp8Source implements ByteSource {
  readonly name: string;
  readonly byteLength: number;
  readonly file: ByteSource["file"];
  readonly readingBytes = VIEW_BYTES;
  readonly #tensor: ForeignTensor & { readonly dtype: Fp8 };
  readonly #scales: Float32Array | undefined;
  /** Bytes of an element. */
  readonly #size: 2 | 4;

  constructor(tensor: ForeignTensor & { readonly dtype: Fp8 }, scales: Float32Array | undefined, size: 2 | 4) {
    const { source, startByte, endByte } = tensor;
    this.name = source.name;
    this.file = source.file;
    this.byteLength = size * (endByte - startByte);
    this.#tensor = tensor;
    this.#scales = scales;
    this.#size = size;
  }

  async read(startByte: number, into: Uint8Array, signal?: AbortSignal): Promise<void> {
    const size = this.#size;
    const { source, startByte: base } = this.#tensor;
    const endByte = startByte + into.byteLength;
    const bytes = new Uint8Array(Math.min(VIEW_BYTES / 2, Math.ceil(into.byteLength / size) + 1));
    const wide = new Uint8Array(size * Math.min(bytes.length, WIDE_ELEMENTS));
    let element = Math.floor(startByte / size);
    const end = Math.ceil(endByte / size);
    while (element < end) {
      const piece = bytes.subarray(0, Math.min(bytes.length, end - element));
      await source.read(base + element, piece, signal);
      for (let at = 0; at < piece.length; at += WIDE_ELEMENTS) {
        const part = piece.subarray(at, at + WIDE_ELEMENTS);
        this.#widen(part, element + at, wide);
        const from = size * (element + at) - startByte;
        const first = Math.max(0, -from);
        const last = Math.min(size * part.length, into.byteLength - from);
        into.set(wide.subarray(first, last), from + first);
      }
      element += piece.length;
    }
  }

  /** `first`: number of the first element. */
  #widen(bytes: Uint8Array, first: number, into: Uint8Array): void {
    const { dtype, shape } = this.#tensor;
    const scales = this.#scales;
    if (!scales) {
      const halves = new Uint16Array(into.buffer, 0, bytes.length);
      const table = tablesOf(dtype).halves;
      for (let i = 0; i < bytes.length; i++) halves[i] = table[bytes[i]!]!;
      return;
    }
    const floats = new Float32Array(into.buffer, 0, bytes.length);
    const table = tablesOf(dtype).values;
    const rowElements = scales.length === 1 ? Number.POSITIVE_INFINITY : this.byteLength / 4 / shape[0]!;
    let row = Math.floor(first / rowElements);
    let left = (row + 1) * rowElements - first;
    for (let i = 0; i < bytes.length; i++) {
      if (left === 0) {
        row++;
        left = rowElements;
      }
      left--;
      floats[i] = table[bytes[i]!]! * scales[row]!;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

/** Widened at a time: what stays near the processor. */
const WIDE_ELEMENTS = 16 * 1024;

const tables = new Map<Fp8, { readonly values: Float32Array; readonly halves: Uint16Array }>();

function tablesOf(dtype: Fp8) {
  const known = tables.get(dtype);
  if (known) return known;
  const values = Float32Array.from({ length: 256 }, (_, byte) => fp8ToNumber(dtype, byte));
  const halves = Uint16Array.from(new Uint32Array(values.buffer), f16FromF32Bits);
  const made = { values, halves };
  tables.set(dtype, made);
  return made;
}
