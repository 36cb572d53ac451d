/**
 * @file A Device whose memory is the host's own: arenas are ArrayBuffers, weights are read straight into them, activations are
 * typed arrays over them. A Backend computes.
 */
import type { Graph, Segment, ValueId } from "../ir/graph.ts";
import { DTYPE_BYTES, type DType, elementCount, tensorBytes, widenInPlace } from "../tensor/dtype.ts";
import type { Backend, WeightData } from "./backend.ts";
import type {
  Arena,
  BlockUpload,
  Device,
  DeviceWeight,
  HostData,
  ScratchBytes,
  SegmentCall,
  Span,
  StoredWeight,
} from "./device.ts";
import { HostMemory } from "./host-memory.ts";

/** Enough for any vector unit; also satisfies typed-array views of every dtype. */
const ALIGNMENT_BYTES = 64;

export class HostDevice implements Device {
  readonly alignmentBytes = ALIGNMENT_BYTES;
  readonly sharesHostMemory = true;
  readonly hostBytes = 0;
  readonly rowsFirst = false;
  readonly #compute: Backend;

  constructor(compute: Backend) {
    this.#compute = compute;
  }

  get name(): string {
    return this.#compute.name;
  }

  get overheadBytes(): number {
    return this.#compute.overheadBytes;
  }

  activationBytes(graph: Graph, id: ValueId): number {
    return elementCount(graph.values[id]!.shape) * 4;
  }

  weightBytes({ dtype, shape }: StoredWeight): number {
    return elementCount(shape) * (this.#compute.weightDTypes.has(dtype) ? DTYPE_BYTES[dtype] : 4);
  }

  scratchBytes(graph: Graph, segment: Segment, weights: readonly StoredWeight[]): ScratchBytes {
    return { sharedBytes: 0, privateBytes: this.#compute.scratchBytes(graph, segment, weights) };
  }

  async createArena(lengthBytes: number, label: string): Promise<Arena> {
    return new HostMemory(label, lengthBytes);
  }

  /** Backends take their temporaries from the system themselves; the plan has counted them. */
  async createScratch(): Promise<Disposable> {
    return { [Symbol.dispose]() {} };
  }

  prepare(graph: Graph, segment: Segment, weights: readonly StoredWeight[]): Promise<void> {
    return this.#compute.prepare(
      graph,
      segment,
      weights.map(({ dtype }) => this.#heldDType(dtype)),
    );
  }

  async upload(block: BlockUpload, signal?: AbortSignal): Promise<void> {
    const whole = this.#wholeTarget(block);
    if (whole) return await block.read(0, whole, signal);
    for (const { stored, storedOffsetBytes, span } of block.tensors) {
      const dtype = this.#heldDType(stored.dtype);
      const target = bytesOf(span).subarray(0, tensorBytes({ dtype, shape: stored.shape }));
      await block.read(storedOffsetBytes, target.subarray(target.byteLength - tensorBytes(stored)), signal);
      if (dtype !== stored.dtype) widenInPlace(stored.dtype, target);
    }
  }

  /** The memory of the whole block, if its tensors lie there as they are stored: then one read does. */
  #wholeTarget({ tensors, storedBytes }: BlockUpload): Uint8Array<ArrayBuffer> | undefined {
    const first = tensors[0];
    if (!first) return undefined;
    const startByte = first.span.offsetBytes - first.storedOffsetBytes;
    const { arena } = first.span;
    for (const { span, stored, storedOffsetBytes } of tensors) {
      const inPlace = span.arena === arena && span.offsetBytes - storedOffsetBytes === startByte;
      if (!inPlace || !this.#compute.weightDTypes.has(stored.dtype)) return undefined;
    }
    const last = tensors.at(-1)!.span;
    const lengthBytes = Math.min(storedBytes, last.offsetBytes + last.lengthBytes - startByte);
    return bytesOf({ arena, offsetBytes: startByte, lengthBytes });
  }

  async write(graph: Graph, id: ValueId, span: Span, data: HostData): Promise<void> {
    const target = spanValues(graph, id, span);
    if (data.length !== target.length) {
      throw new RangeError(`${graph.name} ${graph.values[id]!.name}: ${data.length} of ${target.length} elements`);
    }
    target.set(data);
  }

  async read(graph: Graph, id: ValueId, span: Span, into: Float32Array): Promise<void> {
    into.set(spanValues(graph, id, span));
  }

  async run({ graph, segment, inputs, weights, outputs }: SegmentCall, signal?: AbortSignal): Promise<void> {
    const values = (spans: ReadonlyMap<ValueId, Span>) =>
      new Map([...spans].map(([id, span]) => [id, spanValues(graph, id, span)] as const));
    await this.#compute.run(
      {
        graph,
        segment,
        inputs: values(inputs),
        weights: new Map([...weights].map(([id, weight]) => [id, this.#weight(weight)])),
        outputs: values(outputs) as Map<ValueId, Float32Array>,
      },
      signal,
    );
  }

  #weight({ span, stored }: DeviceWeight): WeightData {
    const dtype = this.#heldDType(stored.dtype);
    return { dtype, bytes: bytesOf(span).subarray(0, tensorBytes({ dtype, shape: stored.shape })) };
  }

  #heldDType(stored: DType): DType {
    return this.#compute.weightDTypes.has(stored) ? stored : "f32";
  }

  async settle(): Promise<void> {}

  release(): Promise<void> {
    return this.#compute.release();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve(this.#compute[Symbol.asyncDispose]());
  }
}

function bytesOf({ arena, offsetBytes, lengthBytes }: Span): Uint8Array<ArrayBuffer> {
  if (!(arena instanceof HostMemory)) throw new TypeError(`${arena.label} is another device's memory`);
  return new Uint8Array(arena.buffer, offsetBytes, lengthBytes);
}

function spanValues(graph: Graph, id: ValueId, span: Span): HostData {
  const { dtype, shape } = graph.values[id]!;
  const { buffer, byteOffset } = bytesOf(span);
  const count = elementCount(shape);
  return dtype === "i32" ? new Int32Array(buffer, byteOffset, count) : new Float32Array(buffer, byteOffset, count);
}
