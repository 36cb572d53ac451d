/** @file What the pacer is told of submits whose ends are reported one by one, or in a heap. A fake clock, a fake queue. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Dispatch } from "../../src/backend/webgpu/lower/dispatches.ts";
import { DeviceHealth } from "../../src/backend/webgpu/run/device-health.ts";
import { Pacer } from "../../src/backend/webgpu/run/pacing.ts";
import { SubmitQueue } from "../../src/backend/webgpu/run/submission.ts";

class Recorder extends Pacer {
  readonly seen: (readonly [number, number])[] = [];

  override observe(cost: number, ms: number): void {
    this.seen.push([cost, ms]);
  }
}

const COST = 10;
const nothing = () => undefined;
const pass = { setPipeline: nothing, setBindGroup: nothing, dispatchWorkgroups: nothing, end: nothing };
const later = () => new Promise<void>((resume) => setTimeout(resume, 5));

test("ends in one heap are one observation, from the end before it; single ones are single", async () => {
  const ends: (() => void)[] = [];
  let submits = 0;
  const device = {
    createCommandEncoder: () => ({ beginComputePass: () => pass, finish: () => ({}) }),
    queue: {
      submit: () => submits++,
      onSubmittedWorkDone: () => new Promise<void>((end) => ends.push(end)),
    },
  } as unknown as GPUDevice;
  let nowMs = 0;
  const pacer = new Recorder();
  const queue = new SubmitQueue(device, new DeviceHealth(), pacer, () => nowMs);
  const dispatch = { parts: [{ runs: [{ recordOffset: 0, workgroups: 1, cost: COST }] }] } as unknown as Dispatch;
  const submit = async () => {
    await queue.record(dispatch, {} as GPUComputePipeline, [{} as GPUBindGroup], undefined);
    queue.flush();
  };
  const end = async (count: number, atMs: number) => {
    nowMs = atMs;
    for (const resolve of ends.splice(0, count)) resolve();
    await later();
  };
  for (let i = 0; i < 5; i++) await submit();
  assert.equal(submits, 5);
  await end(1, 40);
  await end(3, 100);
  await end(1, 130);
  assert.deepEqual(pacer.seen, [
    [COST, 40],
    [3 * COST, 60],
    [COST, 30],
  ]);
  nowMs = 200;
  await submit();
  await end(1, 220);
  assert.deepEqual(pacer.seen.at(-1), [COST, 20]);
});
