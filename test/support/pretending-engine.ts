/** @file An engine that only pretends: grey pictures, step by step, and whatever their prompts say. */
import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { DeviceError, UsageError } from "../../src/errors.ts";
import { encodePng } from "../../src/image/png.ts";
import type {
  Engine,
  GenerateEvent,
  GenerateJob,
  GenerateOptions,
  GenerateRequest,
  PlanReport,
  ResidencyEvent,
  SeriesEvent,
} from "../../src/job/types.ts";

export interface PretendedEngine {
  readonly asked?: ((job: GenerateJob, options: GenerateOptions) => void) | undefined;
  /** How many pictures its plans draw side by side. Default 1. */
  readonly lanes?: number | undefined;
  /** Prompts of what is drawn at once. */
  readonly onSeries?: ((prompts: readonly string[]) => void) | undefined;
  /** What its weights do, told to who watches. Default: nothing. */
  readonly moments?: readonly ResidencyEvent[] | undefined;
  /** Its plans. Default: one lane. */
  readonly plan?: Engine["plan"] | undefined;
}

/** What the files of models hold that nobody has. */
export const SAME_CONTENT = "the same";

/** Of an engine that needs nothing. */
const PRETENDED_PLAN: PlanReport = {
  ...{ machine: "pretended", basis: "made up", predictedMs: 60_000, loadedBytes: 0, weightBytes: 0 },
  ...{ budgets: { deviceBytes: 0, ramBytes: 0 }, peak: { deviceBytes: 0, ramBytes: 0 } },
  ...{ overheadBytes: 0, processBytes: 0, keepsAll: true, phases: [], lanes: 1 },
};

/**
 * Draws one grey picture in as many steps as are asked for, 5 ms each, and does what the prompt says: "wait" stays at step 2 until it is stopped,
 * "refuse", "break" and "crash" throw a UsageError, a DeviceError and an Error there.
 */
export function pretendingEngine({ asked, lanes = 1, onSeries, moments = [], plan }: PretendedEngine = {}): Engine {
  const nothing = () => Promise.reject(new Error("not asked for in tests"));
  return {
    info: {
      model: "/models/pretence",
      demo: false,
      backend: "cpu",
      precision: "fp32",
      defaultWidth: 64,
      defaultHeight: 64,
    },
    generate: () => assert.fail("a server asks for many"),
    generateMany: (requests) => {
      for (const { job, ...options } of requests) asked?.(job, options);
      onSeries?.(requests.map(({ job }) => job.prompt));
      return pretendMany(requests, plan);
    },
    plan: plan ?? (async () => ({ ...PRETENDED_PLAN, lanes })),
    async *watch({ signal } = {}) {
      yield* moments;
      await new Promise((resolve) => signal?.addEventListener("abort", resolve));
    },
    setBudgets: async () => {},
    ...{ upscale: nothing, planUpscale: nothing },
    ...{ tokens: nothing, cutText: nothing },
    async [Symbol.asyncDispose]() {},
  };
}

/** Step by step of each in turn. "collapse" ends all at once after step 2. */
async function* pretendMany(
  requests: readonly GenerateRequest[],
  planOf: Engine["plan"] | undefined,
): AsyncGenerator<SeriesEvent, void, undefined> {
  const open = new Map(requests.map(({ job, ...options }, index) => [index, pretend(job, options)]));
  while (open.size > 0) {
    for (const [index, events] of open) {
      try {
        const { done, value } = await events.next();
        if (done) open.delete(index);
        else {
          const plan = { ...(await planOf?.(requests[index]!.job)), lanes: requests.length } as PlanReport;
          if (value.type === "step" && value.step === 1) yield { index, event: { type: "plan", plan } };
          yield { index, event: value };
        }
      } catch (failure) {
        if (requests[index]!.job.prompt.includes("collapse")) throw failure;
        open.delete(index);
        yield { index, failure };
      }
    }
  }
}

async function* pretend(
  job: GenerateJob,
  { signal, from }: GenerateOptions,
): AsyncGenerator<GenerateEvent, void, undefined> {
  const { prompt, steps = 30, width = 64, height = 64, seed = 0 } = job;
  const fields = { code: "E_PRETENDED", problem: "the prompt says so", next: "ask for something else" };
  if (from && prompt.includes("break")) throw new DeviceError(fields);
  for (let step = (from?.step ?? 0) + 1; step <= steps; step++) {
    await delay(5, undefined, { signal });
    const times = { elapsedMs: 5, stepMs: 5, etaMs: 5, readBytes: 0, bytesPerSecond: 0, waitMs: 0 };
    yield { type: "step", step, steps, ...times, state: { step, x: new Float32Array(4).fill(step), history: [] } };
    yield { type: "preview", step, steps, width: 8, height: 8, rgb: new Uint8Array(192).fill(step) };
    if (step !== 2) continue;
    signal?.throwIfAborted();
    if (prompt.includes("wait"))
      await new Promise((_, reject) => signal?.addEventListener("abort", () => reject(signal.reason)));
    if (prompt.includes("refuse")) throw new UsageError(fields);
    if (prompt.includes("break")) throw new DeviceError(fields);
    if (prompt.includes("crash") || prompt.includes("collapse")) throw new Error("secret words");
  }
  const png = await encodePng({ width, height, rgb: new Uint8Array(3 * width * height).fill(Number(seed) % 256) });
  const peaks = { elapsedMs: 1, peakRssBytes: 0, peakDeviceBytes: 0, peakRamBytes: 0, passes: [] };
  yield { type: "image", bytes: png, format: "png", width, height, seed, precision: "fp32", ...peaks };
}
