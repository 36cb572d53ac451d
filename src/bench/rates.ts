/** @file How fast a device computes one shape: any Device, through the seam that the engine uses. */
import type { Arena, Device, DeviceWeight, SegmentCall, Span } from "../backend/device.ts";
import { elementCount, numberToF16 } from "../tensor/dtype.ts";
import type { BenchProblem } from "./shapes.ts";

export interface Rate {
  /** Milliseconds of the fastest run. */
  readonly ms: number;
  /** Of products and attention. */
  readonly gflops?: number;
  /** Of what memory bounds. */
  readonly gbps?: number;
}

export interface RateOptions {
  readonly now: () => number;
  readonly signal?: AbortSignal;
  /** Runs after the first, which compiles: at least this many, */
  readonly runs: number;
  /** and until so much time has passed. */
  readonly leastMs: number;
}

/** The fastest run of several. Rejects as the device does. */
export async function measureRate(device: Device, problem: BenchProblem, options: RateOptions): Promise<Rate> {
  await using prepared = await prepareCall(device, problem, options.signal);
  const ms = await fastest(async () => {
    await device.run(prepared.call, options.signal);
    await device.settle();
  }, options);
  if (problem.operations > 0) return { ms, gflops: problem.operations / ms / 1e6 };
  return { ms, gbps: problem.bytes / ms / 1e6 };
}

/** Milliseconds of the fastest of several runs, after one that warms up. */
export async function fastest(work: () => Promise<void>, { now, runs, leastMs, signal }: RateOptions): Promise<number> {
  await work();
  let best = Number.POSITIVE_INFINITY;
  const startMs = now();
  for (let i = 0; i < runs || now() - startMs < leastMs; i++) {
    signal?.throwIfAborted();
    const beforeMs = now();
    await work();
    best = Math.min(best, now() - beforeMs);
  }
  return best;
}

export interface PreparedCall extends AsyncDisposable {
  readonly call: SegmentCall;
}

/** Memory for the graph's one segment, filled with values: of zeros, a GPU computes faster. */
export async function prepareCall(
  device: Device,
  { graph }: BenchProblem,
  signal?: AbortSignal,
): Promise<PreparedCall> {
  await using owned = new AsyncDisposableStack();
  const segment = graph.segments[0]!;
  const span = async (bytes: number, label: string): Promise<Span> => {
    const arena: Arena = owned.use(await device.createArena(Math.max(bytes, device.alignmentBytes), label));
    return { arena, offsetBytes: 0, lengthBytes: bytes };
  };
  const inputs = new Map<number, Span>();
  for (const id of segment.inputs) {
    const place = await span(device.activationBytes(graph, id), "bench input");
    await device.write(graph, id, place, repeated(VALUES, elementCount(graph.values[id]!.shape)));
    inputs.set(id, place);
  }
  const weights = new Map<number, DeviceWeight>();
  for (const id of segment.weights) {
    const { shape, name } = graph.values[id]!;
    const stored = { dtype: "f16" as const, shape };
    const weight = { stored, span: await span(device.weightBytes(stored), "bench weights") };
    const bytes = new Uint8Array(repeated(HALVES, elementCount(shape)).buffer);
    const read = async (start: number, into: Uint8Array) => into.set(bytes.subarray(start, start + into.length));
    const tensors = [{ name, ...weight, storedOffsetBytes: 0 }];
    await device.upload({ label: graph.name, storedBytes: bytes.length, tensors, read }, signal);
    weights.set(id, weight);
  }
  const outputs = new Map<number, Span>();
  for (const id of segment.outputs) outputs.set(id, await span(device.activationBytes(graph, id), "bench output"));
  const stored = segment.weights.map((id) => weights.get(id)!.stored);
  owned.use(await device.createScratch(device.scratchBytes(graph, segment, stored).sharedBytes));
  const stack = owned.move();
  return {
    call: { graph, segment, inputs, weights, outputs },
    [Symbol.asyncDispose]: async () => {
      await device.settle();
      await stack.disposeAsync();
    },
  };
}

/** A prime count, so that no row equals the next. */
const COUNT = 65521;
/** From -1 to 1. */
const VALUES = Float32Array.from({ length: COUNT }, (_, i) => (Math.imul(i + 1, 0x9e3779b1) >>> 8) / 2 ** 23 - 1);
/** As a network's weights: small, of both signs. */
const HALVES = Uint16Array.from(VALUES, (value) => numberToF16(0.05 * value));

/** `length` values: those of `pattern`, again and again. */
function repeated<T extends Float32Array | Uint16Array>(pattern: T, length: number): T {
  const values = new (pattern.constructor as new (length: number) => T)(length);
  for (let at = 0; at < length; at += pattern.length) values.set(pattern.subarray(0, length - at), at);
  return values;
}
