/** @file Submits on a fake queue and a fake clock: how many are in flight, what is in each, and what the pacer is told of their ends. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { MAX_WORKGROUPS } from "../../src/backend/webgpu/kernels/kernel.ts";
import type { Dispatch } from "../../src/backend/webgpu/lower/dispatches.ts";
import { DeviceHealth } from "../../src/backend/webgpu/run/device-health.ts";
import { Pacer, TARGET_MS } from "../../src/backend/webgpu/run/pacing.ts";
import { SubmitQueue } from "../../src/backend/webgpu/run/submission.ts";

class Recorder extends Pacer {
  readonly seen: (readonly [number, number])[] = [];

  override observe(cost: number, ms: number): void {
    this.seen.push([cost, ms]);
  }
}

const COST = 10;
/** A mistake that leaves somebody waiting is told soon. */
const PATIENCE_MS = 5000;
const nothing = () => undefined;
const pass = { setPipeline: nothing, setBindGroup: nothing, dispatchWorkgroups: nothing, end: nothing };
/** Timers that were set before have fired, however late they are. */
const later = async () => {
  for (let i = 0; i < 3; i++) await new Promise<void>((resume) => setTimeout(resume, 2));
};

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
  const queue = new SubmitQueue(device, new DeviceHealth(PATIENCE_MS), pacer, () => nowMs);
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

/** A queue whose submits end when the test says so. Each submit as the workgroups of its dispatches; "copy" for a copy. */
function fakeQueue(budget: number) {
  const submits: (number | "copy")[][] = [];
  const ends: (() => void)[] = [];
  let recorded: (number | "copy")[] = [];
  // As WebGPU has it: what is encoded otherwise would be an invalid submit.
  let isInPass = false;
  const requirePass = (wanted: boolean, what: string) => assert.equal(isInPass, wanted, what);
  const device = {
    createCommandEncoder: () => ({
      beginComputePass: () => {
        requirePass(false, "a pass begins");
        isInPass = true;
        return {
          ...pass,
          dispatchWorkgroups: (count: number) => {
            requirePass(true, "a dispatch");
            recorded.push(count);
          },
          end: () => {
            requirePass(true, "a pass ends");
            isInPass = false;
          },
        };
      },
      copyBufferToBuffer: () => {
        requirePass(false, "a copy");
        recorded.push("copy");
      },
      finish: () => requirePass(false, "commands end"),
    }),
    queue: {
      submit: () => {
        submits.push(recorded);
        recorded = [];
      },
      onSubmittedWorkDone: () => new Promise<void>((end) => ends.push(end)),
    },
  } as unknown as GPUDevice;
  const queue = new SubmitQueue(
    device,
    new DeviceHealth(PATIENCE_MS),
    new Pacer({ costPerMs: budget / TARGET_MS }),
    () => 0,
  );
  const record = (runs: readonly (readonly [workgroups: number, cost: number])[], signal?: AbortSignal) => {
    const parts = [{ runs: runs.map(([workgroups, cost]) => ({ recordOffset: 0, workgroups, cost })) }];
    return queue.record({ parts } as unknown as Dispatch, {} as GPUComputePipeline, [{} as GPUBindGroup], signal);
  };
  const endNext = async () => {
    ends.shift()!();
    await later();
  };
  return { queue, submits, record, endNext };
}

test("at most two full submits are in flight: the third waits for the first to end", async () => {
  const { queue, submits, record, endNext } = fakeQueue(100);
  const work = record(Array.from({ length: 5 }, () => [1, 100] as const)).then(() => queue.flush());
  await later();
  // The second is sent when the third begins to be recorded, which waits.
  assert.equal(submits.length, 2);
  await endNext();
  assert.equal(submits.length, 3);
  await later();
  assert.equal(submits.length, 3);
  await endNext();
  assert.equal(submits.length, 4);
  await endNext();
  await work;
  assert.deepEqual(submits, [[1], [1], [1], [1], [1]]);
});

test("runs are joined as far as a submit has room for, and WebGPU's limit on workgroups allows; one too large goes alone", async () => {
  const { queue, submits, record } = fakeQueue(100);
  await record([
    [10, 40],
    [10, 60],
    [10, 30],
    [10, 80],
  ]);
  queue.flush();
  // The last is dispatched by itself: a submit with any room takes one more run.
  assert.deepEqual(submits, [[20], [10, 10]]);
  const many = fakeQueue(1e6);
  await many.record([
    [MAX_WORKGROUPS - 1, 1],
    [1, 1],
    [1, 1],
  ]);
  many.queue.flush();
  assert.deepEqual(many.submits, [[MAX_WORKGROUPS, 1]]);
  const large = fakeQueue(100);
  const work = large.record([
    [7, 500],
    [1, 1],
  ]);
  await later();
  assert.deepEqual(large.submits, [[7]]);
  await large.endNext();
  await work;
  assert.equal(queue.submits, 2);
});

test("an abort is heard between submits: what was not recorded yet is not", async () => {
  const { submits, record, endNext } = fakeQueue(100);
  const stop = new AbortController();
  const nine = Array.from({ length: 9 }, () => [1, 100] as const);
  const rejected = assert.rejects(record(nine, stop.signal), /^Error: enough$/);
  await later();
  stop.abort(new Error("enough"));
  await endNext();
  await rejected;
  assert.equal(submits.length, 2);
});

test("a copy comes after what was recorded before it, in the same submit; nothing recorded is nothing submitted", async () => {
  const { queue, submits, record } = fakeQueue(100);
  queue.flush();
  await record([[3, 1]]);
  queue.copy({} as GPUBuffer, 0, {} as GPUBuffer, 0, 4);
  await record([[4, 1]]);
  queue.flush();
  queue.flush();
  assert.deepEqual(submits, [[3, "copy", 4]]);
});
