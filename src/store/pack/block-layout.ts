/** @file Where a segment's weights lie within its block: pure arithmetic, no model, no file. */
import { alignUp, TENSOR_ALIGNMENT_BYTES } from "../tensor/align.ts";
import { type DType, tensorBytes } from "../tensor/dtype.ts";

/** Blocks begin at multiples of a page, so that they can be read directly or mapped. */
export const BLOCK_ALIGNMENT_BYTES = 4096;
/**
 * Plain bytes under one checksum, and packed as one. Small beside most tensors, so that their checksums can be taken in memory;
 * large beside the cost of a read call. A multiple of the block alignment.
 */
export const CHUNK_BYTES = 512 * 1024;

/** Most that one checksum covers: a chunk and the zeros up to the next block. */
export const MAX_COVERED_BYTES = CHUNK_BYTES + BLOCK_ALIGNMENT_BYTES;

export interface TensorSpec {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/** What one segment reads, in order of first use. */
export interface BlockSpec {
  /** Name of the graph, e.g. `unet.step`. */
  readonly graph: string;
  /** Name of the segment, e.g. `down_blocks.1.attentions.0.transformer_blocks.0`. */
  readonly label: string;
  readonly tensors: readonly TensorSpec[];
}

export interface StoredTensor extends TensorSpec {
  /** Within the block's plain bytes. */
  readonly offsetBytes: number;
}

export interface BlockLayout {
  readonly graph: string;
  readonly label: string;
  readonly tensors: readonly StoredTensor[];
  /** A multiple of `BLOCK_ALIGNMENT_BYTES`; what no tensor covers is zero. */
  readonly plainBytes: number;
}

export function layoutBlock({ graph, label, tensors }: BlockSpec): BlockLayout {
  let end = 0;
  const placed = tensors.map((tensor): StoredTensor => {
    const offsetBytes = alignUp(end, TENSOR_ALIGNMENT_BYTES);
    end = offsetBytes + tensorBytes(tensor);
    return { ...tensor, offsetBytes };
  });
  return { graph, label, tensors: placed, plainBytes: alignUp(Math.max(1, end), BLOCK_ALIGNMENT_BYTES) };
}

/** Plain length of chunk `index` of a block. */
export function chunkLength(plainBytes: number, index: number): number {
  return Math.min(CHUNK_BYTES, plainBytes - index * CHUNK_BYTES);
}

export function chunkCount(plainBytes: number): number {
  return Math.ceil(plainBytes / CHUNK_BYTES);
}
