/** @file Which graphics adapter computes: facts about adapters, the choice among them (pure), and what a device must offer. */
import { DeviceError, UsageError } from "../../../errors.ts";

export interface AdapterFacts {
  /** Dawn's backend: "vulkan", "d3d12", "metal". */
  readonly backend: string;
  readonly vendor: string;
  readonly architecture: string;
  /** Name of the adapter; Dawn writes "NVIDIA GeForce GTX 1060 6GB" as "nvidia-geforce-gtx-1060-6gb". */
  readonly device: string;
  /** Driver and version. */
  readonly description: string;
  /** A program on the CPU that stands in for a GPU. */
  readonly software: boolean;
  readonly features: readonly string[];
  readonly limits: Readonly<Record<LimitName, number>>;
  /** Lanes of a subgroup, where there are subgroups. */
  readonly subgroups?: { readonly min: number; readonly max: number };
  /** Products of matrices that a subgroup does at once, where there is the feature. */
  readonly matrices?: readonly MatrixFacts[];
}

/** [m, k] x [k, n] of one type, sums in another: WebGPU's names of types. */
export interface MatrixFacts {
  readonly component: string;
  readonly result: string;
  readonly m: number;
  readonly n: number;
  readonly k: number;
}

/** Limits that decide what fits; all are requested at the adapter's own height. */
export const LIMIT_NAMES = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
  "maxStorageBuffersPerShaderStage",
] as const;

export type LimitName = (typeof LIMIT_NAMES)[number];

/** The least that the kernels work with: WebGPU's defaults. */
export const NEEDED_LIMITS: Readonly<Record<LimitName, number>> = {
  maxBufferSize: 256 * 1024 ** 2,
  maxStorageBufferBindingSize: 128 * 1024 ** 2,
  maxComputeWorkgroupStorageSize: 16384,
  maxComputeInvocationsPerWorkgroup: 256,
  maxComputeWorkgroupSizeX: 256,
  maxStorageBuffersPerShaderStage: 8,
};

/** Throws UsageError where an adapter is named for a backend that uses none. */
export function requireAdapterUse(backend: string, adapter: string | undefined): void {
  if (adapter === undefined || backend === "auto" || backend === "webgpu") return;
  throw new UsageError({
    code: "E_USAGE",
    subject: adapter,
    problem: `a graphics adapter is named, but --backend ${backend} computes without one`,
    next: "leave out --adapter or --backend",
  });
}

const SOFTWARE_NAMES = /llvmpipe|lavapipe|swiftshader|basic[ -]render|\bwarp\b/i;

export function isSoftware(names: string, isFallbackAdapter: boolean): boolean {
  return isFallbackAdapter || SOFTWARE_NAMES.test(names);
}

/** One line for messages and `solvay doctor`. */
export function describeAdapter({ device, description, backend, software }: AdapterFacts): string {
  const driver = description ? `, ${description}` : "";
  return `${device || "unnamed adapter"} (${backend}${driver}${software ? ", software" : ""})`;
}

/** What of the needed limits an adapter lacks, as "name (found X, needed Y)". */
export function missingLimits({ limits }: AdapterFacts): string[] {
  return LIMIT_NAMES.filter((name) => limits[name] < NEEDED_LIMITS[name]).map(
    (name) => `${name} (found ${limits[name]}, needed ${NEEDED_LIMITS[name]})`,
  );
}

const NEXT_WITHOUT = "install the graphics driver (on Linux: its Vulkan part), or use --backend cpu";

/** A name without what differs between ways to write it: case, and what stands between words. */
function plainWords(text: string): string {
  return text
    .toLowerCase()
    .split(/[^a-z0-9]+/)
    .filter((word) => word !== "")
    .join(" ");
}

/** The first of adaptersToTry. */
export function chooseAdapter(adapters: readonly AdapterFacts[], asked?: string, noneBecause?: string): number {
  return adaptersToTry(adapters, asked, noneBecause)[0]!;
}

/**
 * Indices of the adapter to use and, should it give no device, of the same card through other backends. Without `asked`, the first
 * real one that suffices: software adapters are never chosen by themselves. `asked` is part of a name, in any case, with spaces or
 * hyphens. `noneBecause`: why there may be none. Throws DeviceError `E_NO_ADAPTER` or `E_GPU_LIMIT`.
 */
export function adaptersToTry(
  adapters: readonly AdapterFacts[],
  asked?: string,
  noneBecause?: string,
): readonly number[] {
  const none = noneBecause === undefined ? "none" : `none; ${noneBecause}`;
  const names = adapters.map(describeAdapter).join("; ") || none;
  const named = plainWords(asked ?? "");
  const matching = adapters.flatMap((adapter, index) => {
    const all = plainWords([describeAdapter(adapter), adapter.vendor, adapter.architecture].join(" "));
    const wanted = asked === undefined ? !adapter.software : named !== "" && all.includes(named);
    return wanted ? [index] : [];
  });
  const fitting = matching.filter((index) => missingLimits(adapters[index]!).length === 0);
  // A word that fits both ("vulkan") doesn't ask for the software.
  const best = fitting.find((index) => !adapters[index]!.software) ?? fitting[0];
  if (best !== undefined) {
    return [best, ...fitting.filter((index) => isSameCard(adapters[index]!, adapters[best]!))];
  }
  const small = matching[0];
  if (small !== undefined) {
    throw new DeviceError({
      code: "E_GPU_LIMIT",
      subject: describeAdapter(adapters[small]!),
      problem: `this adapter is too small: ${missingLimits(adapters[small]!).join(", ")}`,
      next: "update the graphics driver, or use --backend cpu",
    });
  }
  if (asked !== undefined) {
    throw new DeviceError({
      code: "E_NO_ADAPTER",
      subject: asked,
      problem: `no graphics adapter has this in its name (found: ${names})`,
      next: adapters.length > 0 ? "name one of those found with --adapter, or use --backend cpu" : NEXT_WITHOUT,
    });
  }
  const software = adapters.find((adapter) => adapter.software);
  throw new DeviceError({
    code: "E_NO_ADAPTER",
    problem: `no graphics card was found (found: ${names})`,
    next: software
      ? `install the graphics driver, use --backend cpu, or ask for the software adapter with --adapter ${plainWords(software.device).split(" ")[0]}`
      : NEXT_WITHOUT,
  });
}

/** Two ways to one card. */
export function isSameCard(a: AdapterFacts, b: AdapterFacts): boolean {
  const named = ({ vendor, device }: AdapterFacts) => plainWords(`${vendor} ${device}`);
  return a.backend !== b.backend && named(a) === named(b);
}
