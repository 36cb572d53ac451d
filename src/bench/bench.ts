/** @file All of a bench as one document: SDXL's shapes on what computes here, and steps of a model under budgets. */
import os from "node:os";
import { requireAdapterUse } from "../backend/webgpu/adapter/adapter.ts";
import { DeviceError, UsageError } from "../errors.ts";
import { adapterStateFile, loadAdapterState, saveAdapterState } from "../node/gpu/adapter-state.ts";
import { SOLVAY_VERSION } from "../version.ts";
import { benchHost, type HostBench, type HostResult } from "./host-bench.ts";
import { benchModel, type ModelBenchRequest, type ModelResult, type OpenEngine } from "./model-bench.ts";
import type { PeakTflops } from "./peaks.ts";
import type { BenchShape } from "./shapes.ts";
import { benchWebGpu, type ShapeResult, type WebGpuBench } from "./webgpu-bench.ts";

export interface BenchRequest {
  /** "auto": the graphics card where there is one, else the CPU. */
  readonly backend: "auto" | "webgpu" | "cpu";
  /** Part of the adapter's name. */
  readonly adapter?: string;
  readonly shapes: readonly BenchShape[];
  /** Divides rows; default 1, or 32 on software adapters. */
  readonly shrink?: number;
  /** Measures every tile and keeps the fastest for this adapter. */
  readonly tune?: boolean;
  readonly peak?: PeakTflops;
  readonly model?: ModelBenchRequest;
}

/** What has been measured so far, for who watches. */
export type BenchEvent =
  | { readonly type: "shape"; readonly result: ShapeResult | HostResult }
  | { readonly type: "adapter"; readonly found: WebGpuBench }
  | { readonly type: "tilesKept"; readonly file: string }
  | { readonly type: "noAdapter"; readonly problem: string }
  | { readonly type: "model"; readonly result: ModelResult };

export interface BenchOptions {
  readonly openEngine: OpenEngine;
  /** Where tuned tiles are kept. */
  readonly stateFolder: string;
  readonly signal: AbortSignal;
  readonly onEvent: (event: BenchEvent) => void;
}

export type ComputeBench = ({ readonly backend: "webgpu" } & WebGpuBench) | ({ readonly backend: "cpu" } & HostBench);

export type BenchDocument = {
  readonly version: string;
  /** What it can be measured again with. */
  readonly command: string;
  readonly machine: { readonly platform: string; readonly cpu: string; readonly cores: number };
  readonly node: string;
  readonly model?: readonly ModelResult[];
} & ComputeBench;

/** Rejects with UsageError, with DeviceError where what was asked for can't compute, and as the engine does. */
export async function runBench(request: BenchRequest, command: string, options: BenchOptions): Promise<BenchDocument> {
  const { openEngine, signal, onEvent } = options;
  const compute = await benchCompute(request, options);
  const onResult = (result: ModelResult) => onEvent({ type: "model", result });
  const model = request.model && (await benchModel(request.model, { openEngine, signal, onResult }));
  return {
    version: SOLVAY_VERSION,
    command,
    machine: {
      platform: process.platform,
      cpu: os.cpus()[0]?.model.trim() ?? "unknown",
      cores: os.availableParallelism(),
    },
    node: process.version,
    ...compute,
    model,
  };
}

async function benchCompute(request: BenchRequest, options: BenchOptions): Promise<ComputeBench> {
  const { backend, adapter, shapes, shrink, tune, peak } = request;
  const { signal, onEvent } = options;
  requireAdapterUse(backend, adapter);
  const common = {
    now: () => performance.now(),
    signal,
    shapes,
    shrink,
    onShape: (result: ShapeResult | HostResult) => onEvent({ type: "shape", result }),
  };
  if (backend !== "cpu") {
    try {
      const found = await benchWebGpu({ ...common, adapter, allTiles: tune || undefined, peak });
      onEvent({ type: "adapter", found });
      if (tune) onEvent({ type: "tilesKept", file: await keepTiles(found, options.stateFolder) });
      return { backend: "webgpu", ...found };
    } catch (error) {
      const optional = backend === "auto" && adapter === undefined;
      if (!optional || !(error instanceof DeviceError) || tune) throw error;
      onEvent({ type: "noAdapter", problem: error.problem });
    }
  }
  if (tune) {
    const problem = "--tune is for graphics cards: the CPU has no tiles to choose";
    throw new UsageError({ code: "E_USAGE", problem, next: "leave --tune out" });
  }
  return { backend: "cpu", ...(await benchHost(common)) };
}

/** Adds the fastest tiles to those remembered of the adapter. Returns the file. */
async function keepTiles({ adapter, tiles }: WebGpuBench, stateFolder: string): Promise<string> {
  const file = adapterStateFile(stateFolder);
  const { tiles: before } = await loadAdapterState(file, adapter);
  await saveAdapterState(file, adapter, { tiles: { ...before, ...tiles } });
  return file;
}
