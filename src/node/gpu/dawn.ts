/**
 * @file The `webgpu` package (Dawn for Node): which adapters there are, and a device on one of them. Adapters are consumed
 * by requestDevice, so a chosen one is asked for anew.
 */

import { type AdapterFacts, chooseAdapter, describeAdapter } from "../../backend/webgpu/adapter/adapter.ts";
import { factsOf, type OpenedGpu, openFrom } from "../../backend/webgpu/adapter/opened-gpu.ts";
import { DeviceError } from "../../errors.ts";
import { installAdvice } from "../installation.ts";
import { vulkanLoaderProblem } from "./vulkan-loader.ts";

/** What of the package is used. */
interface DawnModule {
  create(flags: string[]): GPU;
}

/**
 * Dawn's switches. Kernels check bounds themselves where shapes need it and write workgroup memory before they read it, so
 * robustness and zeroing are off. Validation stays on: it costs microseconds a dispatch, and its errors name the kernel.
 */
const SWITCHES_ON = [
  "allow_unsafe_apis",
  "vulkan_enable_f16_on_nvidia",
  "disable_robustness",
  "disable_workgroup_init",
  "disable_polyfills_on_integer_div_and_mod",
];
const SWITCHES_OFF = ["timestamp_quantization"];

/** In order of preference: subgroup matrices exist in Vulkan alone. */
const BACKENDS: Readonly<Partial<Record<NodeJS.Platform, readonly string[]>>> = {
  win32: ["vulkan", "d3d12"],
  darwin: ["metal"],
};

function backends(): readonly string[] {
  const all = BACKENDS[process.platform] ?? ["vulkan"];
  return vulkanLoaderProblem() === undefined ? all : all.filter((backend) => backend !== "vulkan");
}

const REQUESTS: readonly GPURequestAdapterOptions[] = [
  { powerPreference: "high-performance" },
  { powerPreference: "low-power" },
  { forceFallbackAdapter: true },
];

/** A way to ask for an adapter, and what comes of it. */
interface Candidate {
  readonly facts: AdapterFacts;
  readonly flags: readonly string[];
  readonly request: GPURequestAdapterOptions;
}

/** Rejects with DeviceError `E_NO_WEBGPU` where the package can't be loaded. */
async function loadDawn(): Promise<DawnModule> {
  try {
    return (await import("webgpu")) as DawnModule;
  } catch (cause) {
    throw new DeviceError({
      code: "E_NO_WEBGPU",
      problem: `the package webgpu can't be loaded (${firstLine(cause)})`,
      next: `${installAdvice("webgpu --ignore-scripts")}, or use --backend cpu`,
      cause,
    });
  }
}

function firstLine(cause: unknown): string {
  return cause instanceof Error ? cause.message.split("\n")[0]! : "unknown reason";
}

function flagsFor(backend: string): string[] {
  return [
    `backend=${backend}`,
    `enable-dawn-features=${SWITCHES_ON.join(",")}`,
    `disable-dawn-features=${SWITCHES_OFF.join(",")}`,
  ];
}

async function candidates(dawn: DawnModule): Promise<readonly Candidate[]> {
  const found = new Map<string, Candidate>();
  for (const backend of backends()) {
    const flags = flagsFor(backend);
    // A driver that can't even be asked is an adapter less, not an end: doctor shows what is left.
    const gpu = instance(dawn, flags);
    if (!gpu) continue;
    for (const request of REQUESTS) {
      const adapter = await gpu.requestAdapter(request).catch(() => null);
      if (!adapter) continue;
      const facts = factsOf(backend, adapter);
      const key = describeAdapter(facts);
      if (!found.has(key)) found.set(key, { facts, flags, request });
    }
  }
  return [...found.values()];
}

/** One for all questions: each tells stderr what its drivers lack. */
function instance(dawn: DawnModule, flags: string[]): GPU | undefined {
  try {
    return dawn.create(flags);
  } catch {
    return undefined;
  }
}

/** All adapters that this machine shows, software ones included. Rejects with DeviceError `E_NO_WEBGPU`. */
export async function listAdapters(): Promise<readonly AdapterFacts[]> {
  return (await candidates(await loadDawn())).map(({ facts }) => facts);
}

/** `asked`: part of an adapter's name; needed for software adapters. Rejects with DeviceError. */
export async function openDawn(asked?: string): Promise<OpenedGpu> {
  const dawn = await loadDawn();
  const found = await candidates(dawn);
  const facts = found.map((candidate) => candidate.facts);
  const { facts: chosen, flags, request } = found[chooseAdapter(facts, asked, vulkanLoaderProblem())]!;
  return await openFrom(dawn.create([...flags]), chosen.backend, request);
}

/** A device that compiles and validates but computes nothing. For tests of kernels. */
export async function openNullDevice(): Promise<OpenedGpu> {
  const dawn = await loadDawn();
  return await openFrom(dawn.create(flagsFor("null")), "null", {});
}
