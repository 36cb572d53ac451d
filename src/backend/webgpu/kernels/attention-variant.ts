/** @file What attention kernels differ in, and the numbers that follow from it: threads, tiles, bytes of workgroup memory. */
import type { Arithmetic } from "./wgsl.ts";

export interface AttentionVariant {
  readonly slots: { readonly q: number; readonly k: number; readonly v: number; readonly out: number };
  /** Values of a head, rounded up to 32, 64, 96 or 128. */
  readonly depth: number;
  /** Queries of a workgroup. */
  readonly queries: number;
  readonly causal: boolean;
  /** Heads and rows start at multiples of 4 values. */
  readonly quad: boolean;
  /** "f16": operands and sums of 32 products in it, softmax and longer sums in fp32. Needs `shader-f16`. */
  readonly arithmetic?: Arithmetic;
  /** Eight threads of a row are lanes of one subgroup: their maximum goes from register to register. The same bits. */
  readonly shuffles?: boolean;
}

/** Keys of a round. */
export const KEYS = 32;
/** Threads that share four queries: each has four keys of a round, and four values of each chunk of the head. */
export const ROW_THREADS = 8;
/** k and v pass through workgroup memory this many values of the head at a time. */
export const CHUNK = 32;

/** Longest head that this kernel takes. */
export const MAX_DEPTH = 128;

export function paddedDepth(depth: number): number {
  return Math.ceil(depth / CHUNK) * CHUNK;
}

/** Bytes of workgroup memory; `depth` padded. */
export function attentionSharedBytes(depth: number, queries: number, arithmetic: Arithmetic = "f32"): number {
  const values = depth * queries + CHUNK * KEYS + KEYS * queries;
  return arithmetic === "f32" ? values * 4 : values * 2 + ROW_THREADS * queries * 4;
}

/** The largest block of queries whose workgroup memory fits. */
export function queryBlock(depth: number, workgroupBytes: number, arithmetic: Arithmetic = "f32"): number {
  const blocks = [64, 32, 16];
  return (
    blocks.find((queries) => attentionSharedBytes(paddedDepth(depth), queries, arithmetic) <= workgroupBytes) ??
    blocks.at(-1)!
  );
}

/** A variant with what its text is made of. */
export interface AttentionForm extends AttentionVariant {
  readonly threads: number;
  /** Quads of queries of a workgroup: a thread has one of them. */
  readonly rows: number;
  /** Chunks of the head. */
  readonly chunks: number;
  readonly halves: boolean;
  /** Of what is multiplied. */
  readonly vec4: "vec4<f32>" | "vec4<f16>";
  /** Of registers that hold what was read, as it is stored: a conversion would wait for the memory. */
  readonly raw: "vec4<f32>" | "vec4<f16>";
  /** A thread's share of a chunk of 32 keys: `quads` vec4, of k in `blocks` blocks of `blockKeys` keys x 4 values. */
  readonly share: { readonly quads: number; readonly blockKeys: 2 | 4; readonly blocks: number };
}

export function attentionForm(v: AttentionVariant): AttentionForm {
  const threads = (v.queries / 4) * ROW_THREADS;
  const vec4 = v.arithmetic === "f16" ? "vec4<f16>" : "vec4<f32>";
  const quads = (KEYS * CHUNK) / 4 / threads;
  const blockKeys = quads % 4 === 0 ? 4 : 2;
  return {
    ...v,
    threads,
    rows: v.queries / 4,
    chunks: v.depth / CHUNK,
    halves: v.arithmetic === "f16",
    vec4,
    raw: v.quad ? "vec4<f32>" : vec4,
    share: { quads, blockKeys, blocks: quads / blockKeys },
  };
}
