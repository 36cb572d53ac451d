/**
 * @file The `webgpu` package (Dawn for Node): which adapters there are, and a device on one of them.
 */

import type { AdapterFacts } from "../../backend/webgpu/adapter/adapter.ts";
import { type OpenedGpu, openFrom } from "../../backend/webgpu/adapter/opened-gpu.ts";
import { DeviceError } from "../../errors.ts";
import { installAdvice } from "../installation.ts";
import { type BackendListing, backendsOf, firstLine, listBackends, openBest } from "./backends.ts";
import { restBetweenLooks } from "./looks.ts";
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

function flagsFor(backend: string): string[] {
  return [
    `backend=${backend}`,
    `enable-dawn-features=${SWITCHES_ON.join(",")}`,
    `disable-dawn-features=${SWITCHES_OFF.join(",")}`,
  ];
}

function creator(dawn: DawnModule) {
  return (backend: string) => dawn.create(flagsFor(backend));
}

async function listingsOf(dawn: DawnModule): Promise<readonly BackendListing[]> {
  const loader = vulkanLoaderProblem();
  const problemOf = (backend: string) => (backend === "vulkan" ? loader : undefined);
  return await listBackends(backendsOf(process.platform), creator(dawn), problemOf);
}

/** What each backend of this machine shows, software adapters included. Rejects with DeviceError `E_NO_WEBGPU`. */
export async function listGraphics(): Promise<readonly BackendListing[]> {
  return await listingsOf(await loadDawn());
}

/** All adapters that this machine shows. Rejects with DeviceError `E_NO_WEBGPU`. */
export async function listAdapters(): Promise<readonly AdapterFacts[]> {
  return (await listGraphics()).flatMap(({ adapters }) => adapters.map(({ facts }) => facts));
}

/** `asked`: part of an adapter's name; needed for software adapters. Rejects with DeviceError. */
export async function openDawn(asked?: string): Promise<OpenedGpu> {
  const dawn = await loadDawn();
  const opened = await openBest(await listingsOf(dawn), creator(dawn), asked);
  if (opened.facts.software) restBetweenLooks();
  return opened;
}

/** A device that compiles and validates but computes nothing. For tests of kernels. */
export async function openNullDevice(): Promise<OpenedGpu> {
  const dawn = await loadDawn();
  return await openFrom(dawn.create(flagsFor("null")), "null", {});
}
