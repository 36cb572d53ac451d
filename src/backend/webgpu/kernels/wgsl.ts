/** @file WGSL text shared by kernels: reading stored values as fp32, and the activations. */
import type { View } from "./kernel.ts";

/** How values lie in device memory. "f16" and "bf16" are packed pairs, the first value in the low half. */
export type StorageType = "f32" | "f16" | "bf16";

export const STORAGE_BYTES: Readonly<Record<StorageType, number>> = { f32: 4, f16: 2, bf16: 2 };

/** View that reads one value (or the pair it is in), and the view that reads four at once. */
export function scalarView(storage: StorageType): View {
  return storage === "f32" ? "f32" : "u32";
}
export function quadView(storage: StorageType): View {
  return storage === "f32" ? "vec4<f32>" : "vec2<u32>";
}

/** Reads value `index` through a scalar view. */
export function readScalar(storage: StorageType, at: (index: string) => string, index: string): string {
  switch (storage) {
    case "f32":
      return at(index);
    case "f16":
      return `unpack2x16float(${at(`(${index}) >> 1u`)})[(${index}) & 1u]`;
    case "bf16":
      return `bf16Half(${at(`(${index}) >> 1u`)}, ${index})`;
  }
}

/** Reads values 4 `index` .. 4 `index` + 3 through a quad view. */
export function readQuad(storage: StorageType, at: (index: string) => string, index: string): string {
  switch (storage) {
    case "f32":
      return at(index);
    case "f16":
      return `f16Quad(${at(index)})`;
    case "bf16":
      return `bf16Quad(${at(index)})`;
  }
}

/** What products are multiplied and, over short runs of K, summed in. Longer sums are fp32 in any case. */
export type Arithmetic = "f32" | "f16";

/** Reads values 4 `index` .. 4 `index` + 3 as vec4 of `arithmetic`; packed halves become f16 without a conversion. */
export function readQuadAs(
  arithmetic: Arithmetic,
  storage: StorageType,
  at: (index: string) => string,
  index: string,
): string {
  if (arithmetic === "f32") return readQuad(storage, at, index);
  if (storage === "f16") return `bitcast<vec4<f16>>(${at(index)})`;
  return `vec4<f16>(${readQuad(storage, at, index)})`;
}

/** Reads value `index` as `arithmetic`. */
export function readScalarAs(
  arithmetic: Arithmetic,
  storage: StorageType,
  at: (index: string) => string,
  index: string,
): string {
  const value = readScalar(storage, at, index);
  return arithmetic === "f32" ? value : `f16(${value})`;
}

/** Functions that readScalar and readQuad name. */
export const STORAGE_FUNCTIONS = `
fn f16Quad(p: vec2<u32>) -> vec4<f32> { return vec4<f32>(unpack2x16float(p.x), unpack2x16float(p.y)); }
fn bf16Quad(p: vec2<u32>) -> vec4<f32> {
  return bitcast<vec4<f32>>(vec4<u32>(p.x << 16u, p.x & 0xffff0000u, p.y << 16u, p.y & 0xffff0000u));
}
fn bf16Half(p: u32, i: u32) -> f32 { return bitcast<f32>(select(p << 16u, p & 0xffff0000u, (i & 1u) == 1u)); }
`;

export type Activation = "silu" | "gelu" | "quickGelu";

/**
 * The activations on vec4<f32>. erfc of what is not negative by Abramowitz and Stegun 7.1.26
 * (absolute error 1.5e-7, in the tail some thousandths of the value). Exponents are clamped, because
 * WGSL doesn't define what follows an overflow.
 */
export const ACTIVATION_FUNCTIONS = `
fn sigmoid4(x: vec4<f32>) -> vec4<f32> { return 1.0 / (1.0 + exp(min(-x, vec4<f32>(80.0)))); }
fn silu4(x: vec4<f32>) -> vec4<f32> { return x * sigmoid4(x); }
fn quickGelu4(x: vec4<f32>) -> vec4<f32> { return x * sigmoid4(1.702 * x); }
fn erfc4(a: vec4<f32>) -> vec4<f32> {
  let u = 1.0 / (1.0 + 0.3275911 * a);
  let poly = u * (0.254829592 + u * (-0.284496736 + u * (1.421413741 + u * (-1.453152027 + u * 1.061405429))));
  return poly * exp(-a * a);
}
fn gelu4(x: vec4<f32>) -> vec4<f32> {
  let tail = erfc4(min(abs(x) * 0.70710678118654752, vec4<f32>(9.0)));
  return 0.5 * x * select(2.0 - tail, tail, x < vec4<f32>(0.0));
}
`;
