/** @file The `cpu` backend: ONNX Runtime, one session per kind of segment. Blocks the thread it runs in. */
import type { InferenceSession, Tensor } from "onnxruntime-node";
import { DeviceError } from "../../errors.ts";
import type { Graph, Segment, ValueId } from "../../ir/graph.ts";
import { segmentSignature } from "../../ir/signature.ts";
import { type DType, toFloat32 } from "../../tensor/dtype.ts";
import type { ActivationData, Backend, SegmentRun, WeightData } from "../backend.ts";
import type { LoweredSegment, WeightType } from "./emitter.ts";
import { lowerSegment } from "./lowering.ts";
import { encodeOnnxModel } from "./protobuf.ts";
import { onnxScratchBytes } from "./scratch-bytes.ts";

export interface OnnxBackend extends Backend {
  /** Sessions made so far and still held: equal segments share one. */
  readonly sessionCount: number;
}

/** Sessions of full-size SDXL with their threads, and what the allocator keeps between temporaries: docs/decisions/memory-of-the-process.md. */
const OVERHEAD_BYTES = 224 * 1024 ** 2;

/** Every session has its own: 64 threads each took 100 MiB more than two, more than the overhead has room for. */
const MOST_THREADS = 32;

/** One a core, up to a bound. */
export function defaultThreads(cores: number): number {
  return Math.min(cores, MOST_THREADS);
}

/** What of the package `onnxruntime-node`, or of one with its interface, is used. Its tensors must take fp16 as Uint16Array. */
export type OnnxRuntime = Pick<typeof import("onnxruntime-node"), "InferenceSession" | "Tensor">;

interface CompiledSegment {
  readonly session: InferenceSession;
  readonly lowered: LoweredSegment;
}

/** `threads` share one op: see `defaultThreads`. */
export function createOnnxBackend(ort: OnnxRuntime, threads: number): OnnxBackend {
  const sessions = new Map<string, Promise<CompiledSegment>>();
  const sessionOptions: InferenceSession.SessionOptions = {
    executionProviders: ["cpu"],
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    executionMode: "sequential",
    graphOptimizationLevel: "all",
    // An arena a session keeps its largest temporaries for ever: 9 GB of RSS at full size instead of 5.
    enableCpuMemArena: false,
    // A pattern is one allocation for all temporaries of a run, and one so large that the C library gives it back to the
    // system each time: a third of the decode's time went into clearing its pages anew.
    enableMemPattern: false,
    // Every session has threads of its own; those of the last ones would spin on the cores that the next one needs
    // (30 steps of the demo model: 20 times as long).
    extra: { session: { intra_op: { allow_spinning: "0" } } },
    // Warnings about unused initializers and the like are not for users.
    logSeverityLevel: 3,
  };

  const compile = (graph: Graph, segment: Segment, weightTypes: readonly WeightType[]): Promise<CompiledSegment> => {
    const signature = segmentSignature(graph, segment, weightTypes);
    const known = sessions.get(signature);
    if (known) return known;
    const lowered = lowerSegment(graph, segment, weightTypes);
    const compiled = ort.InferenceSession.create(encodeOnnxModel(lowered.graph), sessionOptions).then((session) => ({
      session,
      lowered,
    }));
    sessions.set(signature, compiled);
    return compiled;
  };

  const release = async () => {
    const held = [...sessions.values()];
    sessions.clear();
    for (const compiled of held) await (await compiled).session.release();
  };

  return {
    name: "cpu",
    overheadBytes: OVERHEAD_BYTES,
    weightDTypes: new Set(["f16", "f32"]),
    scratchBytes: onnxScratchBytes,
    get sessionCount() {
      return sessions.size;
    },
    async prepare(graph, segment, weightDTypes) {
      await compile(graph, segment, weightDTypes.map(weightType)).catch((cause) => {
        throw computeFailure(segment, cause);
      });
    },
    async run({ graph, segment, inputs, weights, outputs }: SegmentRun, signal) {
      signal?.throwIfAborted();
      try {
        const weightTypes = segment.weights.map((id) => weightType(weights.get(id)!.dtype));
        const { session, lowered } = await compile(graph, segment, weightTypes);
        const shape = (id: ValueId) => graph.values[id]!.shape;
        const feeds: Record<string, Tensor> = {};
        segment.inputs.forEach((id, i) => {
          feeds[lowered.inputNames[i]!] = activationTensor(ort, inputs.get(id)!, shape(id));
        });
        segment.weights.forEach((id, i) => {
          feeds[lowered.weightNames[i]!] = weightTensor(ort, weights.get(id)!, shape(id));
        });
        const fetches: Record<string, Tensor> = {};
        segment.outputs.forEach((id, i) => {
          fetches[lowered.outputNames[i]!] = activationTensor(ort, outputs.get(id)!, shape(id));
        });
        const copies = await session.run(feeds, fetches);
        for (const copy of Object.values(copies)) freeCopy(copy);
      } catch (cause) {
        throw computeFailure(segment, cause);
      }
    },
    release,
    [Symbol.asyncDispose]: release,
  };
}

function computeFailure({ name }: Segment, cause: unknown): DeviceError {
  return new DeviceError({
    code: "E_ONNXRUNTIME",
    subject: name,
    problem: `ONNX Runtime could not compute this block (${cause instanceof Error ? cause.message : String(cause)})`,
    next: "try a smaller size, or --backend reference, and report this line",
    cause,
  });
}

function weightType(dtype: DType): WeightType {
  return dtype === "f16" ? "f16" : "f32";
}

function activationTensor(ort: OnnxRuntime, data: ActivationData, shape: readonly number[]): Tensor {
  return data instanceof Int32Array ? new ort.Tensor("int32", data, shape) : new ort.Tensor("float32", data, shape);
}

function weightTensor(ort: OnnxRuntime, { dtype, bytes }: WeightData, shape: readonly number[]): Tensor {
  if (dtype !== "f16") return new ort.Tensor("float32", toFloat32(dtype, bytes), shape);
  const halves = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
  return new ort.Tensor("float16", halves, shape);
}

/**
 * onnxruntime-node 1.30 fills the given memory and then copies every result once more, into a new buffer that nobody asked
 * for. Left to the garbage collector, such buffers pile up.
 */
function freeCopy(tensor: Tensor): void {
  const { buffer } = tensor.data as Float32Array<ArrayBuffer>;
  buffer.transfer(0);
}
