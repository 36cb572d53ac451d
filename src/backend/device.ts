/**
 * @file The seam between carrying out a plan and whatever computes. A device has memory (arenas, tensors by offset), takes
 * blocks of weights, and computes segments; it knows ops, no model and no file. Everything with "Bytes" in its name and the
 * layout questions are pure, so that a plan can be made and proven before anything is allocated.
 */
import { BudgetError, type SolvayError } from "../errors.ts";
import type { Graph, Segment, ValueId } from "../ir/graph.ts";
import type { DeviceSizes, StoredWeight } from "../plan/device-sizes.ts";

export type { ScratchBytes, StoredWeight } from "../plan/device-sizes.ts";

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

/** Activations on the host, row-major in their logical shape (images NCHW) where nothing else is said. */
export type HostData = Float32Array | Int32Array;

/** "device": images lie as `rowsFirst` says; all else is the same. Default: "logical". */
export type DataOrder = "logical" | "device";

/** The device has less free memory than the budget allows it (`E_VRAM`): a smaller budget may do. */
export class DeviceMemoryError extends BudgetError {}

export interface Device extends DeviceSizes, AsyncDisposable {
  /** An arena can't be larger; undefined: as large as memory. */
  readonly maxArenaBytes?: number;
  /** What broke the device for good: every call rejects with it, and only another device helps. */
  readonly failure?: SolvayError | undefined;
  /** Images lie in its memory as [B, H, W, C]. Else as [B, C, H, W]. */
  readonly rowsFirst: boolean;

  /** Rejects with DeviceMemoryError if the device has not that much; DeviceError if it is lost. */
  createArena(lengthBytes: number, label: string): Promise<Arena>;
  /** Holds the largest shared scratch of the segments to come, until disposed. */
  createScratch(sharedBytes: number): Promise<Disposable>;

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

  /** Host to device and back, in fp32 and in logical order (images NCHW), or as they lie on the device, which costs it nothing. */
  write(graph: Graph, id: ValueId, span: Span, data: HostData, order?: DataOrder): Promise<void>;
  read(graph: Graph, id: ValueId, span: Span, into: Float32Array, order?: DataOrder): Promise<void>;

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
