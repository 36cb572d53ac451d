/** @file Pictures side by side in one pass: whose fault is whose, whose signal stops what, and what is read for all of them. */
import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { test } from "node:test";
import type { Arena, Device } from "../../src/backend/device.ts";
import { HostDevice } from "../../src/backend/host-device.ts";
import { createReferenceBackend } from "../../src/backend/reference/backend.ts";
import type { TensorEntry } from "../../src/container/table.ts";
import { GraphBuilder } from "../../src/ir/builder.ts";
import { Ledger } from "../../src/ledger/ledger.ts";
import { describePhase } from "../../src/plan/describe.ts";
import { makePlan } from "../../src/plan/planner.ts";
import { smallestDeviceBytes } from "../../src/plan/requirements.ts";
import { type BlockReader, TableBlocks } from "../../src/stream/blocks.ts";
import { LaneRuns, type PassOptions, type PassRun, SignalOfAll } from "../../src/stream/lanes.ts";
import { upcomingUses } from "../../src/stream/pass-weights.ts";
import { OpenPhase } from "../../src/stream/phase.ts";
import { Telemetry } from "../../src/stream/telemetry.ts";
import { WeightPool } from "../../src/stream/weight-pool.ts";
import { TEST_MACHINE } from "../graph-run.ts";

const run = (picture: number, options: PassOptions = {}): PassRun => ({
  lane: picture,
  picture,
  inputs: new Map(),
  options,
});

const aborted = (reason: string): AbortSignal => AbortSignal.abort(reason);

/** What became of each: its reason, "done", or nothing yet. */
const fates = (runs: LaneRuns) =>
  runs.results.map((result) => result && (result.status === "rejected" ? result.reason : "done"));

test("what is shared stops once each picture that shares it is stopped, and never before", () => {
  for (const count of [1, 2, 3]) {
    const stops = Array.from({ length: count }, () => new AbortController());
    for (let last = 0; last < count; last++) {
      const fresh = stops.map(() => new AbortController());
      const all = new SignalOfAll(fresh.map(({ signal }) => signal));
      for (const [i, stop] of fresh.entries()) if (i !== last) stop.abort(`of ${i}`);
      assert.equal(all.signal!.aborted, false, `${last} of ${count} goes on`);
      fresh[last]!.abort(`of ${last}`);
      assert.equal(all.signal!.aborted, true);
      // The first picture's, whoever was the last.
      assert.equal(all.signal!.reason, "of 0");
    }
  }
  // All are stopped before it begins; some; or one that can't be stopped.
  assert.equal(new SignalOfAll([aborted("a"), aborted("b")]).signal!.aborted, true);
  assert.equal(new SignalOfAll([aborted("a"), new AbortController().signal]).signal!.aborted, false);
  for (const signals of [[undefined], [aborted("a"), undefined], [undefined, aborted("a")]]) {
    assert.notEqual(new SignalOfAll(signals).signal?.aborted, true);
  }
});

test("a pass leaves no listener on the signals of its pictures, which outlive it", () => {
  const stops = [new AbortController(), new AbortController()];
  {
    using _ = new SignalOfAll(stops.map(({ signal }) => signal));
    for (const { signal } of stops) assert.equal(getEventListeners(signal, "abort").length, 1);
  }
  for (const { signal } of stops) assert.equal(getEventListeners(signal, "abort").length, 0);
});

test("one picture's fault, stop or end is its own, stays as it is, and takes it out of all that follows", async () => {
  const stop = new AbortController();
  const runs = new LaneRuns([run(7), run(8), run(9, { signal: stop.signal }), run(10, { signal: stop.signal })]);
  await runs.each(async ({ picture }) => {
    if (picture === 8) throw "broken";
  });
  assert.deepEqual(fates(runs), [undefined, "broken", undefined, undefined]);
  runs.finish(2, new Map());
  assert.deepEqual([runs.pictures, runs.finished, runs.isOver], [[7, 10], [9], false]);
  stop.abort("enough");
  runs.dropAborted();
  assert.deepEqual(fates(runs), [undefined, "broken", "done", "enough"]);
  const asked: number[] = [];
  await runs.each(async ({ picture }, at) => void asked.push(picture, at));
  assert.deepEqual(asked, [7, 0]);
  assert.equal(await runs.all(async () => "weights"), "weights");
  assert.equal(await runs.all(() => Promise.reject("disk")), undefined);
  assert.deepEqual(fates(runs), ["disk", "broken", "done", "enough"]);
  assert.deepEqual([runs.pictures, runs.finished, runs.isOver], [[], [9], true]);
});

test("what goes wrong for all is told to each that goes on; one that was stopped meanwhile hears its own reason", async () => {
  const runs = new LaneRuns([
    run(0),
    run(1, { signal: aborted("mine") }),
    run(2, { signal: new AbortController().signal }),
  ]);
  await runs.all(() => Promise.reject("disk"));
  assert.deepEqual(fates(runs), ["disk", "mine", "disk"]);
});

/** Segments, each with weights of one letter ("-": none): x becomes x * 0.75, plus each of them. */
function network(segments: Iterable<string>) {
  const g = new GraphBuilder("net");
  let x = g.input("x", [4]);
  const letters = new Set([...segments].join("").replaceAll("-", ""));
  const weights = new Map([...letters].map((name) => [name, g.weight(name, [4])]));
  for (const [i, names] of [...segments].entries()) {
    x = g.segment(`s${i}`, () => {
      let y = g.node("scale", [x], { factor: 0.75 });
      for (const name of names) if (name !== "-") y = g.node("add", [y, weights.get(name)!], {});
      return y;
    });
  }
  g.output("y", x);
  return g.build();
}

/** Each weight is a block of its own, whichever segment reads it. */
function readerOf(read: (name: string, signal?: AbortSignal) => Promise<void> = async () => {}): BlockReader {
  const table = new Map(
    [..."abcd"].map((name, i): [string, TensorEntry] => {
      const source = {
        name,
        byteLength: 16,
        read: async (_: number, into: Uint8Array, signal?: AbortSignal) => {
          await read(name, signal);
          into.set(new Uint8Array(new Float32Array(4).fill(i + 1).buffer));
        },
        async [Symbol.asyncDispose]() {},
      };
      return [name, { name, dtype: "f32", shape: [4], source, startByte: 0, endByte: 16 }];
    }),
  );
  const own = new TableBlocks("t", table);
  return {
    readBytes: 0,
    blocks: (_, names) => names.flatMap((name) => own.blocks(name, [name])),
    read: (...block) => own.read(...block),
  };
}

test("looked ahead: the next three uses of weights, of which one that is read again at once is one, and none are no use", () => {
  const reader = readerOf();
  for (const [passes, expected] of [
    [["abcd"], "abc"],
    [["aab-bccd"], "abc"],
    [["a", "-", "ba"], "aba"],
    [["ab", "bc"], "abc"],
    [["--"], ""],
    [[["ab", "a", "ab", "ab"]], "ab a ab"],
  ] as const) {
    const uses = upcomingUses(passes.map((segments) => ({ graph: network(segments), reader })));
    const letters = uses.map(({ blocks }) => blocks.map(({ key }) => key.at(-1)).join(""));
    assert.equal(letters.join(expected.includes(" ") ? " " : ""), expected);
  }
});

/** A phase of three lanes over `names`, with room for all weights, or for two at a time. */
async function threeLanes(
  { names, streams = false }: { readonly names: string; readonly streams?: boolean },
  read: Parameters<typeof readerOf>[0],
  body: (phase: OpenPhase, telemetry: Telemetry) => Promise<void>,
  device: HostDevice = new HostDevice(createReferenceBackend()),
) {
  const [graph, reader] = [network(names), readerOf(read)];
  const pass = { id: "step", graph, component: "t", repeats: 2, cyclic: true, links: [] };
  const described = { id: "run", title: "run", passes: [pass], hostBytes: 0, spilledBytes: 0 };
  const input = {
    device,
    machine: TEST_MACHINE,
    budgets: { deviceBytes: 2 ** 20, ramBytes: 2 ** 20 },
    processBytes: 0,
    phases: [describePhase(device, described, () => reader.blocks.bind(reader))],
    lanes: 3,
  };
  const twoSlots = { ramBytes: 2 ** 20, deviceBytes: smallestDeviceBytes(input) + SLOT_BYTES };
  const plan = makePlan(streams ? { ...input, budgets: twoSlots } : input);
  const ledger = new Ledger({ device: 2 ** 20, ram: 16, disk: 0 });
  {
    const [telemetry, now] = [new Telemetry(), () => 0];
    await using pool = new WeightPool({ now, onLoad: (timing) => telemetry.load(timing) });
    await using weights = await pool.open(plan, "run", device, ledger);
    const context = { device, ledger, weights, telemetry, now, pause: async () => {} };
    const passes = [{ graph, plan: plan.phases[0]!.passes[0]!, reader }];
    await using phase = await OpenPhase.open(plan.phases[0]!, passes, context);
    await body(phase, telemetry);
  }
  assert.deepEqual(ledger.held(), []);
}

const SLOT_BYTES = 64;
const INPUTS = [10, 20, 30].map((value) => new Map([["x", new Float32Array(4).fill(value)]]));
/** (x * 0.75 + 1) * 0.75 + 2, of 10, 20 and 30. */
const RESULTS = [8.375, 14, 19.625];

const together = (optionsOf: (at: number) => PassOptions): PassRun[] =>
  // Not in the order of their lanes.
  [2, 0, 1].map((lane, at) => ({ lane, picture: 40 + at, inputs: INPUTS[at]!, options: optionsOf(at) }));

const firstValues = (results: Awaited<ReturnType<OpenPhase["runTogether"]>>) =>
  results.map((result) => (result.status === "rejected" ? result.reason : result.value.get("y")![0]));

test("three pictures in one pass: each weight is read once, each picture has its own result, where it wants it", async () => {
  const reads: string[] = [];
  await threeLanes(
    { names: "ab" },
    async (name) => void reads.push(name),
    async (phase, telemetry) => {
      const place = new Float32Array(4);
      const looks: string[] = [];
      const runs = together((at) => ({
        ...(at === 1 && { into: new Map([["y", place]]) }),
        ...(at === 2 && { onSegment: (segment, [value]) => void looks.push(`${segment} ${value}`) }),
      }));
      assert.deepEqual(firstValues(await phase.runTogether("step", runs)), RESULTS);
      assert.deepEqual(reads, ["a", "b"]);
      assert.deepEqual(place, new Float32Array(4).fill(14));
      // 30 * 0.75 + 1 after the first.
      assert.deepEqual(looks, ["s0 23.5", "s1 19.625"]);
      for (const picture of [40, 41, 42]) {
        assert.deepEqual(
          telemetry.totals(picture).map(({ runs, loadedBytes }) => [runs, loadedBytes]),
          // A third of two blocks of 64 bytes, in whole ones.
          [[1, 43]],
        );
      }
    },
  );
});

test("a picture that is stopped, or that nobody can show, leaves the pass to the others; reads stop with the last of them", async () => {
  const stops = [new AbortController(), new AbortController(), new AbortController()];
  let onRead = (_name: string, _signal?: AbortSignal) => {};
  await threeLanes(
    { names: "ab" },
    async (name, signal) => onRead(name, signal),
    async (phase, telemetry) => {
      const signalOf = (at: number) => ({ signal: stops[at]!.signal });
      let heard: (boolean | undefined)[] = [];
      onRead = (name, signal) => {
        if (name !== "a") return;
        for (const [at, stop] of stops.entries()) {
          stop.abort(`stop ${at}`);
          heard.push(signal?.aborted);
        }
        signal?.throwIfAborted();
      };
      assert.deepEqual(firstValues(await phase.runTogether("step", together(signalOf))), [
        "stop 0",
        "stop 1",
        "stop 2",
      ]);
      assert.deepEqual(heard, [false, false, true]);
      assert.equal(telemetry.latest, undefined, "nothing ran");
      // Its read was stopped, and begins again. Two go on, whose reads no one stops.
      heard = [];
      onRead = (_, signal) => heard.push(signal?.aborted);
      const shown = { onSegment: () => assert.fail("can't be shown") };
      const results = await phase.runTogether(
        "step",
        together((at) => [signalOf(0), {}, shown][at]!),
      );
      assert.equal(results[0]!.status, "rejected");
      assert.match(String(firstValues(results)[2]), /can't be shown/);
      assert.deepEqual(firstValues(results).slice(0, 2), ["stop 0", 14]);
      assert.equal(heard.includes(true), false);
      assert.deepEqual(
        [40, 41, 42].map((picture) => telemetry.totals(picture)[0]!.runs),
        [0, 1, 0],
      );
    },
  );
});

test("what comes after is read ahead for the picture that goes on longest, wherever it stands among those side by side", async () => {
  for (const longest of [0, 1, 2]) {
    const reads: string[] = [];
    await threeLanes(
      { names: "abcd", streams: true },
      async (name) => void reads.push(name),
      async (phase) => {
        await phase.runTogether(
          "step",
          together((at) => (at === longest ? { upcoming: ["step"] } : at === 0 ? {} : { upcoming: [] })),
        );
      },
    );
    assert.deepEqual(reads, ["a", "b", "c", "d", "a"]);
  }
});

/** Says what it is asked to read and write, in which order it lies, and when it gives memory back. */
class ToldDevice extends HostDevice {
  readonly calls: string[] = [];

  constructor() {
    super(createReferenceBackend());
  }

  override async write(...args: Parameters<Device["write"]>): Promise<void> {
    this.calls.push(`write ${args[4] ?? "logical"}`);
    await super.write(args[0], args[1], args[2], args[3]);
  }

  override async read(...args: Parameters<Device["read"]>): Promise<void> {
    this.calls.push(`read ${args[4] ?? "logical"}`);
    await super.read(args[0], args[1], args[2], args[3]);
  }

  override async createArena(lengthBytes: number, label: string): Promise<Arena> {
    const arena = await super.createArena(lengthBytes, label);
    const free = arena[Symbol.dispose].bind(arena);
    return Object.assign(arena, {
      [Symbol.dispose]: () => {
        this.calls.push("free");
        free();
      },
    });
  }

  override async settle(): Promise<void> {
    this.calls.push("settle");
  }
}

test("the device is told which inputs and results lie in its order: those that were named, of that picture alone", async () => {
  const device = new ToldDevice();
  const run = async (phase: OpenPhase) => {
    const named = [["x"], [], ["y"]];
    await phase.runTogether(
      "step",
      together((at) => ({ inDeviceOrder: new Set(named[at]) })),
    );
    assert.deepEqual(device.calls, [
      ...["write device", "write logical", "write logical"],
      ...["read logical", "read logical", "read device"],
    ]);
  };
  await threeLanes({ names: "ab" }, async () => {}, run, device);
});

test("a phase gives no memory back before its device has done what it was asked for", async () => {
  const device = new ToldDevice();
  await threeLanes(
    { names: "ab" },
    async () => {},
    async () => {},
    device,
  );
  // Activations of three lanes, and weights.
  assert.deepEqual(device.calls, ["settle", "free", "free", "free", "free"]);
});
