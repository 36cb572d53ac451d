/** @file The engine as a whole: turns, budgets, aborts in every phase, what it tells of itself, and how it ends. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { BudgetError, UsageError } from "../../src/errors.ts";
import type { Budgets } from "../../src/job/checked.ts";
import type { GenerateEvent, LoadEvent } from "../../src/job/types.ts";
import type { ImportBudget } from "../../src/store/import/import-types.ts";
import { type DeviceCall, type FaultyDevice, shortError } from "../faulty-device.ts";
import { sameBytes } from "../support/same.ts";
import { MemoryFs, memoryStore } from "../unit/memory-store-fs.ts";
import { found, host, imageOf, JOB, larger, openBench, SlowDevice, turns, wordOf } from "./engine-bench.ts";

const GiB = 1024 ** 3;
const bytes = (count: number) => ({ bytes: count });

test("budgets that change in the middle of an image hold from the next one on", async (t) => {
  const { engine } = await openBench({ budgets: { vram: bytes(GiB), ram: bytes(GiB) } });
  t.after(() => engine[Symbol.asyncDispose]());
  const log: string[] = [];
  const first = engine.generate(JOB);
  let event = await first.next();
  while (!event.done && event.value.type !== "step") event = await first.next();
  const changed = engine.setBudgets({ vram: bytes(GiB / 2) }).then(() => log.push("changed"));
  const second = Array.fromAsync(engine.generate(JOB));
  await turns();
  assert.equal(log.length, 0);
  const rest = await Array.fromAsync(first);
  log.push("first image");
  await changed;
  assert.deepEqual(log, ["first image", "changed"]);
  const budgetIn = (events: readonly GenerateEvent[]) =>
    events.flatMap((each) => (each.type === "plan" ? [each.plan.budgets.deviceBytes] : []));
  assert.deepEqual(budgetIn(await second), [GiB / 2]);
  assert.equal(rest.at(-1)?.type, "image");
});

test("images are made one at a time, in the order they were asked for, also after one that was left", async (t) => {
  const { engine } = await openBench();
  t.after(() => engine[Symbol.asyncDispose]());
  const log: string[] = [];
  const draw = async (name: string, until: string) => {
    for await (const event of engine.generate(JOB)) {
      if (event.type === "start" || wordOf(event) === until) log.push(`${name} ${wordOf(event)}`);
      if (wordOf(event) === until) return;
      await turns(1);
    }
  };
  await Promise.all([draw("a", "step 1"), draw("b", "image"), draw("c", "image")]);
  assert.deepEqual(log, ["a start", "a step 1", "b start", "b image", "c start", "c image"]);
});

/** Stops a picture at the first `at` of a phase; resolves to how many such calls came after that. */
async function abortIn(phase: string, at: DeviceCall | "prepare"): Promise<number> {
  const stop = new AbortController();
  const reason = new Error("enough");
  let phaseNow = "";
  let callsAfter = 0;
  const onCall = (call: string) => {
    if (call !== at) return;
    if (stop.signal.aborted) callsAfter++;
    else if (phaseNow === phase) stop.abort(reason);
  };
  const device = new SlowDevice({ before: onCall });
  device.onPrepare = () => onCall("prepare");
  const { engine } = await openBench({}, device);
  const draw = async () => {
    for await (const event of engine.generate(JOB, { signal: stop.signal })) {
      if (event.type === "phase") phaseNow = event.phase;
      assert.notEqual(event.type, "image", `${at} in ${phase}`);
    }
  };
  await assert.rejects(draw(), reason);
  const found = callsAfter;
  // What a stopped image leaves is no hindrance.
  assert.equal((await imageOf(engine)).width, 16);
  await engine[Symbol.asyncDispose]();
  assert.equal(device.live.size, 0);
  return found;
}

for (const phase of ["encode", "denoise", "decode"]) {
  test(`an abort stops the work in ${phase}: nothing more is computed or compiled`, async () => {
    assert.equal(await abortIn(phase, "run"), 0);
    assert.equal(await abortIn(phase, "prepare"), 0);
  });
}

test("an aborted signal reaches the model while it opens, and the device ends with the attempt", async () => {
  const stop = new AbortController();
  const device = new SlowDevice();
  const open: typeof found.open = async (options) => {
    stop.abort(new Error("enough"));
    return await found.open(options);
  };
  const opening = openBench({ model: { open }, signal: stop.signal }, device);
  await assert.rejects(opening, { message: "enough" });
  assert.ok(device.ended);
});

test("events: the job, its plan, the phases, each step, and the image last; telemetry and states if asked for", async (t) => {
  const { engine } = await openBench();
  t.after(() => engine[Symbol.asyncDispose]());
  const plain = await Array.fromAsync(engine.generate(JOB));
  const steps = ["step 1", "step 2", "step 3"];
  assert.deepEqual(plain.map(wordOf), ["start", "plan", "encode", "denoise", ...steps, "decode", "image"]);
  const asked = await Array.fromAsync(engine.generate(JOB, { telemetry: true, states: true }));
  assert.deepEqual(asked.map(wordOf).slice(-3), ["decode", "telemetry", "image"]);
  const states = (events: readonly GenerateEvent[]) =>
    events.flatMap((event) => (event.type === "step" ? [event.state?.step] : []));
  assert.deepEqual(states(plain), [undefined, undefined, undefined]);
  assert.deepEqual(states(asked), [1, 2, 3]);
  assert.ok(plain.every((event) => event.type !== "step" || !("state" in event)));
  const [start] = plain;
  assert.ok(
    start?.type === "start" && start.seed === 1 && start.negativePrompt === "" && start.backend === "reference",
  );
  const [named] = await Array.fromAsync(engine.generate({ ...JOB, negativePrompt: "fog" }));
  assert.ok(named?.type === "start" && named.negativePrompt === "fog");
});

test("an image tells its own seed, size, memory, and what its passes did, not those of images before it", async (t) => {
  const memory = () => ({ rssBytes: 11, peakRssBytes: 22 });
  const { engine } = await openBench({ host: { memory } });
  t.after(() => engine[Symbol.asyncDispose]());
  const runs = ({ passes }: Awaited<ReturnType<typeof imageOf>>) => passes.map((pass) => [pass.pass, pass.runs]);
  const first = await imageOf(engine, { ...JOB, prompt: "a hill", steps: 2 });
  const again = await imageOf(engine, { ...JOB, prompt: "a pond", steps: 2 });
  assert.deepEqual(runs(again), runs(first));
  // Pictures of this model are whole multiples of 16 pixels.
  const wide = { ...JOB, seed: 5, width: 168, height: 16 };
  const plan = await engine.plan(wide);
  const image = await imageOf(engine, wide);
  assert.deepEqual([image.seed, image.width, image.height, image.peakRssBytes], [5, 160, 16, 22]);
  assert.ok(image.peakDeviceBytes <= plan.peak.deviceBytes && image.peakRamBytes <= plan.peak.ramBytes);
  // The process alone, which is in RAM, is more than all that such a small model takes of the device.
  assert.ok(image.peakRamBytes >= host.processBytes && image.peakDeviceBytes < host.processBytes);
  const small = await imageOf(engine, { ...wide, width: 16 });
  assert.ok(small.peakDeviceBytes < image.peakDeviceBytes, "the peak of a larger image before it");
});

test("a step's time and the rest of the way: what a listener takes is its own, and a phase begins anew", async (t) => {
  let nowMs = 0;
  const before = (call: DeviceCall) => {
    if (call === "run") nowMs += 7;
  };
  const { engine } = await openBench({ faults: { before }, host: { now: () => nowMs } });
  t.after(() => engine[Symbol.asyncDispose]());
  const steps: Extract<GenerateEvent, { type: "step" }>[] = [];
  for await (const event of engine.generate(JOB)) {
    if (event.type === "step") steps.push(event);
    if (event.type === "plan" || wordOf(event) === "encode" || event.type === "step") nowMs += 5000;
  }
  const [first, second, third] = steps.map(({ stepMs }) => stepMs);
  assert.ok(first! > 0 && first! < 5000 && first! % 7 === 0, String(first));
  // The first has the prompt's projections besides.
  assert.ok(second === third && second! <= first!, String([first, second, third]));
  const eta = steps.map(({ etaMs }) => etaMs);
  assert.deepEqual(eta, [2 * first!, (first! + 5000 + second!) / 2, 0]);
  assert.equal(steps[2]!.elapsedMs - steps[1]!.elapsedMs, 5000 + third!);
});

test("a retry counts its own steps; its plan is told again", async () => {
  let nowMs = 0;
  let losesIn = 0;
  let runsOfStep = 0;
  const before = (call: DeviceCall, _: number, device: FaultyDevice) => {
    if (call !== "run") return;
    nowMs += 7;
    if (losesIn > 0 && ++runsOfStep === 2) device.lose();
  };
  const second = new SlowDevice({
    before: (call) => {
      if (call === "run") nowMs += 7;
    },
  });
  const first = new SlowDevice({ before });
  const reopen = async () => {
    await first[Symbol.asyncDispose]();
    return second;
  };
  const { engine } = await openBench({ compute: { reopen }, host: { now: () => nowMs } }, first);
  const words: string[] = [];
  const etas: number[] = [];
  let stepMs = 0;
  for await (const event of engine.generate({ ...JOB, steps: 4 })) {
    words.push(wordOf(event));
    if (event.type !== "step") continue;
    if (event.step === 2) losesIn = 1;
    if (event.step === 3) etas.push(event.etaMs, event.stepMs);
    stepMs = event.stepMs;
  }
  assert.deepEqual(words.slice(5, 11), ["step 2", "note", "plan", "encode", "denoise", "step 3"]);
  assert.ok(stepMs > 0);
  assert.deepEqual(etas[0], etas[1], "one step is left, and one was made since");
  const ended = engine[Symbol.asyncDispose]();
  assert.ok(!second.ended);
  await ended;
  assert.ok(second.ended, "the device that stood in for the first");
});

test("rates of a whole image are kept before it is told; of one begun twice they are not", async () => {
  for (const spoilt of [false, true]) {
    let nowMs = 0;
    let reads = 0;
    const saved: string[] = [];
    const { engine } = await openBench({
      faults: {
        before: (call) => {
          if (call === "run") nowMs += 500;
        },
        onRead: (graph, into) => {
          if (spoilt && /step/.test(graph.name) && reads++ === 1) into[0] = Number.NaN;
        },
      },
      compute: {
        precision: "fp16",
        saveRates: async (size, { gflops }) => {
          await turns(3);
          saved.push(`${size} ${gflops > 0}`);
        },
      },
      host: { now: () => nowMs },
    });
    const events = await Array.fromAsync(engine.generate(JOB));
    const image = events.at(-1)!;
    assert.ok(image.type === "image");
    // Begun anew, two steps are left after the first.
    const first = events.findLast((event) => event.type === "step" && event.step === 1);
    assert.ok(first?.type === "step" && first.etaMs === 2 * first.stepMs, JSON.stringify(first));
    assert.equal(image.precision, spoilt ? "fp32" : "fp16");
    assert.equal(saved.length, spoilt ? 0 : 1, saved.join());
    if (!spoilt) assert.match(saved[0]!, /^1e\d+ true$/);
    await engine[Symbol.asyncDispose]();
  }
});

test("that weights come slowly is told where they do, and where they have a way to go", async () => {
  for (const [shares, slows, told] of [
    [false, true, 1],
    [false, false, 0],
    [true, true, 0],
  ] as const) {
    let tickMs = 0.01;
    let nowMs = 0;
    const now = () => {
      nowMs += tickMs;
      return nowMs;
    };
    const device = Object.defineProperty(new SlowDevice(), "sharesHostMemory", { value: shares });
    const { engine } = await openBench({ host: { now }, model: larger, budgets: { vram: bytes(1500 * 1024) } }, device);
    const notes: string[] = [];
    for await (const event of engine.generate({ ...JOB, steps: 5 })) {
      if (event.type === "step" && event.step === 3 && slows) tickMs *= 10;
      if (event.type === "note") notes.push(event.text);
    }
    assert.equal(notes.length, told, notes.join());
    await engine[Symbol.asyncDispose]();
  }
});

test("budgets add up: the engine's own, those of a plan, those set later; refused ones leave no trace", async (t) => {
  const asked: Budgets[] = [];
  const resolveBudgets: typeof host.resolveBudgets = (budgets, machine) => {
    if (budgets.ram && "bytes" in budgets.ram && budgets.ram.bytes === 1) {
      throw new UsageError({ code: "E_BUDGET", problem: "too little", next: "give more" });
    }
    asked.push(budgets);
    return host.resolveBudgets(budgets, machine);
  };
  const [vram, ram] = [bytes(2 * GiB), bytes(GiB)];
  const { engine } = await openBench({ budgets: { vram }, host: { resolveBudgets } });
  t.after(() => engine[Symbol.asyncDispose]());
  const last = async (work: () => Promise<unknown>) => {
    asked.length = 0;
    await work();
    return asked.at(-1);
  };
  assert.deepEqual(await last(() => engine.plan(JOB)), { vram });
  assert.deepEqual(await last(() => engine.plan(JOB, { budgets: { ram } })), { vram, ram });
  assert.deepEqual(await last(() => engine.plan(JOB, { budgets: { vram: ram } })), { vram: ram });
  assert.deepEqual(await last(() => engine.setBudgets({ ram })), { vram, ram });
  await assert.rejects(engine.setBudgets({ ram: bytes(1) }), UsageError);
  assert.deepEqual(await last(() => engine.plan(JOB)), { vram, ram });
  assert.deepEqual(await last(() => engine.plan(JOB, { as: "gtx1060-6g" })), {});
  const [here, card] = [await engine.plan(JOB), await engine.plan(JOB, { as: "gtx1060-6g" })];
  assert.match(card.basis, /GTX 1060/);
  assert.ok(!/GTX 1060/.test(here.basis));
  // This device takes 1000 bytes for itself; a card's driver takes megabytes.
  assert.ok(
    card.overheadBytes > 2 ** 20 && here.overheadBytes < 2 ** 20,
    `${card.overheadBytes} ${here.overheadBytes}`,
  );
  await assert.rejects(engine.plan({ ...JOB, width: 1 }), UsageError);
  await assert.rejects(imageOf(engine, { ...JOB, width: 1 }), UsageError);
});

test("memory that a card doesn't have is not planned with again", async (t) => {
  let refuses = true;
  const before = (call: DeviceCall, count: number) => {
    if (!refuses || call !== "createArena" || count < 3) return;
    refuses = false;
    throw shortError("weights");
  };
  const { engine } = await openBench({ faults: { before } });
  t.after(() => engine[Symbol.asyncDispose]());
  const ample = await engine.plan(JOB);
  const image = await imageOf(engine);
  assert.ok(!refuses);
  const later = await engine.plan(JOB);
  assert.ok(later.budgets.deviceBytes < ample.peak.deviceBytes, "the smaller budget holds for images to come");
  assert.ok(image.peakDeviceBytes <= later.budgets.deviceBytes);
  sameBytes((await imageOf(engine)).bytes, image.bytes, "another budget, the same picture");
  await assert.rejects(
    engine.setBudgets({ vram: bytes(1024) }).then(() => imageOf(engine)),
    BudgetError,
  );
});

test("what the engine says of itself and its model: names, sizes, notes, what its weights take", async () => {
  const events: string[] = [];
  const held = 123 * 2 ** 20;
  const open: typeof found.open = async (options) => {
    const opened = await found.open(options);
    const { checkpoint } = opened;
    Object.defineProperty(checkpoint, "defaults", { value: { ...checkpoint.defaults, width: 16, height: 24 } });
    Object.defineProperty(checkpoint, "notes", { value: ["of the model"] });
    return Object.assign(opened, { artifactName: "a.lzr2", heldBytes: held });
  };
  const { engine, device } = await openBench({
    compute: { note: "of the card", precision: "fp16 (x)" },
    model: { name: "as named", demo: true, open },
    onEvent: (event) => events.push(JSON.stringify(event)),
  });
  const { info } = engine;
  assert.deepEqual([info.demo, info.artifact, info.backend, info.precision], [true, "a.lzr2", "reference", "fp16 (x)"]);
  assert.deepEqual([info.defaultWidth, info.defaultHeight], [16, 24]);
  assert.match(info.model, /flat$/);
  assert.deepEqual(events, [
    '{"type":"model","path":"as named","demo":true,"backend":"reference"}',
    '{"type":"note","text":"of the card"}',
    '{"type":"note","text":"of the model"}',
  ]);
  const { processBytes } = await engine.plan(JOB);
  assert.ok(processBytes >= host.processBytes + held && processBytes < host.processBytes + held + 2 ** 20);
  const ended = engine[Symbol.asyncDispose]();
  assert.ok(!device.ended);
  await ended;
  assert.ok(device.ended, "closing waits for the device's end");
});

test("an artifact's way is told with its own time and the process's memory; its import's budget has the process in it", async () => {
  let nowMs = 1000;
  const events: LoadEvent[] = [];
  const totals = { applied: 3, untouched: 2, missing: 1, skippedOverlayRows: 4 };
  const budgets: ImportBudget[] = [];
  const open: typeof found.open = async (options) => {
    nowMs += 5;
    options.onArtifact?.({ type: "record", count: 7, key: "k", readBytes: 8, totalBytes: 9 });
    nowMs += 5;
    options.onArtifact?.({ type: "done", ...totals });
    budgets.push(await options.importBudget(memoryStore(new MemoryFs())));
    return await found.open(options);
  };
  for (const shares of [false, true]) {
    const device = Object.defineProperty(new SlowDevice(), "sharesHostMemory", { value: shares });
    const { engine } = await openBench(
      {
        host: { now: () => nowMs, memory: () => ({ rssBytes: 11, peakRssBytes: 22 }) },
        model: { open },
        budgets: { vram: bytes(GiB), ram: bytes(2 * GiB) },
        onEvent: (event) => events.push(event),
      },
      device,
    );
    await engine[Symbol.asyncDispose]();
  }
  assert.deepEqual(events.slice(0, 2), [
    { type: "module", count: 7, key: "k", readBytes: 8, totalBytes: 9, rssBytes: 11, elapsedMs: 5 },
    { type: "artifact", ...totals, elapsedMs: 10 },
  ]);
  assert.deepEqual(
    budgets.map(({ memory }) => memory),
    ["ram", "device"],
  );
  const { ledger } = budgets[0]!;
  assert.deepEqual(ledger.held(), [{ tier: "ram", label: "process", lengthBytes: host.processBytes }]);
  assert.throws(() => ledger.reserve("ram", 2 * GiB, "all of it"), BudgetError);
  assert.throws(() => ledger.reserve("device", GiB + 1, "more"), BudgetError);
});
