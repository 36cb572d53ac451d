/** @file A device of host memory that fails on purpose, call by call, as a graphics device does: once broken, it refuses everything. */
import type { Arena, BlockUpload, Device, HostData, SegmentCall, Span, StoredWeight } from "../src/backend/device.ts";
import { DeviceMemoryError } from "../src/backend/device.ts";
import { HostDevice } from "../src/backend/host-device.ts";
import { createReferenceBackend } from "../src/backend/reference/backend.ts";
import { DeviceError, type SolvayError } from "../src/errors.ts";
import type { Graph, Segment, ValueId } from "../src/ir/graph.ts";

export type DeviceCall = "createArena" | "createScratch" | "upload" | "write" | "read" | "run" | "settle";

export interface DeviceFaults {
  /** Before each call, counted from 0 over all calls of this device. May throw, break the device, or both. */
  readonly before?: (call: DeviceCall, count: number, device: FaultyDevice) => void;
  /** After a result was read back. */
  readonly onRead?: (graph: Graph, into: Float32Array) => void;
}

export class FaultyDevice implements Device {
  readonly name = "reference";
  readonly alignmentBytes: number;
  readonly sharesHostMemory = false;
  readonly overheadBytes: number;
  readonly hostBytes = 600;
  readonly rowsFirst = false;
  readonly #inner = new HostDevice(createReferenceBackend());
  readonly #faults: DeviceFaults;
  readonly live = new Set<Arena>();
  failure: SolvayError | undefined;
  calls = 0;
  disposed = false;

  constructor(faults: DeviceFaults = {}, overheadBytes = 1000) {
    this.overheadBytes = overheadBytes;
    this.#faults = faults;
    this.alignmentBytes = this.#inner.alignmentBytes;
  }

  /** As a driver does: some calls fail with the loss, others in their own way. */
  lose(): never {
    this.failure = lostError();
    throw this.calls % 2 === 0 ? this.failure : new Error("a valid external Instance reference no longer exists");
  }

  async #enter(call: DeviceCall): Promise<void> {
    if (this.disposed) throw new Error(`${call} after the end of the device`);
    if (this.failure) throw this.failure;
    const count = this.calls++;
    this.#faults.before?.(call, count, this);
  }

  activationBytes(graph: Graph, id: ValueId): number {
    return this.#inner.activationBytes(graph, id);
  }

  weightBytes(weight: StoredWeight): number {
    return this.#inner.weightBytes(weight);
  }

  prepare(graph: Graph, segment: Segment, weights: readonly StoredWeight[]) {
    return this.#inner.prepare(graph, segment, weights);
  }

  scratchBytes(graph: Graph, segment: Segment, weights: readonly StoredWeight[]) {
    return this.#inner.scratchBytes(graph, segment, weights);
  }

  async createArena(lengthBytes: number, label: string): Promise<Arena> {
    await this.#enter("createArena");
    const arena = await this.#inner.createArena(lengthBytes, label);
    const dispose = arena[Symbol.dispose].bind(arena);
    this.live.add(arena);
    return Object.defineProperty(arena, Symbol.dispose, {
      value: () => {
        if (this.disposed) throw new Error(`${label} is given back after the end of its device`);
        this.live.delete(arena);
        dispose();
      },
    });
  }

  async createScratch(): Promise<Disposable> {
    await this.#enter("createScratch");
    return await this.#inner.createScratch();
  }

  async upload(block: BlockUpload, signal?: AbortSignal): Promise<void> {
    await this.#enter("upload");
    await this.#inner.upload(block, signal);
  }

  async write(graph: Graph, id: ValueId, span: Span, data: HostData): Promise<void> {
    await this.#enter("write");
    await this.#inner.write(graph, id, span, data);
  }

  async read(graph: Graph, id: ValueId, span: Span, into: Float32Array): Promise<void> {
    await this.#enter("read");
    await this.#inner.read(graph, id, span, into);
    this.#faults.onRead?.(graph, into);
  }

  async run(call: SegmentCall, signal?: AbortSignal): Promise<void> {
    await this.#enter("run");
    await this.#inner.run(call, signal);
  }

  async settle(): Promise<void> {
    await this.#enter("settle");
  }

  release(): Promise<void> {
    return this.#inner.release();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.disposed = true;
    await this.#inner[Symbol.asyncDispose]();
  }
}

export function lostError(): DeviceError {
  return new DeviceError({
    code: "E_GPU_LOST",
    problem: "the graphics device was lost (unknown: hung)",
    next: "try again",
  });
}

export function shortError(label: string): DeviceMemoryError {
  const problem = "the graphics card has not enough free memory";
  return new DeviceMemoryError({ code: "E_VRAM", subject: label, problem, next: "lower --vram" });
}
