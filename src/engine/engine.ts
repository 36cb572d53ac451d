/** @file The one composition root: compute + model + host -> an Engine. Clocks, memory readings and I/O are handed in. */
import type { Device } from "../backend/device.ts";
import type { OpenPictureWriter } from "../image/picture-writer.ts";
import type { Budgets, CheckedEngine } from "../job/checked.ts";
import type { ComputeName, EngineInfo, LoadEvent } from "../job/types.ts";
import { Ledger } from "../ledger/ledger.ts";
import type { ArtifactEvent, ModelSource } from "../library/open.ts";
import type { JobShape } from "../models/job-shape.ts";
import { PREVIEWER_COMPONENT } from "../models/previewing.ts";
import type { TinyDecoderFile } from "../models/tiny-decoder-file.ts";
import { firstTokens } from "../pipeline/prompt-script.ts";
import { componentReader, componentReaders } from "../pipeline/readers.ts";
import { Runtime } from "../pipeline/runtime.ts";
import type { DeviceSizes } from "../plan/device-sizes.ts";
import type { Machine } from "../plan/machine.ts";
import type { PlanBudgets } from "../plan/plan-input.ts";
import type { MachineRates, RatesTable } from "../plan/rates.ts";
import type { ReadWildcard } from "../prompt/wildcards.ts";
import type { ByteSource } from "../source/source.ts";
import type { ImportBudget } from "../store/import/import-types.ts";
import type { Store } from "../store/store.ts";
import { TableBlocks } from "../stream/blocks.ts";
import { ControlFiles, type OpenControl } from "./control-files.ts";
import type { EmbeddingFiles } from "./embedding-files.ts";
import { HiresUpscalers, type OpenUpscaler } from "./hires-upscalers.ts";
import { generateImages } from "./image-job.ts";
import { ImagePromptFiles, type OpenImagePrompt } from "./image-prompt-files.ts";
import { LoraFiles, type OpenLora } from "./lora-files.ts";
import { fileFactsOf, type HashFiles, type NetworkFile } from "./model-hashes.ts";
import { planJob } from "./plan-job.ts";
import type { ReadFieldPicture } from "./read-job.ts";
import { TurnQueue } from "./turn-queue.ts";
import type { OpenPicture } from "./upscale-job.ts";
import { Upscales } from "./upscales.ts";
import { watchResidency } from "./watching.ts";

/** What computes. */
export interface Compute {
  readonly device: Device;
  readonly backend: ComputeName;
  /** Ends the device, when it is broken, and opens another one. Rejects with DeviceError. */
  readonly reopen?: (() => Promise<Device>) | undefined;
  /** What it computes in, as pictures record it: "fp32", "fp16 (shader-f16)". */
  readonly precision: string;
  /** Something about the device that the user should know. */
  readonly note?: string | undefined;
  /** As plans see it. */
  readonly machine: Machine;
  /** What earlier runs measured of it, and where to keep what this one does. */
  readonly rates?: RatesTable;
  readonly saveRates?: (size: string, rates: MachineRates) => Promise<void>;
}

/** What the engine stands on. */
export interface Host {
  /** Milliseconds of a clock that never goes back. */
  readonly now: () => number;
  /** Resident and peak memory of this process. */
  readonly memory: () => { readonly rssBytes: number; readonly peakRssBytes: number };
  /** Lets waiting messages be handled. */
  readonly pause: () => Promise<void>;
  /** RAM that the process itself takes. */
  readonly processBytes: number;
  /** Amounts for budgets that are not given, or given as "all but". Throws UsageError. */
  readonly resolveBudgets: (budgets: Budgets, machine: Machine) => PlanBudgets;
  readonly readPicture: ReadFieldPicture;
  readonly openPictureWriter: OpenPictureWriter;
  /** Absent: there are no files. */
  readonly openPicture?: OpenPicture | undefined;
  /** sha256 of files, as records have it. Absent: there are no files. */
  readonly fileHashes?: HashFiles | undefined;
  /** Absent: there is no folder of wildcards. */
  readonly readWildcard?: ReadWildcard | undefined;
  /** Absent: there are no files. */
  readonly openUpscaler?: OpenUpscaler | undefined;
  /** Absent: there are no files. */
  readonly openLora?: OpenLora | undefined;
  /** Absent: there are no files. */
  readonly openControl?: OpenControl | undefined;
  /** Absent: there are no files. */
  readonly openImagePrompt?: OpenImagePrompt | undefined;
  /** Absent: there are no files. */
  readonly embeddings?: EmbeddingFiles | undefined;
  /** A machine to plan for by name, and its device's sizes. Throws UsageError for an unknown name. */
  readonly described: (name: string) => { readonly machine: Machine; readonly device: DeviceSizes };
}

/** The decoder of a tiny autoencoder, whose weights are read from `source`. */
export interface PreviewerFile extends TinyDecoderFile {
  readonly name: string;
  readonly source: ByteSource;
}

export interface EngineParts {
  readonly compute: Compute;
  readonly model: ModelSource;
  readonly host: Host;
  /** Makes previews. The engine closes it. */
  readonly previewer?: PreviewerFile | undefined;
  readonly budgets: Budgets;
}

export interface ComposeOptions {
  readonly onEvent?: ((event: LoadEvent) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Opens and checks the model; weights are read when an image needs them. The engine owns the device. */
export async function composeEngine(
  { compute, model, host, previewer: tiny, budgets: asked }: EngineParts,
  { onEvent, signal }: ComposeOptions = {},
): Promise<CheckedEngine> {
  const { machine, backend, precision } = compute;
  const { now, memory, pause } = host;
  await using owned = new AsyncDisposableStack();
  let device = compute.device;
  owned.defer(() => device[Symbol.asyncDispose]());
  if (tiny) owned.use(tiny.source);
  const opened = owned.use(
    await model.open({
      importBudget: (store) => importBudget(store, compute, host, asked),
      onArtifact: tellArtifact(host, onEvent),
      signal,
    }),
  );
  const { checkpoint } = opened;
  const info: EngineInfo = {
    model: checkpoint.name,
    demo: model.demo,
    artifact: opened.artifactName,
    refiner: checkpoint.refiner?.name,
    backend,
    adapter: machine.kind === "card" ? machine.name : undefined,
    precision,
    defaultWidth: checkpoint.defaults.width,
    defaultHeight: checkpoint.defaults.height,
  };
  onEvent?.({ type: "model", path: model.name, demo: model.demo, backend });
  for (const text of [compute.note, ...checkpoint.notes]) if (text !== undefined) onEvent?.({ type: "note", text });

  let budgets = asked;
  const runtime = owned.use(
    new Runtime(checkpoint, device, componentReaders(checkpoint, now), {
      budgets: host.resolveBudgets(budgets, machine),
      machine,
      rates: compute.rates ?? {},
      // Weights that are held as long as the engine are as much its own as its code.
      processBytes: host.processBytes + opened.heldBytes,
      now,
      pause,
    }),
  );
  const changeBudgets = async (changed: Budgets) => {
    const wanted = { ...budgets, ...changed };
    await runtime.setBudgets(host.resolveBudgets(wanted, machine));
    budgets = wanted;
  };
  const { reopen } = compute;
  const recovery = {
    reopen: reopen && (async () => (device = await reopen())),
    hasLessThanFp32: precision !== "fp32",
    shrink: (deviceBytes: number) => changeBudgets({ vram: { bytes: deviceBytes } }),
    pause,
  };
  const onRates = async (size: string, rates: MachineRates) => compute.saveRates?.(size, rates);
  const provide = async (shape: JobShape, wanted?: AbortSignal) => {
    for (const id of runtime.missingComponents(shape)) {
      const component = await opened.onDemand(id, wanted);
      runtime.provide(id, componentReader(checkpoint.family, id, component, now));
    }
  };
  const previewer = tiny && { component: PREVIEWER_COMPONENT, config: tiny.config };
  if (tiny) runtime.provide(PREVIEWER_COMPONENT, new TableBlocks(PREVIEWER_COMPONENT, tiny.table));
  const upscalers = owned.use(new HiresUpscalers(runtime, host.openUpscaler));
  const loraFiles = owned.use(new LoraFiles(runtime, host.openLora));
  const imagePromptFiles = owned.use(new ImagePromptFiles(runtime, host.openImagePrompt));
  const controlFiles = owned.use(new ControlFiles(runtime, host.openControl));
  const { readPicture, readWildcard, openPictureWriter, embeddings } = host;
  const turns = new TurnQueue();
  // One image at a time, or those that are drawn side by side: the next waits for those before, however they ended.
  const takeTurn = () => turns.take();
  const images = {
    ...{
      runtime,
      info,
      recovery,
      onRates,
      now,
      memory,
      upscalers,
      loraFiles,
      controlFiles,
      imagePromptFiles,
      previewer,
      provide,
      takeTurn,
    },
    ...{ readPicture, readWildcard, openPictureWriter, embeddings },
    fileFacts: (networks: readonly NetworkFile[], stop: AbortSignal | undefined) =>
      fileFactsOf(model, networks, host.fileHashes, stop),
  };
  const upscales = new Upscales({
    ...{ runtime, machine, now, pause, takeTurn, openPictureWriter, reopen: recovery.reopen },
    ...{ openPicture: host.openPicture, openUpscaler: host.openUpscaler },
    processBytes: host.processBytes + opened.heldBytes,
  });
  const stack = owned.move();
  return {
    info,
    async *generate(job, options) {
      for await (const told of generateImages(images, [{ ...options, job }])) {
        if ("failure" in told) throw told.failure;
        yield told.event;
      }
    },
    async *generateMany(requests, { signal } = {}) {
      const stopped = requests.map((request) => ({ ...request, signal: eitherSignal(request.signal, signal) }));
      yield* generateImages(images, stopped);
    },
    async plan(job, { as, budgets: other, count } = {}) {
      const described = as === undefined ? undefined : host.described(as);
      const wanted = described ? { ...other } : { ...budgets, ...other };
      const opened = { host, upscalers, loraFiles, controlFiles, imagePromptFiles, previewer, provide };
      return planJob(runtime, job, opened, { machine: described, budgets: wanted, count });
    },
    upscale: (job, options) => upscales.upscale(job, options),
    planUpscale: (job) => upscales.plan(job),
    watch: (options) => watchResidency({ runtime, now, memory }, options),
    async setBudgets(changed) {
      using _ = await turns.take();
      await changeBudgets(changed);
    },
    async tokens(prompt, syntax) {
      return firstTokens(checkpoint, prompt, syntax);
    },
    async cutText(prompt) {
      return checkpoint.cutText({ text: prompt });
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

function eitherSignal(one: AbortSignal | undefined, other: AbortSignal | undefined): AbortSignal | undefined {
  return one && other ? AbortSignal.any([one, other]) : (one ?? other);
}

/** As a job's memory, before there is one: the process in RAM, the rest where it is while nothing computes. */
async function importBudget(
  store: Store,
  { device, machine }: Compute,
  { processBytes, resolveBudgets }: Host,
  budgets: Budgets,
): Promise<ImportBudget> {
  const { deviceBytes, ramBytes } = resolveBudgets(budgets, machine);
  const freeBytes = await store.fs.freeBytes(store.folder);
  const ledger = new Ledger({ device: deviceBytes, ram: ramBytes, disk: Math.min(freeBytes, Number.MAX_SAFE_INTEGER) });
  ledger.reserve("ram", Math.min(processBytes, ramBytes), "process");
  return { ledger, memory: device.sharesHostMemory ? "device" : "ram" };
}

/** An artifact's progress with the times and the memory of this process. */
function tellArtifact({ now, memory }: Host, onEvent: ComposeOptions["onEvent"]): (event: ArtifactEvent) => void {
  const startedMs = now();
  return ({ type, ...event }) => {
    const elapsedMs = now() - startedMs;
    if ("count" in event) onEvent?.({ type: "module", ...event, rssBytes: memory().rssBytes, elapsedMs });
    else onEvent?.({ type: "artifact", ...event, elapsedMs });
  };
}
