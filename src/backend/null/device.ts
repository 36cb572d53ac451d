/**
 * @file A device that allocates nothing large and computes nothing, but keeps exact account of memory and holds every caller to
 * the rules of device.ts: plans and streams of full-size models are tried on it without weights and without hardware. Results
 * that are read back are zeros.
 */
import type { Graph, Segment, ValueId } from "../../ir/graph.ts";
import { DTYPE_BYTES, elementCount, tensorBytes } from "../../tensor/dtype.ts";
import {
  type Arena,
  type BlockUpload,
  type Device,
  DeviceMemoryError,
  type HostData,
  type SegmentCall,
  type Span,
  type StoredWeight,
} from "../device.ts";
import { ArenaContents, type Content, DeviceRuleError } from "./contents.ts";

export { DeviceRuleError };

export type NullCall = "createArena" | "createScratch" | "prepare" | "upload" | "write" | "read" | "run" | "settle";

export interface NullDeviceOptions {
  /** Whose sizes it has. Default: activations in fp32, weights as stored, no scratch, padded to the alignment. */
  readonly sizes?: Pick<Device, "activationBytes" | "weightBytes" | "scratchBytes">;
  /** Default false. */
  readonly sharesHostMemory?: boolean;
  /** Default 256. */
  readonly alignmentBytes?: number;
  /** Default 0. */
  readonly overheadBytes?: number;
  /** Default 0. */
  readonly hostBytes?: number;
  readonly maxArenaBytes?: number;
  /** What arenas and scratch may take together; beyond, DeviceMemoryError. Default: no limit. */
  readonly memoryBytes?: number;
  /** Before each call, counted from 0: may throw, as a device that fails does. */
  readonly before?: (call: NullCall, count: number) => void;
}

/** What came to pass so far. */
export interface NullAccount {
  /** Arenas and scratch that are held, and the most that were at once. */
  readonly heldBytes: number;
  readonly peakBytes: number;
  readonly uploads: number;
  /** Stored bytes of them. */
  readonly uploadedBytes: number;
  readonly runs: number;
}

export interface NullDevice extends Device {
  /** Grows as the device is used. */
  readonly account: NullAccount;
}

/** Stored bytes of a block that are read at a time. */
const READ_BYTES = 4 * 1024 ** 2;

/** Every broken rule throws, or rejects with, DeviceRuleError. */
export function createNullDevice(options: NullDeviceOptions = {}): NullDevice {
  return new AccountingDevice(options);
}

class AccountingDevice implements NullDevice {
  readonly name = "null";
  readonly sharesHostMemory: boolean;
  readonly rowsFirst = false;
  readonly alignmentBytes: number;
  readonly overheadBytes: number;
  readonly hostBytes: number;
  readonly maxArenaBytes: number | undefined;
  readonly account = { heldBytes: 0, peakBytes: 0, uploads: 0, uploadedBytes: 0, runs: 0 };
  readonly #options: NullDeviceOptions;
  readonly #arenas = new Set<ArenaContents>();
  readonly #scratch = new Set<ArenaContents>();
  /** All reads go there: nobody looks at what they bring. */
  readonly #landing = new Uint8Array(READ_BYTES);
  #calls = 0;
  #ended = false;

  constructor(options: NullDeviceOptions) {
    this.#options = options;
    this.sharesHostMemory = options.sharesHostMemory ?? false;
    this.alignmentBytes = options.alignmentBytes ?? 256;
    this.overheadBytes = options.overheadBytes ?? 0;
    this.hostBytes = options.hostBytes ?? 0;
    this.maxArenaBytes = options.maxArenaBytes;
  }

  activationBytes(graph: Graph, id: ValueId): number {
    const { sizes } = this.#options;
    return sizes ? sizes.activationBytes(graph, id) : this.#padded(4 * elementCount(graph.values[id]!.shape));
  }

  weightBytes(weight: StoredWeight): number {
    const { sizes } = this.#options;
    return sizes ? sizes.weightBytes(weight) : this.#padded(tensorBytes(weight));
  }

  scratchBytes(graph: Graph, segment: Segment, weights: readonly StoredWeight[]) {
    return this.#options.sizes?.scratchBytes(graph, segment, weights) ?? { sharedBytes: 0, privateBytes: 0 };
  }

  async createArena(lengthBytes: number, label: string): Promise<Arena> {
    this.#enter("createArena");
    if (lengthBytes > (this.maxArenaBytes ?? Number.POSITIVE_INFINITY))
      throw new DeviceRuleError(`arena ${label} of ${lengthBytes} bytes is larger than ${this.maxArenaBytes}`);
    return this.#allocate(lengthBytes, label, this.#arenas);
  }

  async createScratch(sharedBytes: number): Promise<Disposable> {
    this.#enter("createScratch");
    return this.#allocate(sharedBytes, "scratch", this.#scratch);
  }

  async prepare(graph: Graph, segment: Segment, weights: readonly StoredWeight[]): Promise<void> {
    this.#enter("prepare");
    requireShapes(graph, segment, weights);
  }

  async upload(block: BlockUpload, signal?: AbortSignal): Promise<void> {
    this.#enter("upload");
    const writes = block.tensors.map(({ name, span, stored, storedOffsetBytes }) => {
      const label = `upload of ${name}`;
      if (storedOffsetBytes % DTYPE_BYTES[stored.dtype] !== 0)
        throw new DeviceRuleError(`${label}: its offset ${storedOffsetBytes} is no multiple of its elements' size`);
      if (storedOffsetBytes + tensorBytes(stored) > block.storedBytes)
        throw new DeviceRuleError(`${label}: it ends beyond its block of ${block.storedBytes} bytes`);
      const contents = this.#contentsOf(span, this.weightBytes(stored), label);
      return { write: contents.beginWriting(span, label), content: weightContent(stored) };
    });
    let whole = false;
    try {
      for (let at = 0; at < block.storedBytes; at += READ_BYTES)
        await block.read(at, this.#landing.subarray(0, Math.min(READ_BYTES, block.storedBytes - at)), signal);
      signal?.throwIfAborted();
      whole = true;
    } finally {
      for (const { write, content } of writes) write.end(whole ? content : undefined);
    }
    this.account.uploads++;
    this.account.uploadedBytes += block.storedBytes;
  }

  async write(graph: Graph, id: ValueId, span: Span, data: HostData): Promise<void> {
    this.#enter("write");
    const { label, content } = activationOf(graph, id);
    requireLength(label, data.length, content.elements);
    this.#contentsOf(span, this.activationBytes(graph, id), label).beginWriting(span, label).end(content);
  }

  async read(graph: Graph, id: ValueId, span: Span, into: Float32Array): Promise<void> {
    this.#enter("read");
    const { label, content } = activationOf(graph, id);
    requireLength(label, into.length, content.elements);
    this.#contentsOf(span, this.activationBytes(graph, id), label).beginReading(span, label, content).end();
    into.fill(0);
  }

  async run({ graph, segment, inputs, weights, outputs }: SegmentCall, signal?: AbortSignal): Promise<void> {
    this.#enter("run");
    signal?.throwIfAborted();
    const stored = segment.weights.map((id) => given(weights, id, graph).stored);
    requireShapes(graph, segment, stored);
    this.#requireScratch(graph, segment, stored);
    let computed = false;
    using users = new DisposableStack();
    for (const id of segment.inputs) {
      const { label, content } = activationOf(graph, id);
      const span = given(inputs, id, graph);
      const reading = this.#contentsOf(span, this.activationBytes(graph, id), label).beginReading(span, label, content);
      users.defer(reading.end);
    }
    for (const id of segment.weights) {
      const label = nameOf(graph, id);
      const { span, stored } = given(weights, id, graph);
      const contents = this.#contentsOf(span, this.weightBytes(stored), label);
      users.defer(contents.beginReading(span, label, weightContent(stored)).end);
    }
    // After inputs and weights, and all of them held: an output that overlaps any of these is refused.
    for (const id of segment.outputs) {
      const { label, content } = activationOf(graph, id);
      const span = given(outputs, id, graph);
      const writing = this.#contentsOf(span, this.activationBytes(graph, id), label).beginWriting(span, label);
      users.defer(() => writing.end(computed ? content : undefined));
    }
    // Whoever touches this call's memory before it resolves meets it in use.
    await Promise.resolve();
    computed = true;
    this.account.runs++;
  }

  async settle(): Promise<void> {
    this.#enter("settle");
  }

  async release(): Promise<void> {
    this.#requireOpen("release");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    if (this.account.heldBytes > 0)
      throw new DeviceRuleError(`the device ends while ${this.account.heldBytes} bytes of it are held`);
  }

  #enter(call: NullCall): void {
    this.#requireOpen(call);
    this.#options.before?.(call, this.#calls++);
  }

  #requireOpen(call: string): void {
    if (this.#ended) throw new DeviceRuleError(`${call} after the end of the device`);
  }

  #allocate(lengthBytes: number, label: string, list: Set<ArenaContents>): Arena {
    const { account } = this;
    const { memoryBytes = Number.POSITIVE_INFINITY } = this.#options;
    if (account.heldBytes + lengthBytes > memoryBytes) {
      throw new DeviceMemoryError({
        code: "E_VRAM",
        subject: label,
        problem: `the null device has not so much memory (needs ${lengthBytes}, free ${memoryBytes - account.heldBytes} of ${memoryBytes})`,
        next: "lower --vram",
      });
    }
    const arena = new ArenaContents(label, lengthBytes, () => {
      list.delete(arena);
      account.heldBytes -= lengthBytes;
    });
    list.add(arena);
    account.heldBytes += lengthBytes;
    account.peakBytes = Math.max(account.peakBytes, account.heldBytes);
    return arena;
  }

  /** The arena of a span that is one of this device's, and long enough for `neededBytes`. */
  #contentsOf({ arena, offsetBytes, lengthBytes }: Span, neededBytes: number, label: string): ArenaContents {
    if (!(arena instanceof ArenaContents) || !this.#arenas.has(arena))
      throw new DeviceRuleError(`${label}: arena ${arena.label} is none of this device's, or no longer`);
    const place = `${offsetBytes} + ${lengthBytes} of ${arena.label}`;
    if (offsetBytes % this.alignmentBytes !== 0)
      throw new DeviceRuleError(`${label}: ${place} starts at no multiple of ${this.alignmentBytes}`);
    if (offsetBytes < 0 || offsetBytes + lengthBytes > arena.lengthBytes)
      throw new DeviceRuleError(`${label}: ${place} lies outside of its ${arena.lengthBytes} bytes`);
    if (lengthBytes < neededBytes) throw new DeviceRuleError(`${label}: ${place} is shorter than ${neededBytes}`);
    return arena;
  }

  #requireScratch(graph: Graph, segment: Segment, stored: readonly StoredWeight[]): void {
    const { sharedBytes } = this.scratchBytes(graph, segment, stored);
    const heldBytes = Math.max(0, ...[...this.#scratch].map(({ lengthBytes }) => lengthBytes));
    if (sharedBytes > heldBytes)
      throw new DeviceRuleError(`${segment.name} needs ${sharedBytes} bytes of scratch, ${heldBytes} are held`);
  }

  #padded(bytes: number): number {
    return Math.ceil(bytes / this.alignmentBytes) * this.alignmentBytes;
  }
}

function nameOf(graph: Graph, id: ValueId): string {
  return `${graph.name}: ${graph.values[id]!.name}`;
}

function activationOf(graph: Graph, id: ValueId) {
  const content = { kind: "activation", elements: elementCount(graph.values[id]!.shape) } as const satisfies Content;
  return { label: nameOf(graph, id), content };
}

function weightContent({ dtype, shape }: StoredWeight): Content {
  return { kind: "weight", dtype, shape };
}

function given<T>(places: ReadonlyMap<ValueId, T>, id: ValueId, graph: Graph): T {
  const place = places.get(id);
  if (place === undefined) throw new DeviceRuleError(`${nameOf(graph, id)} has no place`);
  return place;
}

function requireLength(label: string, found: number, elements: number): void {
  if (found !== elements) throw new DeviceRuleError(`${label}: ${found} of ${elements} elements`);
}

function requireShapes(graph: Graph, segment: Segment, stored: readonly StoredWeight[]): void {
  if (stored.length !== segment.weights.length)
    throw new DeviceRuleError(`${segment.name}: ${stored.length} of ${segment.weights.length} weights`);
  segment.weights.forEach((id, i) => {
    const declared = graph.values[id]!.shape;
    if (`${declared}` !== `${stored[i]!.shape}`)
      throw new DeviceRuleError(`${nameOf(graph, id)} is [${declared}] in the graph, [${stored[i]!.shape}] as stored`);
  });
}
