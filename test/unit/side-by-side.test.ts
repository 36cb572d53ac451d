/**
 * @file Pictures side by side: the bytes of each as when it is drawn alone, for every budget; weights that pass once for all of them;
 * plans whose peaks are what the ledger holds; what stops, fails or breaks one or all of them.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import type { SolvayError } from "../../src/errors.ts";
import { componentReaders } from "../../src/pipeline/readers.ts";
import { drawPictures, type PictureRequest, type Recovery, recoveredTextToImage } from "../../src/pipeline/recovery.ts";
import { jobShape } from "../../src/pipeline/route.ts";
import { Runtime } from "../../src/pipeline/runtime.ts";
import type { TextToImageJob } from "../../src/pipeline/text-to-image.ts";
import type { Plan } from "../../src/plan/plan.ts";
import { makePlan } from "../../src/plan/planner.ts";
import { smallestDeviceBytes } from "../../src/plan/requirements.ts";
import type { SamplerState } from "../../src/sampler/sampler.ts";
import { elementCount } from "../../src/tensor/dtype.ts";
import { type DeviceFaults, FaultyDevice, shortError } from "../faulty-device.ts";
import { TEST_MACHINE } from "../graph-run.ts";
import { openSdxlFolder } from "../sdxl-folder.ts";
import { sameBytes } from "../support/same.ts";

const checkpoint = await openSdxlFolder(fileURLToPath(new URL("../../fixtures/golden/flat", import.meta.url)));
const JOB: TextToImageJob = {
  ...{ prompt: "a lake", seed: 1, steps: 3, guidance: 5, width: 16, height: 16 },
  sampler: "euler",
};
/** Each unlike the others: seed, prompt, scale, sampler, and so how often they ask the model. */
const JOBS: readonly TextToImageJob[] = [
  JOB,
  { ...JOB, prompt: "two hills", seed: 2, guidance: 3, steps: 5 },
  { ...JOB, sampler: "heun", seed: 3 },
  { ...JOB, sampler: "euler-a", seed: 4, negativePrompt: "fog" },
];
const PLENTY = 2 ** 30;
const PROCESS = { tier: "ram", label: "process", lengthBytes: 7 };

function runtimeOf(deviceBytes: number, faults: DeviceFaults = {}) {
  const device = new FaultyDevice(faults);
  const runtime = new Runtime(checkpoint, device, componentReaders(checkpoint, performance.now), {
    budgets: { deviceBytes, ramBytes: PLENTY },
    machine: TEST_MACHINE,
    rates: {},
    processBytes: PROCESS.lengthBytes,
    now: () => performance.now(),
    pause: async () => {},
  });
  return { device, runtime };
}

const RECOVERY: Recovery = { hasLessThanFp32: false, shrink: async () => {}, pause: async () => {} };

async function alone(runtime: Runtime, job: TextToImageJob): Promise<Uint8Array> {
  for await (const event of recoveredTextToImage(runtime, job, RECOVERY)) if (event.type === "pixels") return event.rgb;
  throw new Error("no picture");
}

/** By place in the list: pixels or what it failed with; and how many were drawn at a time, and with which peaks. */
async function together(runtime: Runtime, requests: readonly PictureRequest[], recovery: Recovery = RECOVERY) {
  const ends: (Uint8Array | { readonly failure: unknown })[] = [];
  const plans = new Set<Plan>();
  const notes: string[] = [];
  const begins: number[] = [];
  for await (const told of drawPictures(runtime, requests, recovery)) {
    if ("failure" in told) ends[told.picture] = { failure: told.failure };
    else if (told.event.type === "pixels") ends[told.picture] = told.event.rgb;
    else if (told.event.type === "plan") {
      plans.add(told.event.planned.plan);
      begins.push(told.event.fromStep);
    } else if (told.event.type === "note") notes.push(told.event.text);
  }
  return { ends, plans: [...plans], lanes: [...plans].map(({ lanes }) => lanes), notes, begins };
}

const failureOf = (end: unknown) => (end as { readonly failure: unknown }).failure;

async function requireClean({ device, runtime }: ReturnType<typeof runtimeOf>): Promise<void> {
  await runtime.releaseWeights();
  assert.deepEqual(runtime.ledger.held(), [PROCESS]);
  assert.equal(device.live.size, 0);
}

const plain = runtimeOf(PLENTY).runtime;
const expected: Uint8Array[] = [];
for (const job of JOBS) expected.push(await alone(plain, job));
const shapes = JOBS.map((job) => jobShape(checkpoint, job));
const { input, plan: whole, described } = plain.plan(shapes[0]!);
const LATENT = elementCount(described.latentShape);
const leastFor = (lanes: number) => smallestDeviceBytes({ ...input, lanes });
/** Where weights stream, and three at a time take the least time. */
const THREE = leastFor(4);

for (const [name, deviceBytes, most] of [
  ["all stays", PLENTY, 1],
  ["not all stays", whole.peak.deviceBytes - 1, 2],
  ["weights stream", THREE, 2],
  ["the least", leastFor(1), 1],
] as const) {
  test(`pictures side by side have the bytes that each has alone, within their plans: ${name}`, async () => {
    const bench = runtimeOf(deviceBytes);
    const { runtime } = bench;
    const {
      ends,
      plans,
      lanes: found,
    } = await together(
      runtime,
      JOBS.map((job) => ({ job })),
    );
    assert.equal(Math.max(...found), most);
    for (const [i, rgb] of ends.entries()) sameBytes(rgb as Uint8Array, expected[i]!, `picture ${i}`);
    for (const [tier, bytes] of [
      ["device", "deviceBytes"],
      ["ram", "ramBytes"],
    ] as const) {
      const planned = Math.max(...plans.map(({ peak }) => peak[bytes]));
      assert.equal(runtime.ledger.state(tier).peakBytes, planned, `${tier}: just what was planned`);
    }
    await requireClean(bench);
  });
}

test("a segment's weights come once for all pictures of a pass, and each has its part of them", async () => {
  const { runtime } = runtimeOf(THREE);
  const jobs = [1, 2, 3].map((seed) => ({ ...JOB, seed }));
  const { plans } = await together(
    runtime,
    jobs.map((job) => ({ job })),
  );
  const step = plans[0]!.phases.flatMap(({ passes }) => passes).find(({ id }) => id === "unet.step")!;
  assert.ok(step.movedBytes > 0, "the model should stream");
  const stepOf = (picture?: number) => runtime.telemetry.totals(picture).find(({ pass }) => pass === "unet.step")!;
  const total = stepOf();
  const pinned = plans[0]!.phases.find(({ id }) => id === "denoise")!.residency.pinnedBytes;
  assert.equal(total.runs, JOB.steps);
  assert.ok(total.loadedBytes >= step.movedBytes, "each once");
  assert.ok(total.loadedBytes <= JOB.steps * step.movedBytes + pinned, "and in each step once");
  for (const picture of [0, 1, 2]) {
    const part = stepOf(picture);
    assert.equal(part.runs, JOB.steps);
    assert.equal(part.loadedBytes, Math.round(total.loadedBytes / 3));
    assert.ok(Math.abs(part.computeMs - total.computeMs / 3) < 1e-6);
  }
  // By itself it brings more of them, though more of them stay.
  const { loadedBytes } = stepOf(0);
  runtime.telemetry.clear();
  await together(runtime, [{ job: JOB }]);
  assert.ok(stepOf().loadedBytes > loadedBytes, `${stepOf().loadedBytes} of ${loadedBytes}`);
});

test("who is told of another prompt in between is waited for: all steps are made together", async () => {
  const { runtime } = runtimeOf(THREE);
  const jobs = [1, 2].map((at): TextToImageJob => {
    return { ...JOB, promptSyntax: "a1111", prompt: `[a lake:two hills:${at}]` };
  });
  const { ends } = await together(
    runtime,
    jobs.map((job) => ({ job })),
  );
  const runs = runtime.telemetry.totals().map(({ pass, runs: count }) => [pass, count]);
  assert.deepEqual(Object.fromEntries(runs)["unet.step"], JOB.steps);
  assert.deepEqual(Object.fromEntries(runs)["unet.text"], 3);
  for (const [i, job] of jobs.entries()) sameBytes(ends[i] as Uint8Array, await alone(plain, job), `picture ${i}`);
});

test("what a plan takes for pictures side by side: activations, links and host memory for each, the rest once", () => {
  for (const lanes of [1, 3]) {
    const plan = makePlan({ ...input, lanes });
    for (const [i, phase] of plan.phases.entries()) {
      const from = input.phases[i]!;
      const at = phase.id === "denoise" ? lanes : 1;
      const { activationBytes, linkBytes, scratchBytes, residency } = phase;
      const weights = residency.pinnedBytes + residency.ringBytes;
      const { overheadBytes } = input.device;
      assert.equal(phase.lanes, at);
      assert.equal(
        phase.deviceBytes,
        overheadBytes + at * (activationBytes + linkBytes) + scratchBytes + weights,
        phase.id,
      );
      const further = (lanes - 1) * from.laneBytes!;
      assert.ok(from.laneBytes! > 0);
      assert.equal(phase.ramBytes, input.processBytes + from.hostBytes + from.spilledBytes + further, phase.id);
    }
  }
});

test("jobs whose graphs differ are drawn apart, each by its own plan", async () => {
  const { runtime } = runtimeOf(THREE);
  const jobs = [JOB, { ...JOB, guidance: 1 }, { ...JOB, width: 24 }];
  const { ends, lanes } = await together(
    runtime,
    jobs.map((job) => ({ job })),
  );
  assert.deepEqual(lanes, [1, 1, 1]);
  for (const [i, job] of jobs.entries()) sameBytes(ends[i] as Uint8Array, await alone(plain, job), `job ${i}`);
});

test("a plan for several is that of as many as it draws at a time, and is not taken for one of fewer", () => {
  const { runtime } = runtimeOf(THREE);
  const plansOf = (count: number) => runtime.planSeries(new Array(count).fill(shapes[0]!));
  const lanes = [4, 3, 2, 1, 2, 4].map((count) => plansOf(count).plan.lanes);
  assert.deepEqual(lanes, [3, 3, 2, 1, 2, 3]);
  // Those of other steps that come after do not count.
  const longer = { ...shapes[0]!, modelCalls: 9 };
  const mixed = runtime.planSeries([...new Array(3).fill(shapes[0]!), longer]);
  assert.ok(mixed.plan.lanes > 1 && mixed.plan.lanes < 4);
  assert.equal(mixed.shape.modelCalls, shapes[0]!.modelCalls);
});

test("one that is stopped, or fails, ends alone: the others have their bytes", async () => {
  const bench = runtimeOf(THREE);
  const mine = new AbortController();
  let steps = 0;
  const nan = { step: 1, x: new Float32Array(LATENT).fill(Number.NaN), history: [] };
  const stopped = { job: JOBS[1]!, signal: mine.signal, onClean: () => void (++steps === 2 && mine.abort("mine")) };
  for (const [other, code] of [
    [{ job: JOB, from: nan }, "E_NAN"],
    [{ job: JOB, from: { ...nan, step: 99 } }, "E_STATE"],
  ] as const) {
    const { ends } = await together(bench.runtime, [{ job: JOBS[0]! }, other, { job: JOBS[2]! }]);
    assert.equal((failureOf(ends[1]) as SolvayError).code, code);
    for (const i of [0, 2]) sameBytes(ends[i] as Uint8Array, expected[i]!, `beside ${code}: ${i}`);
  }
  const { ends } = await together(bench.runtime, [{ job: JOBS[0]! }, stopped, { job: JOBS[2]! }]);
  assert.equal(failureOf(ends[1]), "mine");
  assert.equal(steps, 2);
  for (const i of [0, 2]) sameBytes(ends[i] as Uint8Array, expected[i]!, `beside the stopped one: ${i}`);
  await requireClean(bench);
});

test("each is told of its own steps, and goes on alone from what it had come to", async () => {
  const { runtime } = runtimeOf(THREE);
  const states: SamplerState[] = [];
  const cleans: Float32Array[][] = [[], []];
  const requests = [JOBS[0]!, JOBS[1]!].map((job, i) => ({
    job,
    onClean: (clean: Float32Array) => void cleans[i]!.push(clean.slice()),
  }));
  for await (const told of drawPictures(runtime, requests, RECOVERY)) {
    if (!("event" in told) || told.event.type !== "step") continue;
    if (told.event.state.step === 2) states[told.picture] = told.event.state;
  }
  assert.deepEqual(
    cleans.map(({ length }) => length),
    [3, 5],
  );
  assert.notDeepEqual(cleans[0]![0], cleans[1]![0]);
  for (const i of [0, 1]) {
    const { ends } = await together(runtime, [{ job: JOBS[i]!, from: states[i]! }]);
    sameBytes(ends[0] as Uint8Array, expected[i]!, `picture ${i}`);
  }
});

test("what comes to NaN in less than fp32 is drawn again by itself, in fp32", async () => {
  const { runtime } = runtimeOf(THREE);
  const nan = { step: 1, x: new Float32Array(LATENT).fill(Number.NaN), history: [] };
  const recovery = { ...RECOVERY, hasLessThanFp32: true };
  const { ends, lanes, notes } = await together(runtime, [{ job: JOB, from: nan }, { job: JOBS[1]! }], recovery);
  assert.equal(lanes.at(-1), 1);
  for (const i of [0, 1]) sameBytes(ends[i] as Uint8Array, expected[i]!, `picture ${i}`);
  assert.match(notes.join("\n"), /E_NAN: .*Retrying once in fp32/);
});

test("whoever leaves the loop leaves nothing behind, wherever the pictures are", async () => {
  const bench = runtimeOf(THREE);
  for (const count of [1, 4, 7, 9, 12]) {
    let seen = 0;
    for await (const _ of drawPictures(
      bench.runtime,
      JOBS.map((job) => ({ job })),
      RECOVERY,
    ))
      if (++seen === count) break;
    await requireClean(bench);
  }
});

test("a lost device: all go on from their last states on another; a short one: fewer at a time", async () => {
  let wasShort = false;
  const fails: [string, DeviceFaults["before"], RegExp][] = [
    ["lost", (_, count, device) => void (count === 350 && device.lose()), /E_GPU_LOST.*Retrying once/],
    [
      "short",
      (call, _, device) => {
        // Activations of the second lane, while two are drawn at a time.
        if (call !== "createArena" || device.live.size <= 4 || wasShort) return;
        wasShort = true;
        throw shortError("an arena");
      },
      /E_VRAM.*Trying again with --vram/,
    ],
  ];
  for (const [name, before, note] of fails) {
    const bench = runtimeOf(THREE, { before });
    const { runtime } = bench;
    let device = bench.device;
    const recovery = {
      ...RECOVERY,
      reopen: async () => {
        await device[Symbol.asyncDispose]();
        device = new FaultyDevice();
        return device;
      },
      shrink: (deviceBytes: number) => runtime.setBudgets({ ...runtime.budgets, deviceBytes }),
    };
    const { ends, lanes, notes, begins } = await together(
      runtime,
      JOBS.map((job) => ({ job })),
      recovery,
    );
    if (name === "lost") assert.deepEqual(begins.slice(0, 4), [0, 0, 2, 2], "both from their second steps");
    for (const [i, rgb] of ends.entries()) sameBytes(rgb as Uint8Array, expected[i]!, `${name}: ${i}`);
    assert.match(notes.join("\n"), note);
    assert.equal(lanes[0], 2);
    await requireClean({ device, runtime });
  }
});
