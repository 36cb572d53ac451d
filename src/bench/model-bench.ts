/** @file Seconds of a model's step under budgets, through the engine as its users have it. */
import { BudgetError, SolvayError } from "../errors.ts";
import type { Engine, OpenEngineOptions } from "../job/types.ts";

export type OpenEngine = (options: OpenEngineOptions) => Promise<Engine>;

export interface ModelBenchRequest {
  readonly engine: Pick<OpenEngineOptions, "model" | "backend" | "adapter" | "precision">;
  /** Amounts, or "default": what the engine takes by itself. */
  readonly vram: readonly string[];
  /** At least 2: the first is not counted. */
  readonly steps: number;
  readonly width?: number;
  readonly height?: number;
}

/** Of the fastest step but the first. */
export interface ModelRate {
  readonly vram: string;
  readonly stepSeconds: number;
  /** Of which compute stood still for weights. */
  readonly waitSeconds: number;
  /** Weights read in that step. */
  readonly readBytes: number;
  readonly backend: string;
  readonly precision?: string;
  readonly peakDeviceBytes?: number;
}

/** Why a model can't be had under a budget. */
export interface ModelRefusal {
  readonly vram: string;
  readonly error: string;
}

export type ModelResult = ModelRate | ModelRefusal;

export interface ModelBenchOptions {
  readonly openEngine: OpenEngine;
  readonly signal: AbortSignal;
  readonly onResult?: (result: ModelResult) => void;
}

/** One result for each budget. Rejects as the engine does, but for budgets that can't be kept. */
export async function benchModel(
  request: ModelBenchRequest,
  { openEngine, signal, onResult }: ModelBenchOptions,
): Promise<readonly ModelResult[]> {
  const results: ModelResult[] = [];
  for (const vram of request.vram) {
    const result = await timeSteps(request, vram, openEngine, signal);
    results.push(result);
    onResult?.(result);
  }
  return results;
}

async function timeSteps(
  { engine: asked, steps, width, height }: ModelBenchRequest,
  vram: string,
  openEngine: OpenEngine,
  signal: AbortSignal,
): Promise<ModelResult> {
  let best: ModelRate | undefined;
  try {
    await using engine = await openEngine({ ...asked, budgets: vram === "default" ? {} : { vram }, signal });
    const job = { prompt: "a lake at dawn", seed: 1, steps, width, height };
    for await (const event of engine.generate(job, { signal })) {
      // Begun again, maybe in other arithmetic: what was before is no part of this.
      if (event.type === "plan") best = undefined;
      else if (event.type === "step" && event.step > 1) {
        const stepSeconds = event.stepMs / 1000;
        if (best && stepSeconds >= best.stepSeconds) continue;
        const { waitMs, readBytes } = event;
        best = { vram, stepSeconds, waitSeconds: waitMs / 1000, readBytes, backend: engine.info.backend };
      } else if (event.type === "image" && best) {
        best = { ...best, precision: event.precision, peakDeviceBytes: event.peakDeviceBytes };
      }
    }
  } catch (error) {
    // A budget that this card or model can't keep is a result; anything else ends the bench.
    if (!(error instanceof BudgetError) && !(error instanceof SolvayError && error.code === "E_GPU_LIMIT")) throw error;
    return { vram, error: error.message };
  }
  // Begun again after the last step, the picture had none left to time.
  return best ?? { vram, error: "no step was timed: the picture was begun again after its last" };
}
