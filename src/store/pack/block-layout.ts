/**
 * @file Where a segment's weights lie within their block: pure arithmetic, no model, no file.
 *
 * A block on its way, stage by stage:
 *   BlockSpec      what a segment reads: names, dtypes and shapes in order of first use
 *   BlockLayout    with a place for each tensor
 *   PackBlock      in a pack (pack-format.ts): content address, coding, checksums; it knows no tensors
 *   ManifestBlock  a layout and the address and pack of its bytes (manifest.ts): what the store writes down of a model
 *   PackedBlock    that, open for reading (stored-model.ts): what a stream of weights asks
 */
import { alignUp } from "../../tensor/align.ts";
import { type PlacedTensor, placeTensors, type TensorSpec } from "../../tensor/placement.ts";

/** Blocks begin at multiples of a page, so that they can be read directly or mapped. */
export const BLOCK_ALIGNMENT_BYTES = 4096;
/**
 * Plain bytes under one checksum, and packed as one. Small beside most tensors, so that their checksums can be taken in memory;
 * large beside the cost of a read call. A multiple of the block alignment.
 */
export const CHUNK_BYTES = 512 * 1024;

/** Most that one checksum covers: a chunk and the zeros up to the next block. */
export const MAX_COVERED_BYTES = CHUNK_BYTES + BLOCK_ALIGNMENT_BYTES;

/** What one segment reads, in order of first use. */
export interface BlockSpec {
  /** Name of the graph, e.g. `unet.step`. */
  readonly graph: string;
  /** Name of the segment, e.g. `down_blocks.1.attentions.0.transformer_blocks.0`. */
  readonly label: string;
  readonly tensors: readonly TensorSpec[];
}

export interface BlockLayout {
  readonly graph: string;
  readonly label: string;
  readonly tensors: readonly PlacedTensor[];
  /** A multiple of `BLOCK_ALIGNMENT_BYTES`; what no tensor covers is zero. */
  readonly plainBytes: number;
}

export function layoutBlock({ graph, label, tensors }: BlockSpec): BlockLayout {
  const { placed, endByte } = placeTensors(tensors);
  return { graph, label, tensors: placed, plainBytes: alignUp(Math.max(1, endByte), BLOCK_ALIGNMENT_BYTES) };
}

/** Plain length of chunk `index` of a block. */
export function chunkLength(plainBytes: number, index: number): number {
  return Math.min(CHUNK_BYTES, plainBytes - index * CHUNK_BYTES);
}

export function chunkCount(plainBytes: number): number {
  return Math.ceil(plainBytes / CHUNK_BYTES);
}
