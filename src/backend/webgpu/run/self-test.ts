/**
 * @file Tries optional kernels on the device before they are used: a small problem with the baseline's kernels and with the
 * others. A path that doesn't compile, gives NaN or differs too much is left out, with a note that says so. The reason is
 * mistakes in drivers: for one, Dawn hides `shader-f16` on NVIDIA's.
 */

import { DeviceError } from "../../../errors.ts";
import { GraphBuilder } from "../../../ir/builder.ts";
import type { Graph } from "../../../ir/graph.ts";
import { elementCount, numberToF16 } from "../../../tensor/dtype.ts";
import type { StoredWeight } from "../../device.ts";
import type { Precision } from "../../precision.ts";
import { type AdapterFacts, describeAdapter } from "../adapter/adapter.ts";
import { type Candidate, candidatePaths } from "../adapter/candidates.ts";
import { closeGpu, type OpenedGpu } from "../adapter/opened-gpu.ts";
import { lowerSegment } from "../lower/lowering.ts";
import type { LoweringLimits } from "../lower/lowering-scope.ts";
import { BASELINE, type KernelPaths } from "../lower/paths.ts";
import { compileList, LooseList } from "./bindings.ts";
import { DeviceHealth, lostError } from "./device-health.ts";
import { MAP, USAGE } from "./gpu-flags.ts";
import { PipelineCache } from "./pipelines.ts";

export interface ChosenPaths {
  readonly paths: KernelPaths;
  /** What was asked for or offered, and isn't used. */
  readonly notes: readonly string[];
}

/** Squared difference by squared size that fp16 arithmetic may cause; it causes about 1e-6. */
export const MAX_NMSE = 5e-4;

/** Characters: compilers explain themselves at length. */
const LONGEST_REASON = 200;

/** Adapter and precision -> what came of it: a driver isn't tried twice in a process. */
const known = new Map<string, ChosenPaths>();

/** Rejects with DeviceError if the device is lost meanwhile. */
export async function probePaths(
  opened: OpenedGpu,
  precision: Precision,
  limits: LoweringLimits,
): Promise<ChosenPaths> {
  const key = `${describeAdapter(opened.facts)} ${opened.facts.features} ${precision}`;
  const before = known.get(key);
  if (before) return before;
  const chosen = await tryCandidates(opened, precision, limits);
  known.set(key, chosen);
  return chosen;
}

/** Tries all that an adapter offers, and closes it. Rejects with DeviceError. */
export async function tryAdapter(opened: OpenedGpu): Promise<ChosenPaths> {
  try {
    const { paths, notes } = await probePaths(opened, "fp16", limitsOf(opened.facts));
    return { paths, notes: [...(opened.notes ?? []), ...notes] };
  } finally {
    await closeGpu(opened);
  }
}

export function limitsOf({ limits }: AdapterFacts): LoweringLimits {
  return {
    bindingBytes: limits.maxStorageBufferBindingSize,
    workgroupBytes: limits.maxComputeWorkgroupStorageSize,
  };
}

async function tryCandidates(opened: OpenedGpu, precision: Precision, limits: LoweringLimits): Promise<ChosenPaths> {
  const health = new DeviceHealth();
  void opened.device.lost.then(({ reason, message }) => health.fail(lostError(reason, message)));
  const trial = new Trial(opened.device, new PipelineCache(opened.device, health), health, limits);
  const { candidates, notes } = candidatePaths(opened.facts, precision);
  const left: string[] = [...notes];
  let paths = BASELINE;
  for (const candidate of candidates) {
    if (candidate.unless?.(paths)) continue;
    const problem = await trial.problemOf(candidate);
    if (problem === undefined) paths = { ...paths, ...candidate.paths };
    else left.push(`${candidate.name} is not used: ${problem}`);
  }
  return { paths, notes: left };
}

class Trial {
  readonly #device: GPUDevice;
  readonly #pipelines: PipelineCache;
  readonly #health: DeviceHealth;
  readonly #limits: LoweringLimits;
  readonly #baseline = new Map<Graph, Float32Array>();

  constructor(device: GPUDevice, pipelines: PipelineCache, health: DeviceHealth, limits: LoweringLimits) {
    this.#device = device;
    this.#pipelines = pipelines;
    this.#health = health;
    this.#limits = limits;
  }

  /** Undefined: it computes what the baseline does. */
  async problemOf({ paths, problem, exact }: Candidate): Promise<string | undefined> {
    const graph = PROBLEMS[problem];
    try {
      const expected = this.#baseline.get(graph) ?? (await this.#compute(graph, BASELINE));
      this.#baseline.set(graph, expected);
      return difference(expected, await this.#compute(graph, { ...BASELINE, ...paths }), exact);
    } catch (error) {
      this.#health.check();
      const text = error instanceof DeviceError ? error.problem : String(error);
      return text.split("\n")[0]!.slice(0, LONGEST_REASON);
    }
  }

  /** Results of the graph's one segment, one after the other. */
  async #compute(graph: Graph, paths: KernelPaths): Promise<Float32Array> {
    const segment = graph.segments[0]!;
    const stored = segment.weights.map((id): StoredWeight => ({ dtype: "f16", shape: graph.values[id]!.shape }));
    const list = lowerSegment(graph, segment, stored, { limits: this.#limits, paths });
    const compiled = await compileList(this.#pipelines, list);
    const device = this.#device;
    device.pushErrorScope("validation");
    const owned = new DisposableStack();
    try {
      const loose = owned.use(new LooseList(device, this.#pipelines, list, compiled, "self-test"));
      for (const [i, { kind, index }] of list.storages.entries()) {
        const id = kind === "input" ? segment.inputs[index!] : kind === "weight" ? segment.weights[index!] : undefined;
        if (id !== undefined) device.queue.writeBuffer(loose.storages[i]!, 0, valuesFor(graph, id, kind === "weight"));
      }
      const encoder = device.createCommandEncoder();
      loose.encode(encoder);
      const results = segment.outputs.map((id, i) => {
        const bytes = elementCount(graph.values[id]!.shape) * 4;
        const from = loose.storages[list.storages.findIndex(({ kind, index }) => kind === "output" && index === i)]!;
        return { from, bytes };
      });
      const total = results.reduce((sum, { bytes }) => sum + bytes, 0);
      const target = device.createBuffer({
        label: "self-test results",
        size: total,
        usage: USAGE.mapRead | USAGE.copyTarget,
      });
      owned.defer(() => target.destroy());
      let at = 0;
      for (const { from, bytes } of results) {
        encoder.copyBufferToBuffer(from, 0, target, at, bytes);
        at += bytes;
      }
      device.queue.submit([encoder.finish()]);
      await this.#health.answer(target.mapAsync(MAP.read, 0, total));
      return new Float32Array(target.getMappedRange(0, total).slice(0));
    } finally {
      const error = await this.#health.answer(device.popErrorScope());
      owned.dispose();
      // biome-ignore lint/correctness/noUnsafeFinally: what WebGPU reports explains whatever else went wrong.
      if (error) throw new Error(error.message);
    }
  }
}

/** Values from -1 to 1 that have no pattern which a wrong index would keep. */
function valuesFor(graph: Graph, id: number, halves: boolean): Float32Array<ArrayBuffer> | Uint16Array<ArrayBuffer> {
  const count = elementCount(graph.values[id]!.shape);
  const value = (i: number) => ((Math.imul(i + 1 + id * 7919, 0x9e3779b1) >>> 8) / 2 ** 23 - 1) * (halves ? 0.25 : 1);
  if (!halves) return Float32Array.from({ length: count }, (_, i) => value(i));
  // Whole words: a write is a multiple of four bytes.
  return Uint16Array.from({ length: count + (count % 2) }, (_, i) => numberToF16(value(i)));
}

/** Why `found` isn't `expected`. */
export function difference(expected: Float32Array, found: Float32Array, exact: boolean): string | undefined {
  let squares = 0;
  let size = 0;
  let other = 0;
  expected.forEach((value, i) => {
    squares += (found[i]! - value) ** 2;
    size += value ** 2;
    if (!Object.is(found[i], value)) other++;
  });
  if (exact) return other === 0 ? undefined : `its self-test gave other bits in ${other} of ${expected.length} results`;
  const nmse = squares / size;
  // Not a number fails the comparison too.
  return nmse <= MAX_NMSE ? undefined : `its self-test failed (error ${nmse.toExponential(1)}, allowed ${MAX_NMSE})`;
}

/** Small problems with every part of a path: whole and cut tiles, several rounds along K, all that follows a product. */
const PROBLEMS: Readonly<Record<Candidate["problem"], Graph>> = {
  products: problem("self-test products", (g) => {
    const x = g.input("x", [1, 72, 144]);
    const y = g.node("linear", [x, g.weight("w", [80, 144]), g.weight("b", [80])], {});
    g.output("gate", g.node("geglu", [y], {}));
    const image = g.input("image", [1, 12, 9, 9]);
    const padded = { stride: 1, pad: [1, 1, 1, 1] } as const;
    const z = g.node("conv2d", [image, g.weight("cw", [68, 12, 3, 3]), g.weight("cb", [68])], padded);
    g.output("image", g.node("silu", [z], {}));
  }),
  attention: problem("self-test attention", (g) => {
    const q = g.input("q", [1, 70, 128]);
    const k = g.input("k", [1, 77, 128]);
    const v = g.input("v", [1, 77, 128]);
    g.output("y", g.node("attention", [q, k, v], { heads: 2, causal: false }));
  }),
  reductions: problem("self-test reductions", (g) => {
    const x = g.input("x", [1, 67, 128]);
    const y = g.node("layerNorm", [x, g.weight("w", [128]), g.weight("b", [128])], { eps: 1e-5 });
    g.output("norm", y);
    g.output("rows", g.node("attention", [y, y, y], { heads: 2, causal: true }));
    g.output("groups", g.node("groupStats", [g.input("image", [2, 48, 9, 9])], { groups: 3 }));
  }),
};

function problem(name: string, build: (g: GraphBuilder) => void): Graph {
  const g = new GraphBuilder(name);
  g.segment("s", () => build(g));
  return g.build();
}

/** For tests that change what a driver answers. */
export function forgetProbes(): void {
  known.clear();
}
