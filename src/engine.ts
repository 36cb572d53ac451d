/** @file The one composition root: folder + artifact + backend -> an Engine. Clocks, memory readings and I/O are handed in. */
import type { Device } from "./backend/device.ts";
import { overlayLzr2 } from "./checkpoint/lzr2-overlay.ts";
import { openSdxlFolder, type SdxlCheckpoint } from "./checkpoint/sdxl-folder.ts";
import { importSdxl, withStoredWeights } from "./checkpoint/stored-sdxl.ts";
import type {
  BudgetOptions,
  Engine,
  EngineInfo,
  GenerateEvent,
  GenerateJob,
  LoadEvent,
  PlanJob,
  PlanReport,
} from "./engine-types.ts";
import { DeviceError, UsageError } from "./errors.ts";
import { A1111_KEYWORD, a1111Parameters, type ImageRecord, SOLVAY_KEYWORD, solvayJson } from "./image/parameters.ts";
import { encodePng } from "./image/png.ts";
import { vaeScaleFactor } from "./model/config.ts";
import { unetSchema } from "./model/unet.ts";
import { SdxlRuntime } from "./pipeline/runtime.ts";
import { jobShape, type TextToImageJob, textToImage } from "./pipeline/text-to-image.ts";
import type { DeviceSizes } from "./plan/describe.ts";
import type { Machine } from "./plan/machine.ts";
import { makePlan, type PlanBudgets } from "./plan/plan.ts";
import { reportPlan } from "./plan/report.ts";
import { scheduleTypeName } from "./sampler/schedule.ts";
import type { Folder } from "./source/folder.ts";
import type { ByteSource } from "./source/source.ts";
import type { Store } from "./store/store.ts";
import { openStoredModel } from "./store/stored-model.ts";
import { TableBlocks } from "./stream/blocks.ts";
import { SOLVAY_VERSION } from "./version.ts";

/** Sizes and counts one image may ask for; hostile.md H06 has the server's tighter ones. */
export const JOB_LIMITS = {
  minPixels: 16,
  maxPixels: 4096,
  pixelStep: 8,
  maxSteps: 1000,
  maxGuidance: 100,
  maxPromptChars: 65536,
};

export interface EngineParts {
  readonly folder: Folder;
  readonly demo: boolean;
  readonly artifact?: ByteSource;
  /** Where artifacts go that are too large to be decoded into memory at each start. */
  readonly store?: Store;
  /** Opens the model where it is no folder; `folder` then only names it. */
  readonly open?: (signal?: AbortSignal) => Promise<SdxlCheckpoint>;
  readonly compat: boolean;
  readonly device: Device & { readonly name: EngineInfo["backend"] };
  /** What it computes in, as pictures record it. Default "fp32". */
  readonly precision?: string;
  /** Something about the device that the user should know. */
  readonly note?: string;
  /** What computes, as plans see it. */
  readonly machine: Machine;
  /** A machine to plan for by name, and its device's sizes. Throws UsageError for an unknown name. */
  readonly described: (name: string) => { readonly machine: Machine; readonly device: DeviceSizes };
  readonly budgets: BudgetOptions;
  /** Amounts for budgets that are not given, or given as "all but". Throws UsageError. */
  readonly resolveBudgets: (budgets: BudgetOptions, machine: Machine) => PlanBudgets;
  /** RAM that the process itself takes. */
  readonly processBytes: number;
  /** Milliseconds of a clock that never goes back. */
  readonly now: () => number;
  /** Resident and peak memory of this process. */
  readonly memory: () => { readonly rssBytes: number; readonly peakRssBytes: number };
  /** Lets waiting messages be handled. */
  readonly pause: () => Promise<void>;
  readonly onEvent?: (event: LoadEvent) => void;
  readonly signal?: AbortSignal;
}

/** Opens and checks the model; weights are read when an image needs them. The engine owns `device` and `artifact`. */
export async function composeEngine(parts: EngineParts): Promise<Engine> {
  const { folder, demo, device, machine, onEvent } = parts;
  await using owned = new AsyncDisposableStack();
  owned.use(device);
  if (parts.artifact) owned.use(parts.artifact);
  const base = owned.use(await (parts.open?.(parts.signal) ?? openSdxlFolder(folder, parts.signal)));
  const checkpoint = parts.artifact ? await withArtifact(base, parts.artifact, parts, owned) : base;
  const side = base.unet.config.sampleSize * vaeScaleFactor(base.vae.config);
  const artifactName = parts.artifact?.name ?? base.artifactName;
  const info: EngineInfo = {
    model: base.name,
    demo,
    ...(artifactName === undefined ? {} : { artifact: artifactName }),
    backend: device.name,
    precision: parts.precision ?? "fp32",
    defaultWidth: side,
    defaultHeight: side,
  };
  onEvent?.({ type: "model", path: folder.name, demo, backend: device.name });
  if (parts.note !== undefined) onEvent?.({ type: "note", text: parts.note });
  if (base.schedulerNote !== undefined) onEvent?.({ type: "note", text: base.schedulerNote });
  const readers = {
    textEncoder: new TableBlocks("text_encoder", checkpoint.textEncoder.table),
    textEncoder2: new TableBlocks("text_encoder_2", checkpoint.textEncoder2.table),
    unet: new TableBlocks("unet", checkpoint.unet.table),
    vae: new TableBlocks("vae", checkpoint.vae.table),
  };
  let budgets = parts.budgets;
  const { now, pause, processBytes, resolveBudgets } = parts;
  const settings = { budgets: resolveBudgets(budgets, machine), machine, processBytes, now, pause };
  const runtime = owned.use(new SdxlRuntime(checkpoint, device, readers, settings));
  let previous: Promise<void> = Promise.resolve();
  const stack = owned.move();
  /** Runs `work` when all before it has ended, however it ended. */
  const inTurn = async <Result>(work: () => Promise<Result>): Promise<Result> => {
    const before = previous;
    const result = before.then(work);
    previous = result.then(
      () => undefined,
      () => undefined,
    );
    return await result;
  };
  return {
    info,
    async *generate(job) {
      // One image at a time: the next waits for the one before, however that ended.
      const turn = Promise.withResolvers<void>();
      const before = previous;
      previous = turn.promise;
      try {
        await before;
        yield* generateImage(checkpoint, runtime, info, parts, job);
      } finally {
        turn.resolve();
      }
    },
    async plan(job, { as, budgets: other } = {}) {
      return planJob(
        checkpoint,
        runtime,
        info,
        parts,
        as === undefined ? { ...budgets, ...other } : { ...other },
        job,
        as,
      );
    },
    setBudgets: (changed) =>
      inTurn(async () => {
        const wanted = { ...budgets, ...changed };
        await runtime.setBudgets(resolveBudgets(wanted, machine));
        budgets = wanted;
      }),
    async tokens(prompt) {
      return { tokenizer: base.tokenizer.encode(prompt), tokenizer_2: base.tokenizer2.encode(prompt) };
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** Smaller artifacts are decoded into memory; larger ones go into the block store, once. */
const IMPORT_FROM_BYTES = 256 * 1024 ** 2;

async function withArtifact(
  base: SdxlCheckpoint,
  artifact: ByteSource,
  parts: EngineParts,
  owned: AsyncDisposableStack,
): Promise<SdxlCheckpoint> {
  const { now, memory, onEvent, signal, compat, store } = parts;
  const startedMs = now();
  const onRecord = (count: number, key: string, readBytes: number) =>
    onEvent?.({
      type: "module",
      count,
      key,
      rssBytes: memory().rssBytes,
      readBytes,
      totalBytes: artifact.byteLength,
      elapsedMs: now() - startedMs,
    });
  if (store && artifact.byteLength >= IMPORT_FROM_BYTES) {
    const request = { folder: parts.folder, checkpoint: base, artifact, compat, packed: "auto" as const };
    const result = await importSdxl(store, request, {
      signal,
      onEvent: (event) => event.type === "record" && onRecord(event.count, event.key, event.readBytes),
    });
    const { applied, untouched, missing, skippedOverlayRows } = result.artifact!;
    onEvent?.({ type: "artifact", applied, untouched, missing, skippedOverlayRows, elapsedMs: now() - startedMs });
    return withStoredWeights(base, owned.use(await openStoredModel(store, result.id)));
  }
  const overlay = await overlayLzr2(artifact, {
    base: base.unet.table,
    schema: unetSchema(base.unet.config),
    compat,
    ...(signal ? { signal } : {}),
    onRecord,
  });
  const { applied, untouched, missing, skippedOverlayRows } = overlay;
  const elapsedMs = now() - startedMs;
  onEvent?.({ type: "artifact", applied, untouched, missing: missing.length, skippedOverlayRows, elapsedMs });
  return { ...base, unet: { config: base.unet.config, table: overlay.table } };
}

async function* generateImage(
  checkpoint: SdxlCheckpoint,
  runtime: SdxlRuntime,
  info: EngineInfo,
  parts: EngineParts,
  job: GenerateJob,
): AsyncGenerator<GenerateEvent, void, undefined> {
  const { now, memory } = parts;
  const full = completeJob(job, info);
  requireLatent(full, vaeScaleFactor(checkpoint.vae.config));
  const startedMs = now();
  let stepStartedMs = startedMs;
  let denoiseStartedMs = startedMs;
  let stepStartBytes = 0;
  runtime.telemetry.clear();
  yield { type: "start", ...full, negativePrompt: full.negativePrompt ?? "", backend: info.backend };
  const planned = runtime.plan(jobShape(checkpoint, full));
  yield { type: "plan", plan: reportPlan(planned.plan, planned.description.phases) };
  let waitedMs = 0;
  for await (const event of textToImage(checkpoint, runtime, planned, full, job.signal)) {
    if (event.type === "phase") {
      stepStartedMs = denoiseStartedMs = now();
      stepStartBytes = runtime.readBytes;
      waitedMs = runtime.telemetry.waitMs;
      yield event;
    } else if (event.type === "step") {
      const stepMs = now() - stepStartedMs;
      const stepBytes = runtime.readBytes - stepStartBytes;
      const waitMs = runtime.telemetry.waitMs - waitedMs;
      const meanMs = (now() - denoiseStartedMs) / event.step;
      yield {
        ...event,
        elapsedMs: now() - startedMs,
        stepMs,
        etaMs: meanMs * (event.steps - event.step),
        readBytes: stepBytes,
        bytesPerSecond: stepMs > 0 ? (stepBytes / stepMs) * 1000 : 0,
        waitMs,
      };
      waitedMs += waitMs;
      stepStartedMs = now();
      stepStartBytes = runtime.readBytes;
    } else {
      const scale = vaeScaleFactor(checkpoint.vae.config);
      const [width, height] = [full.width, full.height].map((side) => Math.floor(side / scale) * scale);
      const record: ImageRecord = {
        ...full,
        negativePrompt: full.negativePrompt ?? "",
        width: width!,
        height: height!,
        scheduleType: scheduleTypeName(checkpoint.scheduler),
        model: modelLabel(info.model),
        ...(info.artifact ? { artifact: info.artifact } : {}),
        backend: info.backend,
        precision: info.precision,
        version: SOLVAY_VERSION,
      };
      const text = [
        { keyword: A1111_KEYWORD, text: a1111Parameters(record) },
        { keyword: SOLVAY_KEYWORD, text: solvayJson(record) },
      ];
      const png = await encodePng({ width: width!, height: height!, rgb: event.rgb, text });
      const elapsedMs = now() - startedMs;
      const { peakRssBytes } = memory();
      yield {
        type: "image",
        png,
        width: width!,
        height: height!,
        seed: full.seed,
        elapsedMs,
        peakRssBytes,
        peakDeviceBytes: runtime.ledger.state("device").peakBytes,
        peakRamBytes: runtime.ledger.state("ram").peakBytes,
        passes: runtime.telemetry.totals(),
      };
    }
  }
}

function planJob(
  checkpoint: SdxlCheckpoint,
  runtime: SdxlRuntime,
  info: EngineInfo,
  parts: EngineParts,
  budgets: BudgetOptions,
  job: PlanJob,
  as: string | undefined,
): PlanReport {
  const full = completeJob({ prompt: "", ...job }, info);
  requireLatent(full, vaeScaleFactor(checkpoint.vae.config));
  const shape = jobShape(checkpoint, full);
  const { machine, device } = as === undefined ? parts : parts.described(as);
  const { input } = runtime.planInput(shape, device);
  const plan = makePlan({ ...input, machine, budgets: parts.resolveBudgets(budgets, machine) });
  return reportPlan(plan, input.phases);
}

function modelLabel(model: string): string {
  return model.split(/[\\/]/).filter(Boolean).at(-1) ?? model;
}

/** Fills in defaults and checks ranges. Throws UsageError naming the field. */
export function completeJob(job: GenerateJob, info: EngineInfo): TextToImageJob {
  const seed = job.seed ?? crypto.getRandomValues(new Uint32Array(1))[0]!;
  const full = {
    prompt: job.prompt,
    ...(job.negativePrompt === undefined ? {} : { negativePrompt: job.negativePrompt }),
    seed,
    steps: job.steps ?? 30,
    guidance: job.guidance ?? 5,
    width: job.width ?? info.defaultWidth,
    height: job.height ?? info.defaultHeight,
  };
  for (const [field, text] of Object.entries({ prompt: job.prompt, negativePrompt: job.negativePrompt ?? "" })) {
    check(field, typeof text, typeof text === "string", "a string");
  }
  const { minPixels, maxPixels, pixelStep, maxSteps, maxGuidance, maxPromptChars } = JOB_LIMITS;
  check("seed", seed, Number.isSafeInteger(seed) && seed >= 0, "an integer from 0 to 9007199254740991");
  check("steps", full.steps, isInt(full.steps, 1, maxSteps), `an integer from 1 to ${maxSteps}`);
  const guidanceFits = Number.isFinite(full.guidance) && full.guidance >= 0 && full.guidance <= maxGuidance;
  check("guidance", full.guidance, guidanceFits, `0 to ${maxGuidance}`);
  for (const side of ["width", "height"] as const) {
    const fits = isInt(full[side], minPixels, maxPixels) && full[side] % pixelStep === 0;
    check(side, full[side], fits, `${minPixels} to ${maxPixels} pixels in steps of ${pixelStep}`);
  }
  for (const text of [full.prompt, full.negativePrompt ?? ""]) {
    check("prompt", `${text.length} characters`, text.length <= maxPromptChars, `${maxPromptChars} characters`);
  }
  return full;
}

/** The VAE makes `scale` pixels of one latent cell, and one there must be. */
function requireLatent({ width, height }: TextToImageJob, scale: number): void {
  for (const [field, pixels] of Object.entries({ width, height })) {
    check(field, pixels, pixels >= scale, `at least ${scale} pixels with this model`);
  }
}

function isInt(value: number, min: number, max: number): boolean {
  return Number.isInteger(value) && value >= min && value <= max;
}

function check(field: string, found: string | number, fits: boolean, allowed: string): void {
  if (fits) return;
  throw new UsageError({
    code: "E_JOB",
    subject: field,
    problem: `out of range (found ${found}, allowed ${allowed})`,
    next: `give ${field} a value in that range`,
  });
}

/** The reaction to work that was stopped on purpose. */
export function isAbort(error: unknown): boolean {
  return error instanceof Error && error.name === "AbortError";
}

/** For backends that are named but can't be had. */
export function unknownBackend(name: string): DeviceError {
  return new DeviceError({
    code: "E_BACKEND",
    subject: name,
    problem: "there is no such backend (allowed auto, webgpu, cpu, reference)",
    next: "leave --backend out",
  });
}
