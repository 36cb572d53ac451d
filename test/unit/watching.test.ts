/** @file Who watches an engine sees blocks come, stay and go as the plan says, bounded in number, and nobody else notices. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { watchResidency } from "../../src/engine/watching.ts";
import type { ResidencyEvent } from "../../src/job/events.ts";
import { componentReaders } from "../../src/pipeline/readers.ts";
import { recoveredTextToImage } from "../../src/pipeline/recovery.ts";
import { jobShape } from "../../src/pipeline/route.ts";
import { Runtime } from "../../src/pipeline/runtime.ts";
import { reportPlan } from "../../src/plan/report.ts";
import { smallestDeviceBytes } from "../../src/plan/requirements.ts";
import { FaultyDevice } from "../faulty-device.ts";
import { TEST_MACHINE } from "../graph-run.ts";
import { openSdxlFolder } from "../sdxl-folder.ts";

const checkpoint = await openSdxlFolder(fileURLToPath(new URL("../../fixtures/golden/flat", import.meta.url)));
const JOB = {
  ...{ prompt: "a lake", seed: 1, steps: 2, guidance: 5, width: 16, height: 16 },
  sampler: "euler",
} as const;

/** `deviceBytes`: undefined is the least. The clock goes on by a millisecond each time it is read. */
async function watched(deviceBytes: number | undefined, everyMs: number) {
  let nowMs = 0;
  const settings = {
    ...{ machine: TEST_MACHINE, rates: {}, processBytes: 7, now: () => ++nowMs, pause: async () => {} },
    budgets: { deviceBytes: deviceBytes ?? 2 ** 30, ramBytes: 2 ** 30 },
  };
  const runtimeOf = (budgets: typeof settings.budgets) =>
    new Runtime(checkpoint, new FaultyDevice(), componentReaders(checkpoint, settings.now), { ...settings, budgets });
  const shape = jobShape(checkpoint, JOB);
  const least = smallestDeviceBytes(runtimeOf(settings.budgets).planInput(shape).input);
  await using runtime = runtimeOf({ ...settings.budgets, deviceBytes: deviceBytes ?? least });
  const { plan, input } = runtime.plan(shape);
  const stop = new AbortController();
  const moments: ResidencyEvent[] = [];
  const parts = { runtime, now: settings.now, memory: () => ({ rssBytes: 5 }) };
  const watching = (async () => {
    for await (const moment of watchResidency(parts, { everyMs, signal: stop.signal })) moments.push(moment);
  })();
  const recovery = { hasLessThanFp32: false, shrink: async () => {}, pause: async () => {} };
  for await (const _ of recoveredTextToImage(runtime, JOB, recovery));
  // The last moment is told in a turn of its own.
  await new Promise(setImmediate);
  stop.abort();
  await watching;
  const blocks = reportPlan(plan, input.phases).phases.flatMap(({ passes }) => passes.flatMap(({ map }) => map));
  return { moments, blocks, telemetry: runtime.telemetry };
}

test("within the least memory blocks come and go, and every one that the plan names is seen", async () => {
  const { moments, blocks } = await watched(undefined, 0);
  const bytes = new Map(blocks.map((block) => [block.key, block.bytes]));
  const seen = new Set(moments.flatMap(({ resident, loading }) => [...resident, ...loading]));
  assert.deepEqual([...seen].sort(), [...bytes.keys()].sort());
  for (const { resident, deviceBytes } of moments) {
    const weightBytes = resident.reduce((sum, key) => sum + bytes.get(key)!, 0);
    assert.ok(weightBytes <= deviceBytes, `${weightBytes} of weights in ${deviceBytes}`);
  }
  const streamed = blocks.filter(({ place }) => place !== "pinned").map(({ key }) => key);
  assert.ok(streamed.length > 0);
  assert.ok(streamed.every((key) => moments.some(({ resident }) => !resident.includes(key))));
  // Between images nothing stays.
  assert.deepEqual(moments.at(-1)?.resident, []);
  assert.ok(moments.at(-1)!.loadedBytes > 0);
});

test("where everything fits, all blocks stay after the image", async () => {
  const { moments, blocks } = await watched(2 ** 30, 0);
  assert.deepEqual([...moments.at(-1)!.resident].sort(), [...new Set(blocks.map(({ key }) => key))].sort());
});

test("moments are bounded: none but the first and the last within the time, and no observer is left", async () => {
  const { moments } = await watched(undefined, 1e9);
  assert.equal(moments.length, 2);
});
