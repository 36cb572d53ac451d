/** @file What computes: the CPU where no card is there and none was asked for, with what earlier runs measured of it. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { DeviceError } from "../../src/errors.ts";
import { openCompute } from "../../src/node/compute.ts";

const folder = mkdtempSync(path.join(tmpdir(), "solvay-compute-"));
const before = process.env.SOLVAY_STATE;
process.env.SOLVAY_STATE = path.join(folder, "state");
after(() => {
  rmSync(folder, { recursive: true, force: true });
  if (before === undefined) delete process.env.SOLVAY_STATE;
  else process.env.SOLVAY_STATE = before;
});

test("without a card the CPU computes and says why; a card that was named is not replaced by it", async () => {
  const compute = await openCompute({ precision: "fp16" });
  await compute.device[Symbol.asyncDispose]();
  // A real card may be there.
  if (compute.backend !== "webgpu") {
    assert.equal(compute.backend, "cpu");
    assert.match(compute.note!, /^Computing on the CPU: [^\n]+\. The CPU computes in fp32: --precision fp16/);
  }
  await assert.rejects(openCompute({ adapter: "no card of this name" }), DeviceError);
});

test("rates are remembered by what computed; a folder that can't be written costs nothing", async () => {
  const opened = async (backend: "cpu" | "reference") => {
    const compute = await openCompute({ backend });
    await compute.device[Symbol.asyncDispose]();
    return compute;
  };
  const rates = { gflops: 3, memoryGBps: 5 };
  const { saveRates, rates: none } = await opened("reference");
  assert.deepEqual(none, {});
  await saveRates?.("1e9", rates);
  assert.deepEqual((await opened("reference")).rates, { "1e9": rates });
  assert.deepEqual((await opened("cpu")).rates, {});
  writeFileSync(path.join(folder, "file"), "");
  process.env.SOLVAY_STATE = path.join(folder, "file", "state");
  const unwritable = await opened("reference");
  await unwritable.saveRates?.("1e9", rates);
  assert.deepEqual((await opened("reference")).rates, {});
});
