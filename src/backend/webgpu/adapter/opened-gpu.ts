/**
 * @file A graphics device as the environment hands it over: made from Dawn in Node, from `navigator.gpu` in a browser. All
 * above it sees WebGPU's own objects and these facts.
 */
import { DeviceError } from "../../../errors.ts";
import { type AdapterFacts, describeAdapter, isSoftware, LIMIT_NAMES, type MatrixFacts } from "./adapter.ts";

export interface OpenedGpu {
  readonly facts: AdapterFacts;
  /** Must stay referenced as long as the device lives (Dawn). */
  readonly gpu: GPU;
  readonly device: GPUDevice;
  /** What the user should know of how it was opened. */
  readonly notes?: readonly string[];
}

/** Optional features that faster paths use. */
const FEATURES = [
  "shader-f16",
  "subgroup-size-control",
  "subgroups",
  "timestamp-query",
  "chromium-experimental-subgroup-matrix",
];

/** A device on the adapter that answers `request`. Rejects with DeviceError `E_NO_ADAPTER` or `E_GPU_OPEN`. */
export async function openFrom(gpu: GPU, backend: string, request: GPURequestAdapterOptions): Promise<OpenedGpu> {
  const adapter = await gpu.requestAdapter(request);
  if (!adapter) {
    throw new DeviceError({
      code: "E_NO_ADAPTER",
      problem: `the ${backend} adapter disappeared while it was opened`,
      next: "try again; if it happens again, update the graphics driver",
    });
  }
  const facts = factsOf(backend, adapter);
  try {
    const device = await adapter.requestDevice({
      label: "solvay",
      requiredLimits: facts.limits,
      requiredFeatures: FEATURES.filter((name) => facts.features.includes(name)) as GPUFeatureName[],
    });
    return { facts, gpu, device };
  } catch (cause) {
    throw new DeviceError({
      code: "E_GPU_OPEN",
      subject: describeAdapter(facts),
      problem: `the driver gives no device on this adapter (${cause instanceof Error ? cause.message.split("\n")[0]! : "unknown reason"})`,
      next: "close other programs that use the graphics card, update its driver, or use --backend cpu",
      cause,
    });
  }
}

/** Ends the device, and waits for its end. */
export async function closeGpu(opened: OpenedGpu): Promise<void> {
  opened.device.destroy();
  await opened.device.lost;
  // Dawn's instance must outlive its device.
  void opened.gpu;
}

/** What an adapter says of itself. `backend`: what it is reached by. */
export function factsOf(backend: string, { info, limits, features }: GPUAdapter): AdapterFacts {
  const { vendor, architecture, device, description, subgroupMinSize, subgroupMaxSize } = info;
  // Dawn puts the adapter's name into `device` or `description`, by backend.
  return {
    backend,
    vendor,
    architecture,
    device: device || description,
    description: device ? description : "",
    software: isSoftware(`${device} ${description} ${architecture}`, info.isFallbackAdapter),
    features: [...features].sort(),
    limits: Object.fromEntries(LIMIT_NAMES.map((name) => [name, limits[name]])) as AdapterFacts["limits"],
    matrices: matrixFacts(info),
    subgroups: features.has("subgroups") ? { min: subgroupMinSize, max: subgroupMaxSize } : undefined,
  };
}

/** `subgroupMatrixConfigs` is Dawn's: it is in no type of WebGPU yet. */
function matrixFacts(info: object): AdapterFacts["matrices"] {
  const { subgroupMatrixConfigs: found } = info as { readonly subgroupMatrixConfigs?: Iterable<MatrixConfig> };
  const matrices = [...(found ?? [])].map(
    ({ componentType: component, resultComponentType: result, M, N, K }): MatrixFacts => {
      return { component, result, m: M, n: N, k: K };
    },
  );
  return matrices.length > 0 ? matrices : undefined;
}

interface MatrixConfig {
  readonly componentType: string;
  readonly resultComponentType: string;
  readonly M: number;
  readonly N: number;
  readonly K: number;
}
