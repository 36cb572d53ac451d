/**
 * @file The ways to a graphics card that a platform has, which are tried in what order, and what is told where one of them fails.
 * Dawn itself is handed in. Windows has two ways: Vulkan first, because the kernels are tuned on it and matrices for subgroups exist
 * in it alone; D3D12 where Vulkan shows no card or gives no device on it.
 */
import { type AdapterFacts, adaptersToTry, describeAdapter } from "../../backend/webgpu/adapter/adapter.ts";
import { factsOf, type OpenedGpu, openFrom } from "../../backend/webgpu/adapter/opened-gpu.ts";
import { DeviceError } from "../../errors.ts";

/** Dawn's names of its backends; all other platforms have Vulkan. */
const BACKENDS: Readonly<Partial<Record<NodeJS.Platform, readonly string[]>>> = {
  win32: ["vulkan", "d3d12"],
  darwin: ["metal"],
};

/** What to ask Dawn for, best first. */
export function backendsOf(platform: NodeJS.Platform): readonly string[] {
  return BACKENDS[platform] ?? ["vulkan"];
}

const REQUESTS: readonly GPURequestAdapterOptions[] = [
  { powerPreference: "high-performance" },
  { powerPreference: "low-power" },
  { forceFallbackAdapter: true },
];

/** An adapter, and how it is asked for: adapters are consumed by requestDevice, so a chosen one is asked for anew. */
export interface FoundAdapter {
  readonly facts: AdapterFacts;
  readonly request: GPURequestAdapterOptions;
}

/** What one backend shows. */
export interface BackendListing {
  readonly backend: string;
  readonly adapters: readonly FoundAdapter[];
  /** Why it can't be asked. */
  readonly problem: string | undefined;
}

/** Makes Dawn's instance for a backend, and throws where it can't. */
export type CreateGpu = (backend: string) => GPU;

/** `problemOf`: why a backend isn't worth being asked. */
export async function listBackends(
  backends: readonly string[],
  create: CreateGpu,
  problemOf: (backend: string) => string | undefined,
): Promise<readonly BackendListing[]> {
  const listings: BackendListing[] = [];
  for (const backend of backends) {
    const problem = problemOf(backend);
    listings.push(problem === undefined ? await listBackend(backend, create) : { backend, adapters: [], problem });
  }
  return listings;
}

/** A driver that can't even be asked is an adapter less, not an end: what is left is shown. */
async function listBackend(backend: string, create: CreateGpu): Promise<BackendListing> {
  const found = new Map<string, FoundAdapter>();
  let problem: string | undefined;
  try {
    // One for all questions: each tells stderr what its drivers lack.
    const gpu = create(backend);
    for (const request of REQUESTS) {
      const adapter = await gpu.requestAdapter(request).catch((error: unknown) => {
        problem ??= firstLine(error);
        return null;
      });
      if (!adapter) continue;
      const facts = factsOf(backend, adapter);
      const key = describeAdapter(facts);
      if (!found.has(key)) found.set(key, { facts, request });
    }
  } catch (error) {
    problem = firstLine(error);
  }
  return { backend, adapters: [...found.values()], problem: found.size > 0 ? undefined : problem };
}

/** Why there is no adapter at all, in words; undefined where nothing is known of it. */
export function noneBecause(listings: readonly BackendListing[]): string | undefined {
  const [only, ...more] = listings;
  if (more.length === 0) return only?.problem;
  return listings.map(reasonOf).join("; ");
}

function reasonOf({ backend, problem }: BackendListing): string {
  return `${backend}: ${problem ?? "no adapter"}`;
}

/**
 * A device on the adapter that `asked` names, or the best one; where its backend gives none, on the same card through another.
 * What wasn't the first choice is told in `notes`. Rejects with DeviceError, which names each way that failed.
 */
export async function openBest(
  listings: readonly BackendListing[],
  create: CreateGpu,
  asked?: string,
): Promise<OpenedGpu> {
  const found = listings.flatMap(({ adapters }) => adapters);
  const order = adaptersToTry(
    found.map(({ facts }) => facts),
    asked,
    noneBecause(listings),
  );
  const failures: { readonly backend: string; readonly error: DeviceError }[] = [];
  for (const index of order) {
    const { facts, request } = found[index]!;
    const { backend } = facts;
    try {
      const opened = await openFrom(create(backend), backend, request);
      const notes = failures.map(
        ({ backend: other, error }) => `${other} failed (${error.problem}): computing through ${backend}`,
      );
      return { ...opened, notes: [...absent(listings, facts, asked), ...notes] };
    } catch (error) {
      if (!(error instanceof DeviceError)) throw error;
      failures.push({ backend, error });
    }
  }
  const [first, ...more] = failures;
  if (more.length === 0) throw first!.error;
  const { code, subject, next } = first!.error;
  const problem = failures.map(({ backend, error }) => `${backend}: ${error.problem}`).join("; ");
  throw new DeviceError({ code, subject, problem, next, cause: first!.error });
}

/** Notes on backends that come before an adapter's own and show no card. */
function absent(listings: readonly BackendListing[], { backend, software }: AdapterFacts, asked?: string): string[] {
  if (software || asked !== undefined) return [];
  const before = listings.slice(
    0,
    listings.findIndex((listing) => listing.backend === backend),
  );
  return before
    .filter(({ adapters }) => adapters.every(({ facts }) => facts.software))
    .map((listing) => `${reasonOf(listing)}: computing through ${backend}`);
}

/** What is told of an error of Node or Dawn. */
export function firstLine(error: unknown): string {
  return error instanceof Error ? error.message.split("\n")[0]! : "unknown reason";
}
