/** @file The Chromium that browser tests drive: it has WebGPU on SwiftShader (without shader-f16) and OPFS. */
import { type Browser, chromium } from "playwright-core";
import { chromiumPackageProblem, unpackChromium } from "../support/chromium-package.ts";

/** Why there is no browser here; undefined where there is one. */
export const noBrowser = chromiumPackageProblem();

/** Headless. It may show nothing but pages of 127.0.0.1 that a test serves: it has no sandbox, which root can't have. `more`: of its options. */
export async function launchChromium(...more: readonly string[]): Promise<Browser> {
  const { executable, env } = await unpackChromium();
  return await chromium.launch({
    executablePath: executable,
    chromiumSandbox: false,
    args: ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", ...more],
    env: { ...process.env, ...env },
  });
}
