/** @file The words shared by all: dtypes, their sizes, and exact fp16 / bf16 conversion. */
export type DType = "f64" | "f32" | "f16" | "bf16" | "i64" | "i32" | "i16" | "i8" | "u64" | "u32" | "u16" | "u8" | "bool";
export declare const DTYPE_BYTES: Readonly<Record<DType, number>>;
/** Product of the dimensions; 1 for a scalar. */
export declare function elementCount(shape: readonly number[]): number;
export declare function tensorBytes({ dtype, shape }: {
    readonly dtype: DType;
    readonly shape: readonly number[];
}): number;
/** IEEE binary16 bits to number, subnormals, infinities and NaN included. */
export declare function f16ToNumber(bits: number): number;
/** Number (rounded to fp32 first) to IEEE binary16 bits, round to nearest even; overflow gives infinity. */
export declare function numberToF16(value: number): number;
/**
 * Bits of an fp32 to bits of the nearest fp16, ties to even. Overflow gives infinity; NaN stays NaN (quiet, sign kept). Integers
 * alone: overlay sections hold billions of values.
 */
export declare function f16FromF32Bits(bits: number): number;
/** All 65,536 fp16 values, indexed by their bits; made once. */
export declare function f16Values(): Float32Array;
/**
 * Floating-point bytes (f16, bf16, f32, f64) as fp32. Every f16 and bf16 value is exact in fp32.
 * `bytes` must be aligned to its element size.
 */
export declare function toFloat32(dtype: DType, bytes: Uint8Array): Float32Array;
/**
 * fp16 or bf16 bits in the second half of `memory` become fp32 in all of it, without other memory: what is written never
 * passes what is still to be read. `memory` must be aligned to 4 bytes.
 */
export declare function widenInPlace(dtype: DType, memory: Uint8Array): void;
