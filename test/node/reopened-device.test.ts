/** @file A graphics device that is opened anew after a loss, on a device that computes nothing: which adapter, in what order, with what is remembered. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { type TestContext, test } from "node:test";
import { describeAdapter } from "../../src/backend/webgpu/adapter/adapter.ts";
import type { OpenedGpu } from "../../src/backend/webgpu/adapter/opened-gpu.ts";
import { loadAdapterState, saveAdapterState } from "../../src/node/gpu/adapter-state.ts";
import { openNullDevice } from "../../src/node/gpu/dawn.ts";
import { openRecoverable } from "../../src/node/gpu/recoverable.ts";

function bench(t: TestContext) {
  const stateFolder = mkdtempSync(path.join(tmpdir(), "solvay-reopened-"));
  t.after(() => rmSync(stateFolder, { recursive: true, force: true }));
  const happened: string[] = [];
  let nowMs = 1000;
  let fails = false;
  const open = async (adapter: string | undefined): Promise<OpenedGpu> => {
    happened.push(`open ${adapter ?? "the best"}`);
    if (fails) throw new Error("no card");
    const opened = await openNullDevice();
    const destroy = opened.device.destroy.bind(opened.device);
    opened.device.destroy = () => {
      happened.push("end");
      destroy();
    };
    return opened;
  };
  const rebuilds = path.join(stateFolder, "rebuilds.json");
  return {
    ...{ stateFolder, happened, rebuilds, states: path.join(stateFolder, "adapters.json") },
    fail: (now: boolean) => {
      fails = now;
    },
    at: (ms: number) => {
      nowMs = ms;
    },
    noted: (): unknown => JSON.parse(readFileSync(rebuilds, "utf8")),
    recoverable: () =>
      openRecoverable({ adapter: "card", precision: "fp16", stateFolder, wallClock: () => nowMs, open }),
  };
}

test("the one before is ended, then the same adapter opened with the same kernels; each time is noted, three are too many", async (t) => {
  const b = bench(t);
  const { device, reopen } = await b.recoverable();
  const name = describeAdapter(device.adapter);
  assert.deepEqual(b.happened.splice(0), ["open card"]);
  const second = await reopen();
  assert.deepEqual(b.happened.splice(0), ["end", `open ${name}`]);
  // Chosen once: that fp16 can't be had here is told by the first alone.
  assert.equal(second.chosen.paths, device.chosen.paths);
  assert.ok(device.chosen.notes.length > 0);
  assert.deepEqual(second.chosen.notes, []);
  b.at(2000);
  const third = await reopen();
  assert.deepEqual(
    [b.happened.splice(0), b.noted()],
    [
      ["end", `open ${name}`],
      [1000, 2000],
    ],
  );
  b.at(3000);
  await assert.rejects(reopen(), { code: "E_GPU_UNSTABLE" });
  await assert.rejects(b.recoverable(), { code: "E_GPU_UNSTABLE" });
  assert.deepEqual(b.happened, [], "nothing is opened or ended then");
  await third[Symbol.asyncDispose]();
});

test("a rebuild that can't be noted isn't made; one that fails counts", async (t) => {
  const b = bench(t);
  const { reopen } = await b.recoverable();
  // A file stands where the folder would have to be made.
  writeFileSync(b.states, "{}");
  const blocked = await openRecoverable({
    stateFolder: path.join(b.states, "none"),
    wallClock: () => 1000,
    open: () => openNullDevice(),
  });
  await assert.rejects(blocked.reopen(), { code: "E_GPU_STATE" });
  await blocked.device[Symbol.asyncDispose]();
  b.happened.length = 0;
  b.fail(true);
  await assert.rejects(reopen(), /no card/);
  assert.deepEqual([b.happened.map((each) => each.split(" ")[0]), b.noted()], [["end", "open"], [1000]]);
  b.fail(false);
  await (await reopen())[Symbol.asyncDispose]();
  assert.deepEqual(b.noted(), [1000, 1000]);
});

test("what is remembered of an adapter: its pace with the least caution there was, its tiles, and nothing of others'", async (t) => {
  const b = bench(t);
  const { facts, device: plain } = await openNullDevice();
  plain.destroy();
  const pacing = { costPerMs: 7, caution: 0.5 };
  await saveAdapterState(b.states, facts, { pacing, tiles: { a: "32x32" } });
  await saveAdapterState(b.states, { ...facts, description: "another" }, { pacing: { costPerMs: 3, caution: 1 } });
  const { device, reopen } = await b.recoverable();
  assert.deepEqual([device.pacing.costPerMs, device.pacing.caution], [7, 0.5]);
  // Somebody else's process writes that all is well: a loss that was felt here counts all the same.
  await saveAdapterState(b.states, facts, { pacing: { costPerMs: 9, caution: 1 } });
  await device[Symbol.asyncDispose]();
  await saveAdapterState(b.states, facts, { pacing: { costPerMs: 9, caution: 1 } });
  const second = await reopen();
  assert.deepEqual([second.pacing.costPerMs, second.pacing.caution], [9, 0.5]);
  await second[Symbol.asyncDispose]();
  const kept = await loadAdapterState(b.states, facts);
  assert.deepEqual(kept.tiles, { a: "32x32" });
  const other = await loadAdapterState(b.states, { ...facts, description: "another" });
  assert.deepEqual(other, { pacing: { costPerMs: 3, caution: 1 } });
  // What can't be is not remembered.
  const odd = { pacing: { costPerMs: 1, caution: 1.5 }, tiles: { a: "32x32", b: "7x7" } };
  writeFileSync(b.states, JSON.stringify({ [describeAdapter(facts)]: odd }));
  assert.deepEqual(await loadAdapterState(b.states, facts), { tiles: { a: "32x32" } });
  // Nothing remembered any more: the pace of the device before goes on.
  writeFileSync(b.states, "{}");
  const third = await reopen();
  assert.deepEqual([third.pacing.costPerMs, third.pacing.caution], [9, 0.5]);
  await third[Symbol.asyncDispose]();
});
