/** @file The graphics adapter that tests run on: a software one where there is no other; its absence is a reason to skip. */
import { existsSync, globSync } from "node:fs";
import { createWebGpuDevice, type WebGpuDevice, type WebGpuOptions } from "../../src/backend/webgpu/run/device.ts";
import { DeviceError } from "../../src/errors.ts";
import { listAdapters, openDawn } from "../../src/node/gpu/dawn.ts";
import { vulkanLoaderProblem } from "../../src/node/gpu/vulkan-loader.ts";

/** Drivers of lavapipe and SwiftShader (Debian's paths), used where VK_ICD_FILENAMES says nothing. */
const DRIVERS = ["/usr/share/vulkan/icd.d/lvp_icd*.json", "/usr/lib/chromium/vk_swiftshader_icd.json"];

export interface TestAdapter {
  /** Part of its name. */
  readonly name: string;
  /** Why tests are skipped. */
  readonly skip: string | undefined;
}

export async function findTestAdapter(): Promise<TestAdapter> {
  if (!process.env.VK_ICD_FILENAMES) {
    const driver = DRIVERS.flatMap((pattern) => globSync(pattern)).find((file) => existsSync(file));
    if (driver) process.env.VK_ICD_FILENAMES = driver;
  }
  // Lavapipe compiles a kernel in half the time for vectors of half the length; for tiny tensors that is all that counts.
  process.env.LP_NATIVE_VECTOR_WIDTH ??= "128";
  try {
    const adapters = await listAdapters();
    const adapter = adapters.find(({ software }) => software) ?? adapters[0];
    if (adapter) return { name: adapter.device, skip: undefined };
    const loader = vulkanLoaderProblem();
    const what = loader === undefined ? "no graphics adapter" : `no graphics adapter (${loader})`;
    return { name: "", skip: `${what}; scripts/software-vulkan.sh installs a software one on Debian` };
  } catch (error) {
    if (error instanceof DeviceError) return { name: "", skip: error.problem };
    throw error;
  }
}

export async function openTestDevice(adapter: TestAdapter, options: WebGpuOptions = {}): Promise<WebGpuDevice> {
  return await createWebGpuDevice(await openDawn(adapter.name), options);
}
