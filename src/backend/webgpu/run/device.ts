/**
 * @file The `webgpu` device: arenas, uploads and segments on an opened graphics adapter. Segments are lowered once per
 * shape (lowering.ts), bound once per set of spans, and recorded anew at each call: the step loop makes and frees nothing.
 */
import { type SolvayError, UsageError } from "../../../errors.ts";
import type { Graph, Segment, ValueId } from "../../../ir/graph.ts";
import { elementCount } from "../../../tensor/dtype.ts";
import type { BlockUpload, DataOrder, HostData, ScratchBytes, SegmentCall, Span, StoredWeight } from "../../device.ts";
import type { AdapterFacts } from "../adapter/adapter.ts";
import { closeGpu, type OpenedGpu } from "../adapter/opened-gpu.ts";
import type { LoweringOptions } from "../lower/lowering-scope.ts";
import { DEFAULT_STAGING, WebGpuSizes } from "../lower/sizes.ts";
import { CallCache } from "./calls.ts";
import { DeviceHealth, lostError, outOfMemory, POISON, staleError, uncapturedError } from "./device-health.ts";
import type { WebGpuDevice, WebGpuOptions } from "./device-types.ts";
import { USAGE } from "./gpu-flags.ts";
import { type GpuSpan, HostTransfers } from "./host-transfers.ts";
import { DeviceMemory, type GpuArena } from "./memory.ts";
import { Pacer, type PacingState } from "./pacing.ts";
import { PipelineCache } from "./pipelines.ts";
import { type ChosenPaths, limitsOf, probePaths } from "./self-test.ts";
import { SubmitQueue } from "./submission.ts";
import { Uploader } from "./uploads.ts";

export type { WebGpuDevice, WebGpuOptions };

/** Takes over what is opened; it is closed with the device, or on failure. Rejects with DeviceError, or BudgetError where memory for staging is short. */
export async function createWebGpuDevice(opened: OpenedGpu, options: WebGpuOptions = {}): Promise<WebGpuDevice> {
  try {
    const limits = { ...limitsOf(opened.facts), ...options.limits };
    const { paths, precision = "fp32" } = options;
    const probed = paths ? { paths, notes: [] } : await probePaths(opened, precision, limits);
    const chosen = { ...probed, notes: [...(opened.notes ?? []), ...probed.notes] };
    const lowering: LoweringOptions = {
      limits,
      paths: chosen.paths,
      chooseTile: options.chooseTile,
    };
    return new GpuDevice(opened, options, lowering, chosen);
  } catch (cause) {
    opened.device.destroy();
    // Memory that is mapped at once is host memory, too: its shortage is thrown.
    throw cause instanceof RangeError ? outOfMemory("staging", stagingBytes(options), 0) : cause;
  }
}

function stagingBytes({ staging: { slots, slotBytes } = DEFAULT_STAGING }: WebGpuOptions): number {
  return slots * slotBytes;
}

class GpuDevice implements WebGpuDevice {
  readonly name = "webgpu";
  readonly alignmentBytes: number;
  readonly sharesHostMemory = false;
  readonly rowsFirst = true;
  readonly #sizes: WebGpuSizes;
  readonly overheadBytes: number;
  readonly hostBytes: number;
  readonly adapter: AdapterFacts;
  readonly chosen: ChosenPaths;
  readonly maxArenaBytes: number;
  readonly #opened: OpenedGpu;
  readonly #device: GPUDevice;
  readonly #health: DeviceHealth;
  readonly #pipelines: PipelineCache;
  readonly #memory: DeviceMemory;
  readonly #queue: SubmitQueue;
  readonly #uploader: Uploader;
  readonly #pacer: Pacer;
  readonly #poison: GPUBuffer;
  readonly #calls: CallCache;
  readonly #transfers: HostTransfers;
  #scratch: GpuArena[] = [];
  #turn: Promise<unknown> = Promise.resolve();
  readonly #keepPacing: () => Promise<void>;
  #kept: Promise<void> | undefined;
  #closing = false;

  constructor(opened: OpenedGpu, options: WebGpuOptions, lowering: LoweringOptions, chosen: ChosenPaths) {
    this.chosen = chosen;
    this.#opened = opened;
    this.#device = opened.device;
    this.adapter = opened.facts;
    this.maxArenaBytes = opened.facts.limits.maxBufferSize;
    const device = opened.device;
    const health = new DeviceHealth(options.patienceMs, ({ code }) => {
      if (!CAUTIONS.has(code)) return;
      this.#pacer.halve();
      this.#kept = this.#keepPacing();
    });
    this.#health = health;
    this.#pacer = new Pacer(options.pacing);
    this.#keepPacing = async () => await options.keepPacing?.(this.#pacer.state).catch(() => undefined);
    this.#pipelines = new PipelineCache(device, health);
    this.#memory = new DeviceMemory(
      device,
      health,
      () => this.release(),
      (arena) => {
        this.#calls.forget(arena);
        this.#uploader.forget(arena);
      },
    );
    this.#queue = new SubmitQueue(device, health, this.#pacer, options.now ?? (() => performance.now()));
    this.#transfers = new HostTransfers(device, this.#queue, health);
    const staging = options.staging ?? DEFAULT_STAGING;
    const parts = { health, memory: this.#memory, pipelines: this.#pipelines };
    this.#uploader = new Uploader(device, parts, staging);
    this.#sizes = new WebGpuSizes(lowering, staging);
    this.#calls = new CallCache(device, { memory: this.#memory, pipelines: this.#pipelines, sizes: this.#sizes });
    this.alignmentBytes = this.#sizes.alignmentBytes;
    this.overheadBytes = this.#sizes.overheadBytes;
    this.hostBytes = this.#sizes.hostBytes;
    this.#poison = device.createBuffer({
      label: "poison",
      size: POISON_BYTES,
      usage: USAGE.copySource | USAGE.copyTarget,
    });
    device.queue.writeBuffer(this.#poison, 0, new Uint32Array(POISON_BYTES / 4).fill(POISON));
    void device.lost.then(({ reason, message }) => {
      if (!this.#closing) health.fail(lostError(reason, message));
    });
    device.onuncapturederror = ({ error }) => health.fail(uncapturedError(this.adapter.device, error));
  }

  get failure(): SolvayError | undefined {
    return this.#health.failure;
  }

  get pacing(): PacingState {
    return this.#pacer.state;
  }

  get uploadedBytes(): number {
    return this.#uploader.returnedBytes;
  }

  get heldBytes(): number {
    return this.#memory.heldBytes;
  }

  get boundCount(): number {
    return this.#calls.boundCount;
  }

  get pipelineCount(): number {
    return this.#pipelines.size;
  }

  activationBytes(graph: Graph, id: ValueId): number {
    return this.#sizes.activationBytes(graph, id);
  }

  weightBytes(weight: StoredWeight): number {
    return this.#sizes.weightBytes(weight);
  }

  scratchBytes(graph: Graph, segment: Segment, weights: readonly StoredWeight[]): ScratchBytes {
    return this.#sizes.scratchBytes(graph, segment, weights);
  }

  createArena(lengthBytes: number, label: string): Promise<GpuArena> {
    if (lengthBytes > this.maxArenaBytes) {
      throw new UsageError({
        code: "E_GPU_LIMIT",
        subject: label,
        problem: `an arena is larger than this adapter allows (found ${lengthBytes} bytes, allowed ${this.maxArenaBytes})`,
        next: "make a smaller picture, or use --backend cpu",
      });
    }
    return this.#memory.create(lengthBytes, label);
  }

  async createScratch(sharedBytes: number): Promise<Disposable> {
    if (sharedBytes === 0) return { [Symbol.dispose]: () => undefined };
    const arena = await this.#memory.create(sharedBytes, "scratch");
    this.#scratch.push(arena);
    return {
      [Symbol.dispose]: () => {
        this.#scratch = this.#scratch.filter((held) => held !== arena);
        arena[Symbol.dispose]();
      },
    };
  }

  prepare(graph: Graph, segment: Segment, weights: readonly StoredWeight[]): Promise<void> {
    return this.#inTurn(async () => {
      await this.#calls.compile(graph, segment, weights);
    });
  }

  async upload(block: BlockUpload, signal?: AbortSignal): Promise<void> {
    this.#health.check();
    await this.#uploader.upload(block, signal);
  }

  write(graph: Graph, id: ValueId, span: Span, data: HostData, order: DataOrder = "logical"): Promise<void> {
    const { shape } = graph.values[id]!;
    return this.#inTurn(async () => this.#transfers.write(shape, this.#placeOf(span), data, order));
  }

  async read(graph: Graph, id: ValueId, span: Span, into: Float32Array, order: DataOrder = "logical"): Promise<void> {
    const { shape, name } = graph.values[id]!;
    const fresh = await this.#inTurn(() => this.#transfers.read(shape, this.#placeOf(span), into, order));
    // An error of the queue may be reported after the data that it spoiled.
    await this.#health.answer(this.#device.queue.onSubmittedWorkDone());
    if (!fresh) throw staleError(`${graph.name} ${name}`);
  }

  run(call: SegmentCall, signal?: AbortSignal): Promise<void> {
    return this.#inTurn(async () => {
      signal?.throwIfAborted();
      const { graph, segment, weights } = call;
      const stored = segment.weights.map((id) => weights.get(id)!.stored);
      const compiled = await this.#calls.compile(graph, segment, stored);
      const { scratchBytes } = compiled.list;
      const scratch = scratchBytes > 0 ? this.#scratchFor(scratchBytes, segment) : undefined;
      const groups = this.#calls.bind(call, compiled, scratch);
      signal?.throwIfAborted();
      for (const id of segment.outputs) this.#spoil(graph, id, call.outputs.get(id)!);
      for (const [i, dispatch] of compiled.list.dispatches.entries())
        await this.#queue.record(dispatch, compiled.pipelines[i]!, groups[i]!, signal);
      this.#queue.flush();
      this.#health.check();
    });
  }

  async settle(): Promise<void> {
    await this.#inTurn(() => this.#queue.settle());
  }

  async release(): Promise<void> {
    this.#sizes.release();
    this.#uploader.release();
    this.#transfers.release();
    await this.#calls.release();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closing) return;
    await this.#inTurn(() => this.#queue.settle()).catch(() => undefined);
    this.#closing = true;
    await (this.#kept ?? this.#keepPacing());
    await this.release();
    this.#memory.destroy();
    this.#uploader.destroy();
    this.#poison.destroy();
    await closeGpu(this.#opened);
  }

  /** Calls that use the queue follow each other in the order in which they were made. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(async () => {
      this.#health.check();
      return await work();
    });
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  #placeOf(span: Span): GpuSpan {
    return { buffer: this.#memory.arenaOf(span).buffer, offsetBytes: span.offsetBytes };
  }

  #scratchFor(bytes: number, segment: Segment): GpuArena {
    const fitting = this.#scratch.find((arena) => arena.lengthBytes >= bytes);
    if (!fitting) throw new Error(`${segment.name} needs ${bytes} bytes of scratch memory, none so large is held`);
    return fitting;
  }

  /** Marks a result as not computed yet, at its start and its end. */
  #spoil(graph: Graph, id: ValueId, span: Span): void {
    const { buffer } = this.#memory.arenaOf(span);
    const bytes = elementCount(graph.values[id]!.shape) * 4;
    const marked = Math.min(POISON_BYTES, bytes);
    this.#queue.copy(this.#poison, 0, buffer, span.offsetBytes, marked);
    if (bytes > marked) this.#queue.copy(this.#poison, 0, buffer, span.offsetBytes + bytes - marked, marked);
  }
}

const POISON_BYTES = 64;
/** Failures that too much work at once may have caused. */
const CAUTIONS: ReadonlySet<string> = new Set(["E_GPU_LOST", "E_GPU_SILENT"]);
