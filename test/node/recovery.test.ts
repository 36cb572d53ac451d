/**
 * @file A device that breaks or runs short while a picture is made: the same picture on another device or with less memory, or
 * one clear error; the ledger ends where it began, and the next picture works.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import type { Device } from "../../src/backend/device.ts";
import { composeEngine } from "../../src/engine/engine.ts";
import { DeviceError, SolvayError } from "../../src/errors.ts";
import type { Graph } from "../../src/ir/graph.ts";
import type { DrawnState } from "../../src/job/types.ts";
import { openNodeParts } from "../../src/node/engine-parts.ts";
import { type FailedAttempt, reactionTo } from "../../src/pipeline/reaction.ts";
import { componentReaders } from "../../src/pipeline/readers.ts";
import { recoveredTextToImage } from "../../src/pipeline/recovery.ts";
import { Runtime } from "../../src/pipeline/runtime.ts";
import type { TextToImageJob } from "../../src/pipeline/text-to-image.ts";
import { type DeviceCall, type DeviceFaults, FaultyDevice, lostError, shortError } from "../faulty-device.ts";
import { TEST_MACHINE } from "../graph-run.ts";
import { openSdxlInMemory } from "../sdxl-folder.ts";
import { sameBytes } from "../support/same.ts";
import { searched } from "../support/thorough.ts";

const MODEL = fileURLToPath(new URL("../../fixtures/golden/flat", import.meta.url));
const LARGER = fileURLToPath(new URL("../../fixtures/golden/conv-proj", import.meta.url));
const checkpoint = await openSdxlInMemory(MODEL);
const JOB: TextToImageJob = {
  ...{ prompt: "a lake", seed: 1, steps: 2, guidance: 5, width: 16, height: 16 },
  sampler: "euler",
};
const PLENTY = 2 ** 30;
const OFTEN = new Set<DeviceCall>(["upload", "write", "run", "read"]);
const pause = () => new Promise<void>((resume) => setImmediate(resume));

/** An SDXL on one faulty device after the other: `faults` by device. */
class Bench {
  readonly devices: FaultyDevice[] = [];
  readonly notes: string[] = [];
  readonly runtime: Runtime;
  readonly #faults: (device: number) => DeviceFaults;
  /** Throws to keep devices from being opened. */
  onReopen = () => {};

  constructor(faults: (device: number) => DeviceFaults = () => ({}), deviceBytes = PLENTY) {
    this.#faults = faults;
    this.runtime = new Runtime(checkpoint, this.#open(), componentReaders(checkpoint, performance.now), {
      budgets: { deviceBytes, ramBytes: PLENTY },
      machine: TEST_MACHINE,
      rates: {},
      processBytes: 7,
      now: () => performance.now(),
      pause: async () => {},
    });
  }

  #open(): FaultyDevice {
    const device = new FaultyDevice(this.#faults(this.devices.length), 1000 + this.devices.length);
    this.devices.push(device);
    return device;
  }

  get last(): FaultyDevice {
    return this.devices.at(-1)!;
  }

  /** The device computes in less than fp32, unless graphs say otherwise. */
  hasLessThanFp32 = false;
  retry: string | undefined;
  /** What the next picture goes on from, and what it came to after each step. */
  from: DrawnState | undefined;
  readonly states: DrawnState[] = [];

  async draw(job: TextToImageJob = JOB, signal?: AbortSignal): Promise<Uint8Array> {
    const recovery = {
      reopen: async (): Promise<Device> => {
        this.onReopen();
        await this.last[Symbol.asyncDispose]();
        return this.#open();
      },
      hasLessThanFp32: this.hasLessThanFp32,
      shrink: (deviceBytes: number) => this.runtime.setBudgets({ ...this.runtime.budgets, deviceBytes }),
      pause,
    };
    for await (const event of recoveredTextToImage(this.runtime, job, recovery, signal, { from: this.from })) {
      // Devices differ: a plan is always that of the device at hand.
      if (event.type === "plan") assert.equal(event.planned.plan.device.overheadBytes, this.last.overheadBytes);
      if (event.type === "note") this.notes.push(event.text);
      if (event.type === "step")
        this.states.push({ ...event.state, ...(event.retry !== undefined && { retry: event.retry }) });
      if (event.type !== "pixels") continue;
      this.retry = event.retry;
      return event.rgb;
    }
    throw new Error("no picture");
  }

  /** The error that the picture ends with, and that nothing of it is left. */
  async fail(job = JOB, signal?: AbortSignal): Promise<unknown> {
    const error = await this.draw(job, signal).then(
      () => assert.fail("there should be no picture"),
      (reason: unknown) => reason,
    );
    assert.deepEqual(this.runtime.ledger.held(), [{ tier: "ram", label: "process", lengthBytes: 7 }]);
    for (const { live } of this.devices) assert.equal(live.size, 0);
    return error;
  }

  async requireClean(): Promise<void> {
    await this.runtime.releaseWeights();
    assert.deepEqual(this.runtime.ledger.held(), [{ tier: "ram", label: "process", lengthBytes: 7 }]);
    for (const { live } of this.devices) assert.equal(live.size, 0);
  }
}

const trace: DeviceCall[] = [];
const whole = new Bench(() => ({ before: (call) => void trace.push(call) }));
const expected = await whole.draw();
const CALLS = trace.length;
/** All that are rare, and some of the others. */
const POINTS = [...trace.keys()].filter((at) => at % searched(30, 9) === 0 || at > CALLS - 8 || !OFTEN.has(trace[at]!));
const losing = (at: number): DeviceFaults => ({ before: (_, count, device) => void (count === at && device.lose()) });

const FACTS: FailedAttempt = { broken: true, short: false, canReopen: true, reopened: false, lessBytes: undefined };

test("a broken device is replaced once, a budget shrinks while it can, all else ends", () => {
  const reopen = { reopen: true, shrinkTo: undefined };
  assert.deepEqual(reactionTo(FACTS), reopen);
  assert.equal(reactionTo({ ...FACTS, reopened: true }), undefined);
  assert.equal(reactionTo({ ...FACTS, canReopen: false }), undefined);
  assert.equal(reactionTo({ ...FACTS, broken: false }), undefined);
  const short = { ...FACTS, broken: false, short: true };
  assert.equal(reactionTo(short), undefined);
  assert.deepEqual(reactionTo({ ...short, lessBytes: 5, reopened: true }), { reopen: false, shrinkTo: 5 });
  assert.deepEqual(reactionTo({ ...short, broken: true, lessBytes: 5 }), { reopen: true, shrinkTo: 5 });
});

test("a device lost at any call: one note, the same picture from another device", async () => {
  const phases = new Set<string>();
  for (const at of POINTS) {
    const bench = new Bench((device) => (device === 0 ? losing(at) : {}));
    sameBytes(await bench.draw(), expected, `call ${at}`);
    assert.equal(bench.devices.length, 2, `call ${at}, ${trace[at]}`);
    const [, place] =
      /^E_GPU_LOST: the graphics device was lost \(unknown: hung\) (.+)\. Retrying once with smaller GPU work\.$/.exec(
        bench.notes.join("\n"),
      ) ?? assert.fail(bench.notes.join("\n"));
    phases.add(place!);
    await bench.requireClean();
  }
  assert.deepEqual([...phases].sort(), [
    "after the last step",
    "in step 1 of 2",
    "in step 2 of 2",
    "while the picture was decoded",
    "while the prompt was read",
  ]);
  assert.equal(new Set(POINTS.map((at) => trace[at])).size, 7);
});

test("a loss that is reported after the refusal that it causes is a loss", async () => {
  const bench = new Bench((device) => ({
    before: (_, count, self) => {
      if (device > 0 || count !== CALLS - 40) return;
      setImmediate(() => {
        self.failure = lostError();
      });
      throw new Error("a valid external Instance reference no longer exists");
    },
  }));
  sameBytes(await bench.draw(), expected);
  assert.equal(bench.devices.length, 2);
  await bench.requireClean();
});

test("a retry goes on after the last step, whichever group of time embeddings it is in", async () => {
  const job = { ...JOB, steps: 36, guidance: 1 };
  const undisturbed = new Bench();
  const picture = await undisturbed.draw({ ...job, steps: 70 });
  const bench = new Bench((device) => (device > 0 ? {} : losing(undisturbed.last.calls - 300)));
  sameBytes(await bench.draw({ ...job, steps: 70 }), picture);
  const step = Number(/in step (\d+) of 70/.exec(bench.notes[0]!)![1]);
  assert.ok(step > 65 && step < 70, `${step}: the second group begins with step 65`);
  assert.ok(bench.last.calls < undisturbed.last.calls / 2, `${bench.last.calls} calls of ${undisturbed.last.calls}`);
});

test("a second loss in one picture ends it; the next one opens a device first", async () => {
  const bench = new Bench((device) => [losing(CALLS - 90), losing(20)][device] ?? {});
  const error = await bench.fail();
  assert.ok(error instanceof DeviceError && error.code === "E_GPU_LOST", String(error));
  assert.match(error.message, /^E_GPU_LOST: .* again after a retry\. Next: /);
  assert.equal(bench.devices.length, 2);
  sameBytes(await bench.draw(), expected);
  assert.equal(bench.devices.length, 3);
  assert.match(bench.notes.at(-1)!, /Opening it again/);
  await bench.requireClean();
});

test("an error that breaks the device is tried again on a new one; one that doesn't is not", async () => {
  const refusal = new DeviceError({ code: "E_GPU", subject: "gemm", problem: "refused", next: "report it" });
  const poisoned = new Bench((device) => ({
    before: (_, count, self) => {
      if (device > 0 || count !== CALLS - 40) return;
      self.failure = refusal;
      throw refusal;
    },
  }));
  sameBytes(await poisoned.draw(), expected);
  assert.match(poisoned.notes.join(), /^E_GPU gemm: refused .*Retrying once with a new device\.$/);
  const stale = new Bench(() => ({
    before: (_, count) => {
      if (count >= CALLS - 40) throw count === CALLS - 40 ? refusal : new Error("settling fails, too");
    },
  }));
  assert.equal(await stale.draw().catch((error: unknown) => error), refusal);
  assert.equal(stale.devices.length, 1);
  await stale.requireClean();
});

test("a device that can't be opened again ends the picture with that reason, and may be there for the next", async () => {
  const unstable = new DeviceError({ code: "E_GPU_UNSTABLE", problem: "lost 3 times", next: "wait" });
  const bench = new Bench((device) => (device === 0 ? losing(CALLS - 60) : {}));
  bench.onReopen = () => {
    throw unstable;
  };
  assert.equal(await bench.fail(), unstable);
  assert.equal(await bench.fail(), unstable);
  bench.onReopen = () => {};
  sameBytes(await bench.draw(), expected);
});

test("work that was stopped isn't tried again, also when the device breaks meanwhile", async () => {
  const stop = new AbortController();
  const bench = new Bench(() => ({
    before: (call, count, self) => {
      if (count < CALLS - 60 || call !== "run") return;
      stop.abort(new DOMException("enough", "AbortError"));
      self.failure = lostError();
      throw stop.signal.reason;
    },
  }));
  const error = await bench.draw(JOB, stop.signal).catch((reason: unknown) => reason);
  assert.equal(error, stop.signal.reason);
  assert.equal(bench.devices.length, 1);
  await bench.requireClean();
});

const isAllocation = (call: DeviceCall) => call === "createArena" || call === "createScratch";
/** Refuses the allocations of which `refuse` says so, counted from 0 over all attempts. */
const shortOf = (refuse: (allocation: number) => boolean): DeviceFaults => {
  let allocations = 0;
  return {
    before: (call) => {
      if (isAllocation(call) && refuse(allocations++)) throw shortError("arena");
    },
  };
};

test("memory refused at any allocation: less of it is planned with, and the picture is the same", async () => {
  let refusals = 0;
  for (let at = 0; ; at++) {
    let refused = false;
    const bench = new Bench(() =>
      shortOf((allocation) => {
        refused ||= allocation === at;
        return allocation === at;
      }),
    );
    sameBytes(await bench.draw(), expected, `allocation ${at}`);
    if (!refused) break;
    refusals++;
    assert.match(bench.notes.join("\n"), /^E_VRAM .*needs .*, budget has .* free of 1\.00 GiB.*--vram 1M\.$/);
    assert.equal(bench.runtime.budgets.deviceBytes, 2 ** 20);
    await bench.requireClean();
  }
  assert.ok(refusals >= 9, `${refusals} allocations`);
});

test("memory refused from any allocation on: E_VRAM with numbers, and the next picture is right", async () => {
  for (let from = 0; from < 9; from++) {
    let refusing = true;
    const bench = new Bench(() => shortOf((allocation) => refusing && allocation >= from));
    const error = await bench.fail();
    assert.ok(error instanceof SolvayError && error.code === "E_VRAM", String(error));
    assert.match(error.message, /needs [\d.]+ [KM]iB, budget has [\d.]+ [KM]iB free of [\d.]+ [MG]iB/);
    assert.ok(bench.notes.length >= 1);
    refusing = false;
    sameBytes(await bench.draw(), expected);
    await bench.requireClean();
  }
});

test("memory that breaks the device at any allocation: another device, less memory, the same picture", async () => {
  for (let at = 0; at < 9; at++) {
    let allocations = 0;
    const bench = new Bench((device) => ({
      before: (call, _, faulty) => {
        if (device > 0 || !isAllocation(call) || allocations++ !== at) return;
        faulty.failure = shortError("card");
        throw faulty.failure;
      },
    }));
    sameBytes(await bench.draw(), expected, `allocation ${at}`);
    assert.equal(bench.devices.length, 2);
    assert.equal(bench.notes.length, 1);
    assert.match(bench.notes[0]!, /^E_VRAM .*--vram 1M\.$/);
    await bench.requireClean();
  }
});

test("values that are no numbers end the picture and name the place; a picture of one colour is told", async () => {
  let steps = 0;
  const spoil = (when: (name: string) => boolean, value: number) =>
    new Bench(() => ({ onRead: (graph, into) => void (when(graph.name) && into.fill(value)) }));
  const names = new Set<string>();
  await spoil((name) => !names.add(name), 0).draw();
  const [stepName] = [...names].filter((name) => /step/.test(name));
  const inStep2 = await spoil((name) => name === stepName && ++steps === 2, Number.NaN)
    .draw()
    .catch((error: unknown) => error);
  assert.match(String(inStep2), /E_NAN.*step 2/);
  const encoder = /clip|text|unet/;
  const decoded = await spoil((name) => !encoder.test(name), Number.POSITIVE_INFINITY)
    .draw()
    .catch((error: unknown) => error);
  assert.match(String(decoded), /E_NAN.*decoded picture/);
  const flat = spoil((name) => !encoder.test(name), -1);
  await flat.draw();
  assert.match(flat.notes.join("\n"), /^E_FLAT all of the picture is #000000/);
  assert.deepEqual(whole.notes, []);
});

test("values beyond fp16 are computed once more in fp32, from the start; the next picture begins as declared", async () => {
  const encodings = (graphs: readonly { readonly name: string }[]) =>
    graphs.filter(({ name }) => name === "clip").length;
  const sound: Graph[] = [];
  await new Bench(() => ({ onRead: (graph) => void sound.push(graph) })).draw();
  const read: Graph[] = [];
  let declaredSteps = 0;
  const spoiled = new Bench(() => ({
    onRead: (graph, into) => {
      read.push(graph);
      if (/step/.test(graph.name) && !graph.fp32 && ++declaredSteps > 1) into[3] = Number.POSITIVE_INFINITY;
    },
  }));
  spoiled.hasLessThanFp32 = true;
  for (let picture = 1; picture <= 2; picture++) {
    declaredSteps = 0;
    read.length = 0;
    spoiled.notes.length = 0;
    sameBytes(await spoiled.draw(), expected);
    const what = "the UNet's prediction in step 2 is not a number at element 3 of \\d+, first in conv_in";
    assert.match(spoiled.notes[0]!, new RegExp(`^E_NAN: ${what}\\. Retrying once in fp32\\.$`));
    assert.equal(spoiled.retry, "E_NAN in step 2 of 2. Retried in fp32: ok");
    assert.deepEqual(spoiled.notes.slice(1), [spoiled.retry]);
    const inFp32 = read.filter(({ fp32 }) => fp32);
    assert.equal(inFp32.filter(({ name }) => name === "unet.step").length, JOB.steps, "from the start, and all of it");
    // No embedding of one arithmetic goes into pictures of another; each is made once.
    const encoded = [encodings(read.filter(({ fp32 }) => !fp32)), encodings(inFp32)];
    assert.deepEqual(encoded, picture === 1 ? [encodings(sound), encodings(sound)] : [0, 0]);
  }
  await spoiled.requireClean();
});

test("a state of a picture that is made again in fp32 goes on in fp32, and the picture records it", async () => {
  let spoils = true;
  const read: Graph[] = [];
  const bench = new Bench(() => ({
    onRead: (graph, into) => {
      read.push(graph);
      if (spoils && /step/.test(graph.name) && !graph.fp32) into[3] = Number.NaN;
    },
  }));
  bench.hasLessThanFp32 = true;
  sameBytes(await bench.draw(), expected);
  const { retry } = bench;
  assert.deepEqual(
    bench.states.map((state) => [state.step, state.retry]),
    [
      [1, retry],
      [2, retry],
    ],
  );
  spoils = false;
  for (const from of bench.states) {
    read.length = 0;
    bench.retry = undefined;
    bench.from = from;
    sameBytes(await bench.draw(), expected);
    assert.equal(bench.retry, retry);
    assert.ok(
      read.every(({ fp32 }) => fp32),
      "nothing in less",
    );
  }
  await bench.requireClean();
});

test("values that are no numbers in fp32 either end the picture", async () => {
  const bench = new Bench(() => ({ onRead: (_, into) => void into.fill(Number.NaN) }));
  bench.hasLessThanFp32 = true;
  const error = await bench.draw().catch((reason: unknown) => reason);
  assert.match(String(error), /E_NAN: the prompt's embedding is not a number at element 0/);
  assert.equal(bench.notes.length, 1);
  await bench.requireClean();
});

test("weights that come much slower than before are told once, by the engine's clock", async () => {
  const parts = await openNodeParts({ backend: "reference", model: LARGER }, (name) => name);
  let tickMs = 0.01;
  let nowMs = 0;
  const now = () => {
    nowMs += tickMs;
    return nowMs;
  };
  const device = new FaultyDevice();
  await using engine = await composeEngine({
    ...parts,
    compute: { ...parts.compute, device },
    host: { ...parts.host, now },
    budgets: { vram: { bytes: 1500 * 1024 } },
  });
  const notes: string[] = [];
  for await (const event of engine.generate({ prompt: "a lake", seed: 1, steps: 5, width: 16, height: 16 })) {
    if (event.type === "step" && event.step === 3) tickMs *= 10;
    if (event.type === "note") notes.push(event.text);
  }
  assert.equal(notes.length, 1, notes.join("\n"));
  assert.match(notes[0]!, /^Weights come to the graphics card at /);
});
