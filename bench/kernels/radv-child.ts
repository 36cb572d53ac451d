/**
 * @file Opens the only adapter, which the parent chose by the environment, and compiles kernels one after the other. The driver
 * writes what it made of each to stderr; lines starting with "@@ " stand before it. Arguments: patterns of names.
 */
import { writeSync } from "node:fs";
import { candidatePaths } from "../../src/backend/webgpu/adapter/candidates.ts";
import { DeviceHealth } from "../../src/backend/webgpu/run/device-health.ts";
import { PipelineCache } from "../../src/backend/webgpu/run/pipelines.ts";
import { openDawn } from "../../src/node/gpu/dawn.ts";
import { kernelsOf } from "./variants.ts";

const { facts, device, gpu } = await openDawn("null-hardware");
const offered = Object.assign({}, ...candidatePaths(facts, "fp16").candidates.map(({ paths }) => paths));
const offers = {
  workgroupBytes: facts.limits.maxComputeWorkgroupStorageSize,
  halves: facts.features.includes("shader-f16"),
  ...("lanes" in offered ? { lanes: offered.lanes } : {}),
  ...("matrix" in offered ? { matrix: offered.matrix } : {}),
};
writeSync(
  2,
  `@@ device ${JSON.stringify({ name: facts.device, driver: facts.description, ...offers, matrices: facts.matrices })}\n`,
);
const cache = new PipelineCache(device, new DeviceHealth());
const wanted = process.argv.slice(2).map((pattern) => new RegExp(pattern));
for (const { name, kernel, roundFma } of kernelsOf(offers)) {
  if (wanted.length > 0 && !wanted.some((pattern) => pattern.test(name))) continue;
  writeSync(2, `@@ kernel ${JSON.stringify({ name, key: kernel.key, slots: kernel.slots.length, roundFma })}\n`);
  await cache.get(kernel).catch((error: unknown) => writeSync(2, `@@ failed ${JSON.stringify(String(error))}\n`));
}
writeSync(2, "@@ end\n");
// Dawn's teardown has nothing to wait for.
process.exit(gpu ? 0 : 1);
