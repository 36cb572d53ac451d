/** @file The one composition root: folder + artifact + backend -> an Engine. Clocks, memory readings and I/O are handed in. */
import type { Device } from "./backend/device.ts";
import { overlayLzr2 } from "./checkpoint/lzr2-overlay.ts";
import { openSdxlFolder, type SdxlCheckpoint } from "./checkpoint/sdxl-folder.ts";
import { importSdxl, withStoredWeights } from "./checkpoint/stored-sdxl.ts";
import { generateImage } from "./engine-image.ts";
import { completeJob, requireLatent } from "./engine-job.ts";
import type { BudgetOptions, Engine, EngineInfo, LoadEvent, PlanJob, PlanReport } from "./engine-types.ts";
import { DeviceError } from "./errors.ts";
import { budgetText } from "./ledger/budget.ts";
import { Ledger } from "./ledger/ledger.ts";
import { vaeScaleFactor } from "./model/config.ts";
import { unetSchema } from "./model/unet.ts";
import { SdxlRuntime } from "./pipeline/runtime.ts";
import { jobShape } from "./pipeline/text-to-image.ts";
import type { DeviceSizes } from "./plan/describe.ts";
import type { Machine } from "./plan/machine.ts";
import { makePlan, type PlanBudgets } from "./plan/plan.ts";
import type { MachineRates, RatesTable } from "./plan/rates.ts";
import { reportPlan } from "./plan/report.ts";
import type { Folder } from "./source/folder.ts";
import type { ByteSource } from "./source/source.ts";
import type { ImportBudget } from "./store/import-types.ts";
import type { Store } from "./store/store.ts";
import { openStoredModel } from "./store/stored-model.ts";
import { TableBlocks } from "./stream/blocks.ts";
import { StoredBlocks } from "./stream/stored-blocks.ts";

export interface EngineParts {
  readonly folder: Folder;
  readonly demo: boolean;
  readonly artifact?: ByteSource;
  /** Where artifacts go that are too large to be decoded into memory at each start. */
  readonly store?: Store;
  /** Decoded weights up to so many bytes are not too large. Default 256 MiB. */
  readonly heldArtifactBytes?: number;
  /** Opens the model where it is no folder; `folder` then only names it. */
  readonly open?: (signal?: AbortSignal) => Promise<SdxlCheckpoint>;
  readonly compat: boolean;
  readonly device: Device & { readonly name: EngineInfo["backend"] };
  /** Ends the device, when it is broken, and opens another one. Rejects with DeviceError. */
  readonly reopen?: () => Promise<Device>;
  /** Has it compute in fp32 instead, and back again; absent where it does so anyway. */
  readonly useFp32?: (on: boolean) => Promise<void>;
  /** What it computes in, as pictures record it. Default "fp32". */
  readonly precision?: string;
  /** Something about the device that the user should know. */
  readonly note?: string;
  /** What computes, as plans see it. */
  readonly machine: Machine;
  /** What earlier runs measured of it, and where to keep what this one does. */
  readonly rates?: RatesTable;
  readonly saveRates?: (size: string, rates: MachineRates) => Promise<void>;
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
  let computing: Device = device;
  owned.defer(() => computing[Symbol.asyncDispose]());
  if (parts.artifact) owned.use(parts.artifact);
  const base = owned.use(await (parts.open?.(parts.signal) ?? openSdxlFolder(folder, parts.signal)));
  const { checkpoint, heldBytes } = parts.artifact
    ? await withArtifact(base, parts.artifact, parts, owned)
    : { checkpoint: base, heldBytes: 0 };
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
  const reader = (prefix: string, { table, blocks }: Pick<SdxlCheckpoint["unet"], "table" | "blocks">) =>
    blocks ? new StoredBlocks(prefix, { table, blocks }, parts.now) : new TableBlocks(prefix, table);
  const readers = {
    textEncoder: reader("text_encoder", checkpoint.textEncoder),
    textEncoder2: reader("text_encoder_2", checkpoint.textEncoder2),
    unet: reader("unet", checkpoint.unet),
    vae: reader("vae", checkpoint.vae),
  };
  let budgets = parts.budgets;
  const { now, memory, pause, resolveBudgets } = parts;
  // Weights that are held as long as the engine are as much its own as its code.
  const processBytes = parts.processBytes + heldBytes;
  const settings = {
    budgets: resolveBudgets(budgets, machine),
    machine,
    rates: parts.rates ?? {},
    processBytes,
    now,
    pause,
  };
  const runtime = owned.use(new SdxlRuntime(checkpoint, device, readers, settings));
  const changeBudgets = async (changed: BudgetOptions) => {
    const wanted = { ...budgets, ...changed };
    await runtime.setBudgets(resolveBudgets(wanted, machine));
    budgets = wanted;
  };
  const recovery = {
    ...(parts.reopen ? { reopen: async () => (computing = await parts.reopen!()) } : {}),
    useFp32: parts.useFp32,
    shrink: (deviceBytes: number) => changeBudgets({ vram: budgetText(deviceBytes) }),
    pause,
  };
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
        const onRates = async (size: string, rates: MachineRates) => parts.saveRates?.(size, rates);
        yield* generateImage({ checkpoint, runtime, info, recovery, onRates, now, memory }, job);
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
    setBudgets: (changed) => inTurn(() => changeBudgets(changed)),
    async tokens(prompt) {
      return { tokenizer: base.tokenizer.encode(prompt), tokenizer_2: base.tokenizer2.encode(prompt) };
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** What takes no more is decoded into memory; all else goes into the block store, once. */
const HELD_ARTIFACT_BYTES = 256 * 1024 ** 2;

/** As a job's memory, before there is one: the process in RAM, the rest where it is while nothing computes. */
async function importBudget(parts: EngineParts, store: Store): Promise<ImportBudget> {
  const { device, budgets, machine, processBytes, resolveBudgets } = parts;
  const { deviceBytes, ramBytes } = resolveBudgets(budgets, machine);
  const freeBytes = await store.fs.freeBytes(store.folder);
  const ledger = new Ledger({ device: deviceBytes, ram: ramBytes, disk: Math.min(freeBytes, Number.MAX_SAFE_INTEGER) });
  ledger.reserve("ram", Math.min(processBytes, ramBytes), "process");
  return { ledger, memory: device.sharesHostMemory ? "device" : "ram" };
}

interface WithArtifact {
  readonly checkpoint: SdxlCheckpoint;
  /** Memory that its weights take. */
  readonly heldBytes: number;
}

async function withArtifact(
  base: SdxlCheckpoint,
  artifact: ByteSource,
  parts: EngineParts,
  owned: AsyncDisposableStack,
): Promise<WithArtifact> {
  const { now, memory, onEvent, signal, compat, store, heldArtifactBytes = HELD_ARTIFACT_BYTES } = parts;
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
  // A file is seldom larger than its weights; one that is has much else to be read at each start.
  if (!store || artifact.byteLength < heldArtifactBytes) {
    const overlay = await overlayLzr2(artifact, {
      base: base.unet.table,
      schema: unetSchema(base.unet.config),
      compat,
      ...(store ? { limitBytes: heldArtifactBytes } : {}),
      ...(signal ? { signal } : {}),
      onRecord,
    });
    if (overlay) {
      const { applied, untouched, missing, skippedOverlayRows, heldBytes } = overlay;
      const elapsedMs = now() - startedMs;
      onEvent?.({ type: "artifact", applied, untouched, missing: missing.length, skippedOverlayRows, elapsedMs });
      return { checkpoint: { ...base, unet: { config: base.unet.config, table: overlay.table } }, heldBytes };
    }
  }
  const request = { folder: parts.folder, checkpoint: base, artifact, compat, packed: "auto" as const };
  const result = await importSdxl(store!, request, {
    signal,
    budget: await importBudget(parts, store!),
    onEvent: (event) => event.type === "record" && onRecord(event.count, event.key, event.readBytes),
  });
  const { applied, untouched, missing, skippedOverlayRows } = result.artifact!;
  onEvent?.({ type: "artifact", applied, untouched, missing, skippedOverlayRows, elapsedMs: now() - startedMs });
  return { checkpoint: withStoredWeights(base, owned.use(await openStoredModel(store!, result.id))), heldBytes: 0 };
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
  const described = as === undefined ? undefined : parts.described(as);
  const { input } = runtime.planInput(shape, described?.device);
  const machine = described?.machine ?? input.machine;
  const plan = makePlan({ ...input, machine, budgets: parts.resolveBudgets(budgets, machine) });
  return reportPlan(plan, input.phases);
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
