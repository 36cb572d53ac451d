/** @file The graphics adapter that tests run on: a software one where there is one; the absence of any is a reason to skip. */
import { createWebGpuDevice, type WebGpuDevice, type WebGpuOptions } from "../../src/backend/webgpu/run/device.ts";
import { DeviceError } from "../../src/errors.ts";
import { listAdapters, openDawn } from "../../src/node/gpu/dawn.ts";
import { vulkanLoaderProblem } from "../../src/node/gpu/vulkan-loader.ts";
import { chromiumPackageProblem } from "../support/chromium-package.ts";

export interface TestAdapter {
  /** Part of its name. */
  readonly name: string;
  /** Why tests are skipped. */
  readonly skip: string | undefined;
}

/** `npm test` says to Vulkan which drivers there are (test/support/vulkan.ts). */
export async function findTestAdapter(): Promise<TestAdapter> {
  try {
    const adapters = await listAdapters();
    const adapter = adapters.find(({ software }) => software) ?? adapters[0];
    if (adapter) return { name: adapter.device, skip: undefined };
    const loader = vulkanLoaderProblem();
    const what = loader === undefined ? "no graphics adapter" : `no graphics adapter (${loader})`;
    const next = chromiumPackageProblem() ?? "npm test brings a software one";
    return { name: "", skip: `${what}; ${next}` };
  } catch (error) {
    if (error instanceof DeviceError) return { name: "", skip: error.problem };
    throw error;
  }
}

export async function openTestDevice(adapter: TestAdapter, options: WebGpuOptions = {}): Promise<WebGpuDevice> {
  return await createWebGpuDevice(await openDawn(adapter.name), options);
}
