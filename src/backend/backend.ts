/** @file The seam between the stream executor and whatever computes. A backend knows ops and segments, no model and no file. */
import type { Graph, Segment, ValueId } from "../ir/graph.ts";
import type { DType } from "../tensor/dtype.ts";

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
  readonly name: "reference" | "cpu" | "webgpu" | "null";
  /** Computes one segment. May block the thread it runs in; the engine gives it its own. */
  run(run: SegmentRun, signal?: AbortSignal): Promise<void>;
  /** Drops caches of compiled segments (between phases). */
  release(): Promise<void>;
}
