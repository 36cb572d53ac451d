/** @file What composeEngine needs, from this machine: files, the Hugging Face cache, a backend, clocks. */
import { stat } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import type { Backend } from "./backend/backend.ts";
import { HostDevice } from "./backend/host-device.ts";
import { createOnnxBackend } from "./backend/onnx/backend.ts";
import { createReferenceBackend } from "./backend/reference/backend.ts";
import { describeAdapter, requireAdapterUse } from "./backend/webgpu/adapter.ts";
import { describePrecision } from "./backend/webgpu/paths.ts";
import { PRECISIONS } from "./backend/webgpu/precision.ts";
import { openRecoverable } from "./backend/webgpu/recoverable.ts";
import { WebGpuSizes } from "./backend/webgpu/sizes.ts";
import { openStoredSdxl } from "./checkpoint/stored-sdxl.ts";
import { type EngineParts, unknownBackend } from "./engine.ts";
import type { OpenRequest } from "./engine-messages.ts";
import type { PrecisionName } from "./engine-types.ts";
import { ArtifactError, DeviceError, UsageError } from "./errors.ts";
import { cardMachine, hostMachine, machineNamed, PROCESS_BYTES, resolveBudgets } from "./host-machine.ts";
import { isHubId, resolveHubModel } from "./hub/cache.ts";
import { loadRates, saveRates } from "./machine-rates.ts";
import { openFileSource } from "./source/file.ts";
import { openFileFolder } from "./source/file-folder.ts";
import type { Folder } from "./source/folder.ts";
import { defaultStateFolder } from "./state/folder.ts";
import { defaultStoreFolder, findModelId, nodeStore } from "./store/store.ts";

/** The embedded demo model. */
export const DEMO_MODEL = fileURLToPath(new URL("../models/demo", import.meta.url));

export async function openNodeParts(
  options: OpenRequest,
  toAbsolute: (path: string) => string,
): Promise<Omit<EngineParts, "onEvent" | "signal">> {
  if (!PRECISIONS.includes(options.precision ?? "fp32")) throw unknownPrecision(String(options.precision));
  const demo = options.model === undefined;
  const store = nodeStore(toAbsolute(options.store ?? defaultStoreFolder(process.env)));
  const common = {
    store,
    described: (name: string) => ({ machine: machineNamed(name), device: new WebGpuSizes() }),
    budgets: options.budgets ?? {},
    resolveBudgets,
    processBytes: PROCESS_BYTES,
    compat: options.compat ?? false,
    now: () => performance.now(),
    memory: () => ({
      rssBytes: process.memoryUsage.rss(),
      peakRssBytes: process.resourceUsage().maxRSS * 1024,
    }),
    pause: () => new Promise<void>((resume) => setImmediate(resume)),
  };
  if (options.model?.startsWith(STORED)) {
    if (options.artifact !== undefined) throw artifactOverStored(options.model);
    const id = await findModelId(store, options.model.slice(STORED.length));
    const open = async (signal?: AbortSignal) => (await openStoredSdxl(store, id, signal)).checkpoint;
    const folder: Folder = { name: options.model, readText: async () => undefined, open: async () => undefined };
    return { ...common, ...(await openRatedCompute(options)), folder, open, demo };
  }
  const path = options.model === undefined ? DEMO_MODEL : await locateModel(options.model, toAbsolute);
  const folder = await openFileFolder(path);
  const artifact = options.artifact === undefined ? undefined : await openArtifact(toAbsolute(options.artifact));
  return {
    folder,
    demo,
    ...(artifact ? { artifact } : {}),
    ...common,
    // Last: what is missing is said before a card or a runtime is woken.
    ...(await openRatedCompute(options)),
  };
}

/** Names a model of the block store. */
const STORED = "store:";

function artifactOverStored(model: string): UsageError {
  return new UsageError({
    code: "E_USAGE",
    subject: model,
    problem: "an artifact can't be laid over a model in the store",
    next: "import both together: solvay import MODEL --artifact FILE",
  });
}

function unknownPrecision(name: string): UsageError {
  return new UsageError({
    code: "E_PRECISION",
    subject: name,
    problem: `there is no such precision (allowed ${PRECISIONS.join(", ")})`,
    next: "leave --precision out",
  });
}

/** A folder on disk, or a Hugging Face id that is in the local cache. */
export async function locateModel(model: string, toAbsolute: (path: string) => string): Promise<string> {
  const path = toAbsolute(model);
  if (await stat(path).catch(() => undefined)) return path;
  if (!isHubId(model)) {
    throw new ArtifactError({
      code: "E_MISSING",
      subject: model,
      problem: "there is no such model folder",
      next: "check the path, or name a Hugging Face id such as stabilityai/stable-diffusion-xl-base-1.0",
    });
  }
  const snapshot = await resolveHubModel(model, { env: process.env });
  if (snapshot !== undefined) return snapshot;
  throw new ArtifactError({
    code: "E_NOT_CACHED",
    subject: model,
    problem: "this model is neither a folder here nor in the Hugging Face cache",
    next: `fetch it with: solvay pull ${model}`,
  });
}

async function openArtifact(path: string): ReturnType<typeof openFileSource> {
  if (await stat(path).catch(() => undefined)) return await openFileSource(path);
  throw new ArtifactError({
    code: "E_MISSING",
    subject: path,
    problem: `Missing artifact: ${path}`,
    next: "check the path given to --artifact",
  });
}

type Compute = Pick<EngineParts, "device" | "reopen" | "useFp32" | "machine" | "precision" | "note">;
type ComputeOptions = Pick<OpenRequest, "backend" | "adapter" | "precision">;

/** A device with what earlier runs measured of it. */
async function openRatedCompute(options: ComputeOptions): Promise<Compute & Pick<EngineParts, "rates" | "saveRates">> {
  const compute = await openCompute(options);
  const folder = defaultStateFolder(process.env);
  const { device, machine, precision } = compute;
  const key = `${device.name}: ${machine.name}, ${machine.hardware}, ${precision}`;
  return {
    ...compute,
    rates: await loadRates(folder, key),
    // Remembering is a help, not a need: a folder that can't be written costs no picture.
    saveRates: (size, rates) => saveRates(folder, key, size, rates).catch(() => undefined),
  };
}

/** "auto" takes a real graphics card, or the adapter that is named; else the CPU, and says why. */
async function openCompute({ backend = "auto", adapter, precision }: ComputeOptions): Promise<Compute> {
  requireAdapterUse(backend, adapter);
  const asked = precision === undefined ? {} : { precision };
  const named = adapter === undefined ? {} : { adapter };
  switch (backend) {
    case "reference":
      return hostCompute(createReferenceBackend(), precision);
    case "cpu":
      return hostCompute(await createOnnxBackend(), precision);
    case "webgpu": {
      const stateFolder = defaultStateFolder(process.env);
      const { device, reopen, useFp32 } = await openRecoverable({
        ...named,
        ...asked,
        stateFolder,
        wallClock: () => Date.now(),
      });
      const { paths, notes } = device.chosen;
      const machine = cardMachine(describeAdapter(device.adapter));
      const note = notes.length > 0 ? { note: notes.map((text) => `${text}.`).join(" ") } : {};
      const computed = describePrecision(paths);
      const retry = computed === "fp32" ? {} : { useFp32 };
      return { device, reopen, ...retry, machine, precision: computed, ...note };
    }
    case "auto":
      try {
        return await openCompute({ backend: "webgpu", ...named, ...asked });
      } catch (error) {
        if (adapter !== undefined || !(error instanceof DeviceError)) throw error;
        const { note, ...cpu } = await openCompute({ backend: "cpu", ...asked });
        return { ...cpu, note: [`Computing on the CPU: ${error.problem}.`, note].filter(Boolean).join(" ") };
      }
    default:
      throw unknownBackend(backend satisfies never);
  }
}

function hostCompute(backend: Backend, precision: PrecisionName | undefined): Compute {
  const device = new HostDevice(backend) as EngineParts["device"];
  const note =
    precision === "fp16" ? { note: "The CPU computes in fp32: --precision fp16 is for graphics cards." } : {};
  return { device, machine: hostMachine(), precision: "fp32", ...note };
}
