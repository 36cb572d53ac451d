/**
 * @file The seam between carrying out a plan and whatever computes. A device has memory (arenas, tensors by offset), takes
 * blocks of weights, and computes segments; it knows ops, no model and no file. Everything with "Bytes" in its name and the
 * layout questions are pure, so that a plan can be made and proven before anything is allocated.
 */
import { BudgetError, type SolvayError } from "../errors.ts";
import type { Graph, Segment, ValueId } from "../ir/graph.ts";
import type { DType } from "../tensor/dtype.ts";

/** One large allocation of device memory. Disposing it twice is an error. */
export interface Arena extends Disposable {
  readonly label: string;
  readonly lengthBytes: number;
}

/** A stretch of an arena; offsets are multiples of the device's `alignmentBytes`. */
export interface Span {
  readonly arena: Arena;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

/** Memory that a segment needs besides its inputs, outputs and weights. */
export interface ScratchBytes {
  /** In the memory of `createScratch`, which all segments share. */
  readonly given: number;
  /** Taken from the system by the runtime underneath while the segment runs. */
  readonly taken: number;
}

/** A weight as it is stored. */
export interface StoredWeight {
  readonly dtype: DType;
  /** Logical shape, as the graph declares it. */
  readonly shape: readonly number[];
}

/** Where a weight lies on the device. `stored` says what it was made from. */
export interface DeviceWeight {
  readonly span: Span;
  readonly stored: StoredWeight;
}

/** One weight within the stored bytes of a block. */
export interface BlockTensor extends DeviceWeight {
  /** For messages. */
  readonly name: string;
  /** Within the block's stored bytes; a multiple of the dtype's size. */
  readonly storedOffsetBytes: number;
}

/** The weights of one segment on their way to the device. */
export interface BlockUpload {
  readonly label: string;
  /** Length of the block as stored. */
  readonly storedBytes: number;
  readonly tensors: readonly BlockTensor[];
  /** Fills all of `into` with stored bytes from `startByte` of the block on. Calls may run at the same time. */
  read(startByte: number, into: Uint8Array, signal?: AbortSignal): Promise<void>;
}

export interface SegmentCall {
  readonly graph: Graph;
  readonly segment: Segment;
  /** Of every id in `segment.inputs`. */
  readonly inputs: ReadonlyMap<ValueId, Span>;
  /** Of every id in `segment.weights`. */
  readonly weights: ReadonlyMap<ValueId, DeviceWeight>;
  /** Of every id in `segment.outputs`; the device fills them. They overlap no input and no other output. */
  readonly outputs: ReadonlyMap<ValueId, Span>;
}

/** Activations on the host, row-major in their logical shape (images NCHW). */
export type HostData = Float32Array | Int32Array;

/** The device has less free memory than the budget allows it (`E_VRAM`): a smaller budget may do. */
export class DeviceMemoryError extends BudgetError {}

export interface Device extends AsyncDisposable {
  readonly name: "reference" | "cpu" | "webgpu" | "null";
  /** Offsets and lengths of spans are multiples of this. */
  readonly alignmentBytes: number;
  /** True if spans lie in host memory: what is in RAM needs no way to the device. */
  readonly sharesHostMemory: boolean;
  /** An arena can't be larger; undefined: as large as memory. */
  readonly maxArenaBytes?: number;
  /** Memory that the device has taken besides arenas and scratch (staging, driver allowance): part of every budget. Pure. */
  readonly overheadBytes: number;
  /** What broke the device for good: every call rejects with it, and only another device helps. */
  readonly failure?: SolvayError | undefined;

  /** Bytes of an activation on the device. Pure. */
  activationBytes(graph: Graph, id: ValueId): number;
  /** Bytes of a weight on the device. Pure. */
  weightBytes(weight: StoredWeight): number;
  /**
   * Most memory a segment needs besides its inputs, outputs and weights while it runs. Pure: a function of shapes and dtypes.
   * `weights` in the order of `segment.weights`.
   */
  scratchBytes(graph: Graph, segment: Segment, weights: readonly StoredWeight[]): ScratchBytes;

  /** Rejects with DeviceMemoryError if the device has not that much; DeviceError if it is lost. */
  createArena(lengthBytes: number, label: string): Promise<Arena>;
  /** Holds the largest `given` scratch of the segments to come, until disposed. */
  createScratch(givenBytes: number): Promise<Disposable>;

  /**
   * Compiles what `run` will need for such a segment, weights in the order of `segment.weights`. Ahead of the first `run`, so
   * that nothing lasting is allocated among temporaries, and no step is held up.
   */
  prepare(graph: Graph, segment: Segment, weights: readonly StoredWeight[]): Promise<void>;

  /**
   * Brings a block's weights to their spans, in the device's own layout. Reads straight into memory that the device uses
   * (the arena itself, or staging). Resolves when the spans may be handed to `run`, which is ordered after it; waits while all
   * staging is in flight. On abort or a failed read, rejects and leaves the spans undefined.
   */
  upload(block: BlockUpload, signal?: AbortSignal): Promise<void>;

  /** Host to device and back. The device may convert (fp16, NHWC); `read` fills `into` with fp32 in logical order. */
  write(graph: Graph, id: ValueId, span: Span, data: HostData): Promise<void>;
  read(graph: Graph, id: ValueId, span: Span, into: Float32Array): Promise<void>;

  /**
   * Computes one segment, after all earlier calls. May resolve when the work is merely queued: then a later `upload` or `run`
   * that writes the same spans is ordered after it, and only `read` and `settle` prove that it happened.
   */
  run(call: SegmentCall, signal?: AbortSignal): Promise<void>;
  /** Waits until all queued work is done. Rejects with DeviceError if any of it failed. */
  settle(): Promise<void>;
  /** Drops caches of compiled segments (between phases, where memory is short). */
  release(): Promise<void>;
}
