/** @file What a plan asks of a device: how large things are in its memory. Pure; a device itself knows much more (backend/). */
import type { Graph, Segment, ValueId } from "../ir/graph.ts";
import type { DType } from "../tensor/dtype.ts";

/** A weight as it is stored. */
export interface StoredWeight {
  readonly dtype: DType;
  /** Logical shape, as the graph declares it. */
  readonly shape: readonly number[];
}

/** Memory that a segment needs besides its inputs, outputs and weights. */
export interface ScratchBytes {
  /** In the memory of `createScratch`, which all segments share. */
  readonly sharedBytes: number;
  /** Taken from the system by the runtime underneath while the segment runs. */
  readonly privateBytes: number;
}

export interface PlanDevice {
  readonly name: string;
  /** Offsets and lengths of spans are multiples of this. */
  readonly alignmentBytes: number;
  /** Memory that the device takes besides arenas and scratch (staging, driver allowance): part of every budget. */
  readonly overheadBytes: number;
  /** True if spans lie in host memory: what is in RAM is used where it is. */
  readonly sharesHostMemory: boolean;
}

/** Sizes that only the device knows. All of it is pure, so that a plan is proven before anything is allocated. */
export interface DeviceSizes extends PlanDevice {
  /** RAM that the device takes as long as it computes, besides its own memory: part of what the process takes. */
  readonly hostBytes: number;
  /** Bytes of an activation on the device. */
  activationBytes(graph: Graph, id: ValueId): number;
  /** Bytes of a weight on the device. */
  weightBytes(weight: StoredWeight): number;
  /**
   * Most memory a segment needs besides its inputs, outputs and weights while it runs: a function of shapes and dtypes.
   * `weights` in the order of `segment.weights`.
   */
  scratchBytes(graph: Graph, segment: Segment, weights: readonly StoredWeight[]): ScratchBytes;
}
