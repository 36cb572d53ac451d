/**
 * @file Which Vulkan driver WebGPU tests get. The dynamic loader reads its paths when a process starts, so `scripts/test.ts`
 * asks here before it starts the test processes (docs/decisions/test-adapters.md).
 */
import { globSync } from "node:fs";
import path from "node:path";
import { vulkanLoaderProblem } from "../../src/node/gpu/vulkan-loader.ts";
import { chromiumPackageProblem, unpackSwiftShader } from "./chromium-package.ts";

/** `SOLVAY_TEST_VULKAN`. */
const CHOICES = ["lavapipe", "swiftshader", "system"] as const;

export interface VulkanChoice {
  /** For the environment of test processes. */
  readonly env: Readonly<Record<string, string>>;
  /** One line for whoever runs the tests. */
  readonly told: string;
}

/** Lavapipe where it is installed, SwiftShader elsewhere; drivers that the user names in Vulkan's own variables come first. */
export async function chooseVulkan(env: NodeJS.ProcessEnv = process.env): Promise<VulkanChoice> {
  // Lavapipe compiles a kernel in half the time for vectors of half the length; for tiny tensors that is all that counts.
  const lavapipe = { LP_NATIVE_VECTOR_WIDTH: env.LP_NATIVE_VECTOR_WIDTH ?? "128" };
  const asked = env.SOLVAY_TEST_VULKAN || undefined;
  if (asked !== undefined && !CHOICES.some((choice) => choice === asked)) {
    throw new Error(`SOLVAY_TEST_VULKAN is one of ${CHOICES.join(", ")} (found "${asked}")`);
  }
  if (asked === "system") return { env: lavapipe, told: "WebGPU tests: on what Vulkan finds by itself" };
  const named = env.VK_DRIVER_FILES || env.VK_ICD_FILENAMES;
  if (asked === undefined && named) return { env: lavapipe, told: `WebGPU tests: on ${named}` };
  const driver = asked === "swiftshader" || vulkanLoaderProblem() ? undefined : lavapipeDriver();
  if (driver !== undefined) {
    return { env: { ...lavapipe, ...only(driver) }, told: `WebGPU tests: on lavapipe (${driver})` };
  }
  if (asked === "lavapipe") throw new Error("lavapipe is not here; scripts/software-vulkan.sh installs it on Debian");
  const problem = chromiumPackageProblem();
  if (problem !== undefined) {
    if (asked !== undefined) throw new Error(problem);
    return { env: lavapipe, told: `WebGPU tests: on what Vulkan finds by itself; ${problem}` };
  }
  const folder = await unpackSwiftShader();
  const libraries = env.LD_LIBRARY_PATH ? `${folder}:${env.LD_LIBRARY_PATH}` : folder;
  const swiftShader = { ...only(path.join(folder, "vk_swiftshader_icd.json")), LD_LIBRARY_PATH: libraries };
  return { env: swiftShader, told: "WebGPU tests: on SwiftShader (of the npm package @sparticuz/chromium)" };
}

/** Both names: the newer one wins in newer loaders, the older is all that old ones know. */
function only(driver: string) {
  return { VK_ICD_FILENAMES: driver, VK_DRIVER_FILES: driver, VK_ADD_DRIVER_FILES: "" };
}

function lavapipeDriver(): string | undefined {
  return globSync("/usr/share/vulkan/icd.d/lvp_icd*.json")[0];
}
