/** @file The words shared by all: dtypes, their sizes, and exact fp16 / bf16 conversion. */

export type DType =
  | "f64"
  | "f32"
  | "f16"
  | "bf16"
  | "i64"
  | "i32"
  | "i16"
  | "i8"
  | "u64"
  | "u32"
  | "u16"
  | "u8"
  | "bool";

export const DTYPE_BYTES: Readonly<Record<DType, number>> = {
  f64: 8,
  f32: 4,
  f16: 2,
  bf16: 2,
  i64: 8,
  i32: 4,
  i16: 2,
  i8: 1,
  u64: 8,
  u32: 4,
  u16: 2,
  u8: 1,
  bool: 1,
};

/** Product of the dimensions; 1 for a scalar. */
export function elementCount(shape: readonly number[]): number {
  let product = 1;
  for (const dim of shape) product *= dim;
  return product;
}

export function tensorBytes({ dtype, shape }: { readonly dtype: DType; readonly shape: readonly number[] }): number {
  return elementCount(shape) * DTYPE_BYTES[dtype];
}

const f32Scratch = new Float32Array(1);
const u32Scratch = new Uint32Array(f32Scratch.buffer);

/** IEEE binary16 bits to number, subnormals, infinities and NaN included. */
export function f16ToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const mantissa = bits & 0x3ff;
  if (exponent === 0) return sign * mantissa * 2 ** -24;
  if (exponent === 31) return mantissa ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (1024 + mantissa) * 2 ** (exponent - 25);
}

/** Number (rounded to fp32 first) to IEEE binary16 bits, round to nearest even; overflow gives infinity. */
export function numberToF16(value: number): number {
  f32Scratch[0] = value;
  return f16FromF32Bits(u32Scratch[0]!);
}

/**
 * Bits of an fp32 to bits of the nearest fp16, ties to even. Overflow gives infinity; NaN stays NaN (quiet, sign kept). Integers
 * alone: overlay sections hold billions of values.
 */
export function f16FromF32Bits(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude >= 0x38800000) {
    if (magnitude >= 0x477ff000) return sign | (magnitude > 0x7f800000 ? 0x7e00 : 0x7c00);
    // The carry of a mantissa that rounds up runs into the exponent, which is what IEEE 754 wants.
    return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
  }
  if (magnitude <= 0x33000000) return sign;
  // Subnormal: the implicit one becomes a mantissa bit.
  const mantissa = (magnitude & 0x7fffff) | 0x800000;
  const shift = 126 - (magnitude >>> 23);
  const kept = mantissa >>> shift;
  const rest = mantissa & ((1 << shift) - 1);
  const half = 1 << (shift - 1);
  return sign | (kept + (rest > half || (rest === half && (kept & 1) === 1) ? 1 : 0));
}

let f16Table: Float32Array | undefined;

/** All 65,536 fp16 values, indexed by their bits; made once. */
export function f16Values(): Float32Array {
  if (!f16Table) {
    f16Table = new Float32Array(65536);
    for (let bits = 0; bits < 65536; bits++) f16Table[bits] = f16ToNumber(bits);
  }
  return f16Table;
}

/**
 * Floating-point bytes (f16, bf16, f32, f64) as fp32. Every f16 and bf16 value is exact in fp32.
 * `bytes` must be aligned to its element size.
 */
export function toFloat32(dtype: DType, bytes: Uint8Array): Float32Array {
  const count = bytes.byteLength / DTYPE_BYTES[dtype];
  switch (dtype) {
    case "f32":
      return new Float32Array(bytes.buffer, bytes.byteOffset, count);
    case "f16":
    case "bf16": {
      const out = new Float32Array(count);
      widen(dtype, new Uint16Array(bytes.buffer, bytes.byteOffset, count), out);
      return out;
    }
    case "f64":
      return Float32Array.from(new Float64Array(bytes.buffer, bytes.byteOffset, count));
    default:
      throw new TypeError(`${dtype} is not a floating-point dtype`);
  }
}

/**
 * fp16 or bf16 bits in the second half of `memory` become fp32 in all of it, without other memory: what is written never
 * passes what is still to be read. `memory` must be aligned to 4 bytes.
 */
export function widenInPlace(dtype: DType, memory: Uint8Array): void {
  const count = memory.byteLength / 4;
  if (dtype !== "f16" && dtype !== "bf16") throw new TypeError(`${dtype} is not a 16-bit floating-point dtype`);
  const halves = new Uint16Array(memory.buffer, memory.byteOffset + 2 * count, count);
  widen(dtype, halves, new Float32Array(memory.buffer, memory.byteOffset, count));
}

/** From front to back: so `halves` may lie in the second half of `out`. */
function widen(dtype: "f16" | "bf16", halves: Uint16Array, out: Float32Array): void {
  if (dtype === "f16") {
    const table = f16Values();
    for (let i = 0; i < halves.length; i++) out[i] = table[halves[i]!]!;
  } else {
    const words = new Uint32Array(out.buffer, out.byteOffset, out.length);
    for (let i = 0; i < halves.length; i++) words[i] = halves[i]! << 16;
  }
}
