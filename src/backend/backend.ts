/**
 * @file What computes in host memory: ONNX Runtime, or plain loops, over typed arrays. HostDevice makes a Device of it. Knows
 * ops and segments, no model and no file.
 */
import type { Graph, Segment, ValueId } from "../ir/graph.ts";
import type { DType } from "../tensor/dtype.ts";
import type { StoredWeight } from "./device.ts";

/** A weight as it is stored: raw bytes in its own dtype, aligned to 8 bytes. */
export interface WeightData {
  readonly dtype: DType;
  readonly bytes: Uint8Array;
}

/** Activations, row-major in their logical shape. */
export type ActivationData = Float32Array | Int32Array;

export interface SegmentRun {
  readonly graph: Graph;
  readonly segment: Segment;
  /** Data of every id in `segment.inputs`. */
  readonly inputs: ReadonlyMap<ValueId, ActivationData>;
  /** Data of every id in `segment.weights`. */
  readonly weights: ReadonlyMap<ValueId, WeightData>;
  /** Preallocated, of the right length, for every id in `segment.outputs`; the backend fills them. */
  readonly outputs: ReadonlyMap<ValueId, Float32Array>;
}

export interface Backend extends AsyncDisposable {
  readonly name: string;
  /** What it takes for itself as long as it is open: sessions, threads. */
  readonly overheadBytes: number;
  /** Stored dtypes that it computes with; others are converted to fp32 as they arrive. */
  readonly weightDTypes: ReadonlySet<DType>;
  /**
   * Most bytes that a segment takes for itself while it runs: temporaries, casts. `weights` in the order of `segment.weights`.
   * Pure: a function of shapes and dtypes.
   */
  scratchBytes(graph: Graph, segment: Segment, weights: readonly StoredWeight[]): number;
  /** Compiles such a segment, weights of these dtypes in the order of `segment.weights`; `run` does it where this did not. */
  prepare(graph: Graph, segment: Segment, weightDTypes: readonly DType[]): Promise<void>;
  /** Computes one segment. May block the thread it runs in; the engine gives it its own. */
  run(run: SegmentRun, signal?: AbortSignal): Promise<void>;
  /** Drops caches of compiled segments (between phases). */
  release(): Promise<void>;
}
