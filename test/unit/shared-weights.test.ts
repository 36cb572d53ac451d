/** @file Two phases over one network, as a picture and its enlargement: weights planned, allocated, uploaded and reported once. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HostDevice } from "../../src/backend/host-device.ts";
import { createReferenceBackend } from "../../src/backend/reference/backend.ts";
import type { TensorEntry, TensorTable } from "../../src/container/table.ts";
import { GraphBuilder } from "../../src/ir/builder.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { Ledger } from "../../src/ledger/ledger.ts";
import { describePhase } from "../../src/plan/describe.ts";
import { blocksThereBefore, type Plan } from "../../src/plan/plan.ts";
import type { PlanInput, PlanPhaseInput } from "../../src/plan/plan-input.ts";
import { makePlan } from "../../src/plan/planner.ts";
import { predictFill } from "../../src/plan/predict.ts";
import { reportPlan } from "../../src/plan/report.ts";
import { TableBlocks } from "../../src/stream/blocks.ts";
import { OpenPhase } from "../../src/stream/phase.ts";
import { Telemetry } from "../../src/stream/telemetry.ts";
import { WeightPool } from "../../src/stream/weight-pool.ts";
import { TEST_MACHINE } from "../graph-run.ts";

const OVERHEAD = 128;

/** A cyclic pass over blocks of 640 bytes, stored in 600, with activations of its own; `ms` of compute by block. */
function phase(id: string, keys: readonly string[], activationBytes: number, ms = keys.map(() => 1)): PlanPhaseInput {
  const segments = keys.map((key, i) => ({
    name: key,
    blocks: [{ key: `unet/${key}`, deviceBytes: 640, storedBytes: 600 }],
    flops: ms[i]! * 1e8, // at 100 GFLOP/s
    trafficBytes: 0,
    scratch: { sharedBytes: 0, privateBytes: 0 },
  }));
  const values = [{ id: 0, lengthBytes: activationBytes, firstUse: 0, lastUse: keys.length }];
  const pass = { id: `${id}/step`, repeats: 5, cyclic: true, segments, values };
  return { id, title: id, passes: [pass], links: [], hostBytes: 0, spilledBytes: 0 };
}

function inputFor(phases: readonly PlanPhaseInput[], deviceBytes: number): PlanInput {
  return {
    device: { name: "cpu", alignmentBytes: 64, overheadBytes: OVERHEAD, sharesHostMemory: true },
    machine: { ...TEST_MACHINE, overlaps: false },
    budgets: { deviceBytes, ramBytes: 1000 },
    processBytes: 0,
    phases,
  };
}

const pins = ({ phases }: Plan) =>
  phases.map(({ residency }) => residency.pinned.map(({ key }) => key.slice(-1)).join(""));

const FOUR = ["a", "b", "c", "d"];
const TWO_SIZES = [phase("draw", FOUR, 640), phase("enlarge", FOUR, 1280)];

test("all weights fit beside the larger activations: they are there once, for both phases", () => {
  const enough = OVERHEAD + 1280 + 4 * 640;
  const plan = makePlan(inputFor(TWO_SIZES, enough));
  assert.equal(plan.keepsAll, true);
  assert.equal(plan.weightBytes, 4 * 640);
  assert.deepEqual(
    plan.phases.map(({ deviceBytes }) => deviceBytes),
    [OVERHEAD + 640 + 4 * 640, enough],
  );
  assert.equal(plan.peak.deviceBytes, enough);
  const report = reportPlan(plan, TWO_SIZES);
  assert.equal(report.weightBytes, 4 * 640);
  assert.deepEqual(
    report.phases.map(({ pinnedBytes, sharedBytes }) => [pinnedBytes, sharedBytes]),
    [
      [2560, 0],
      [2560, 2560],
    ],
  );
  // 4 x 600 bytes at 2 GB/s, before the first phase alone.
  assert.ok(Math.abs(predictFill(plan, TWO_SIZES[0]!, 0).ms - 2400 / 2e6) < 1e-12);
  assert.equal(predictFill(plan, TWO_SIZES[1]!, 1).ms, 0);
});

test("a byte less: the larger phase streams, what it pins stays from the smaller one, which pins all", () => {
  const plan = makePlan(inputFor(TWO_SIZES, OVERHEAD + 1280 + 4 * 640 - 1));
  assert.equal(plan.keepsAll, false);
  // 2559 bytes for weights: two slots of 640 and one pin. The smaller phase has room for all four.
  const [draw, enlarge] = plan.phases;
  assert.deepEqual([draw!.residency.pinnedBytes, draw!.residency.ringBytes], [4 * 640, 0]);
  assert.deepEqual([enlarge!.residency.pinnedBytes, enlarge!.residency.ringBytes], [640, 2 * 640]);
  assert.deepEqual(
    draw!.keptKeys,
    enlarge!.residency.pinned.map(({ key }) => key),
  );
  assert.deepEqual(enlarge!.keptKeys, []);
  assert.deepEqual([draw!.passes[0]!.movedBytes, enlarge!.passes[0]!.movedBytes], [0, 3 * 600]);
  assert.equal(plan.peak.deviceBytes, Math.max(OVERHEAD + 640 + 4 * 640, OVERHEAD + 1280 + 3 * 640));
  assert.deepEqual([...blocksThereBefore(plan, 1)], draw!.keptKeys);
  assert.equal(reportPlan(plan, TWO_SIZES).phases[1]!.sharedBytes, 640);
  assert.match(draw!.reasons.at(-1)!, /^kept: 640 B of the weights stay for enlarge/);
});

test("where both stream, the roomier phase pins what the tighter one does, and more", () => {
  const keys = ["a", "b", "c", "d", "e", "f", "g", "h"];
  // Compute is long at other places: alone, each would stream other blocks.
  const draw = phase("draw", keys, 640, [1, 1, 1, 9, 1, 1, 1, 9]);
  const enlarge = phase("enlarge", keys, 640 + 2 * 640, [9, 1, 1, 1, 9, 1, 1, 1]);
  const deviceBytes = OVERHEAD + enlarge.passes[0]!.values[0]!.lengthBytes + 5 * 640;
  const [drawAlone] = pins(makePlan(inputFor([draw], deviceBytes)));
  const [enlargeAlone] = pins(makePlan(inputFor([enlarge], deviceBytes)));
  assert.ok(
    [...enlargeAlone!].some((key) => !drawAlone!.includes(key)),
    `${drawAlone} holds all of ${enlargeAlone}`,
  );
  const together = makePlan(inputFor([draw, enlarge], deviceBytes));
  const [drawPins, enlargePins] = pins(together);
  assert.equal(enlargePins, enlargeAlone);
  assert.ok(
    [...enlargePins!].every((key) => drawPins!.includes(key)),
    `${drawPins} lacks some of ${enlargePins}`,
  );
  assert.equal(drawPins!.length, drawAlone!.length);
  assert.deepEqual(together.phases[0]!.keptKeys.map((key) => key.slice(-1)).join(""), enlargePins);
});

test("neighbours without a common block keep nothing", () => {
  const other = phase("other", ["x", "y"], 640);
  const plan = makePlan(inputFor([TWO_SIZES[0]!, other, TWO_SIZES[1]!], OVERHEAD + 1280 + 3 * 640));
  assert.deepEqual(
    plan.phases.map(({ keptKeys }) => keptKeys.length),
    [0, 0, 0],
  );
});

const WIDTH = 16;

/** Four segments, each with one weight of 64 bytes. Activations: two values of `rows` x 64 bytes at a time. */
function network(rows: number): Graph {
  const g = new GraphBuilder("unet.step");
  let x = g.input("x", [rows, WIDTH]);
  for (const name of FOUR) {
    x = g.segment(name, () =>
      g.node("add", [g.node("scale", [x], { factor: 0.75 }), g.weight(`${name}.w`, [WIDTH])], {}),
    );
  }
  g.output("y", x);
  return g.build();
}

function weightTable(): TensorTable {
  return new Map(
    FOUR.map((segment, i): [string, TensorEntry] => {
      const name = `${segment}.w`;
      const bytes = new Uint8Array(Float32Array.from({ length: WIDTH }, (_, k) => Math.sin(i * 37 + k)).buffer);
      const source = {
        name: "test.safetensors",
        byteLength: bytes.length,
        read: async (startByte: number, into: Uint8Array) =>
          into.set(bytes.subarray(startByte, startByte + into.length)),
        async [Symbol.asyncDispose]() {},
      };
      return [name, { name, dtype: "f32", shape: [WIDTH], source, startByte: 0, endByte: bytes.length }];
    }),
  );
}

/** What runs an image of two phases, three passes each, and counts uploads by block. */
function studio(deviceBytes: number) {
  const device = new HostDevice(createReferenceBackend());
  const reader = new TableBlocks("unet", weightTable());
  const graphs = { draw: network(1), enlarge: network(4) };
  const phases = (["draw", "enlarge"] as const).map((id) => {
    const pass = { id: `${id}/step`, graph: graphs[id], component: "unet", repeats: 3, cyclic: true, links: [] };
    const described = { id, title: id, passes: [pass], hostBytes: 0, spilledBytes: 0 };
    return describePhase(device, described, () => reader.blocks.bind(reader));
  });
  const plan = makePlan({
    device,
    machine: TEST_MACHINE,
    budgets: { deviceBytes, ramBytes: 2 ** 30 },
    processBytes: 0,
    phases,
  });
  const uploads: string[] = [];
  const ledger = new Ledger({ device: deviceBytes, ram: 0, disk: 0 });
  const pool = new WeightPool({ now: () => 0, onLoad: ({ key }) => uploads.push(key.slice(-1)) });
  const run = async (id: "draw" | "enlarge", signal?: AbortSignal) => {
    const phase = plan.phases.find((other) => other.id === id)!;
    await using weights = await pool.open(plan, id, device, ledger);
    const context = { device, ledger, weights, telemetry: new Telemetry(), now: () => 0, pause: async () => {} };
    await using open = await OpenPhase.open(phase, [{ graph: graphs[id], plan: phase.passes[0]!, reader }], context);
    let x = Float32Array.from({ length: (id === "draw" ? 1 : 4) * WIDTH }, (_, i) => i / 7);
    for (let step = 0; step < 3; step++) {
      const upcoming = step < 2 ? [`${id}/step`] : [];
      x = (await open.run(`${id}/step`, new Map([["x", x]]), { upcoming, signal })).get("y")!;
    }
    return x;
  };
  const pinnedBytes = () => ledger.held().reduce((sum, { lengthBytes }) => sum + lengthBytes, 0);
  return { plan, uploads, ledger, pool, run, pinnedBytes };
}

const PLENTY = 2 ** 20;

test("resident: one upload a block for both phases and all images, within the planned peak", async () => {
  const { plan, uploads, ledger, pool, run, pinnedBytes } = studio(PLENTY);
  assert.equal(plan.keepsAll, true);
  for (let image = 0; image < 2; image++) {
    await run("draw");
    await run("enlarge");
    await pool.endImage();
    assert.deepEqual(uploads, FOUR);
    assert.equal(pinnedBytes(), 4 * 64);
  }
  assert.equal(ledger.state("device").peakBytes, plan.peak.deviceBytes);
  await pool.release();
  assert.deepEqual(ledger.held(), []);
});

test("not resident: kept blocks are uploaded once an image, others pass; the same numbers, nothing held at the end", async () => {
  const plenty = studio(PLENTY);
  const expected = [await plenty.run("draw"), await plenty.run("enlarge")];
  await plenty.pool.release();
  const { plan, uploads, ledger, pool, run, pinnedBytes } = studio(plenty.plan.peak.deviceBytes - 1);
  assert.deepEqual(pins(plan), ["abcd", plan.phases[1]!.residency.pinned.map(({ key }) => key.slice(-1)).join("")]);
  const [kept] = plan.phases[0]!.keptKeys.map((key) => key.slice(-1));
  assert.equal(plan.phases[0]!.keptKeys.length, 1);
  for (let image = 0; image < 2; image++) {
    uploads.length = 0;
    assert.deepEqual(await run("draw"), expected[0]);
    assert.equal(pinnedBytes(), 64);
    assert.deepEqual(uploads.toSorted(), FOUR);
    assert.deepEqual(await run("enlarge"), expected[1]);
    // Of the three that pass, the middle one has the second slot to itself: nothing overwrites it.
    const [first, middle, last] = FOUR.filter((key) => key !== kept);
    assert.deepEqual(uploads.slice(4).toSorted(), [first, first, first, middle, last, last, last]);
    assert.deepEqual(ledger.held(), []);
    await pool.endImage();
  }
  assert.equal(ledger.state("device").peakBytes, plan.peak.deviceBytes);
});

test("an image that ends early: what was kept for its next phase goes with it, or before the next image begins", async () => {
  const { plan, ledger, pool, run, pinnedBytes, uploads } = studio(studio(PLENTY).plan.peak.deviceBytes - 1);
  assert.equal(plan.keepsAll, false);
  await run("draw");
  assert.equal(pinnedBytes(), 64);
  await pool.endImage();
  assert.deepEqual(ledger.held(), []);
  const stop = new AbortController();
  stop.abort(new Error("enough"));
  await assert.rejects(run("draw", stop.signal), /enough/);
  uploads.length = 0;
  // Left without a word: the phase's own weights are all wanted again.
  await run("draw");
  await run("enlarge");
  assert.deepEqual(ledger.held(), []);
  assert.ok(ledger.state("device").peakBytes <= plan.peak.deviceBytes);
});

test("a plan of another picture size takes over the blocks that lie as it wants them; others are given back", async () => {
  const device = new HostDevice(createReferenceBackend());
  const ledger = new Ledger({ device: PLENTY, ram: 0, disk: 0 });
  await using pool = new WeightPool({ now: () => 0, onLoad: () => {} });
  const adapted = (keys: readonly string[]) => {
    const base = phase("draw", FOUR, 640);
    const [pass] = base.passes;
    const segments = pass!.segments.map((segment) => ({
      ...segment,
      blocks: [
        ...segment.blocks,
        ...keys.map((key) => ({ key: `${key}/${segment.name}`, deviceBytes: 64, storedBytes: 64 })),
      ],
    }));
    return makePlan(inputFor([{ ...base, passes: [{ ...pass!, segments }] }], PLENTY));
  };
  const held = () => ledger.held().map(({ lengthBytes }) => lengthBytes);
  const open = async (plan: Plan) => {
    await using _ = await pool.open(plan, "draw", device, ledger);
  };
  await open(adapted([]));
  assert.deepEqual(held(), [4 * 640]);
  await open(adapted(["lora"]));
  assert.deepEqual(held(), [4 * 640, 4 * 64]);
  assert.equal(await pool.makeRoom(adapted(["lora"]), "draw"), false);
  // Another adapter: the base weights stay where they are.
  await open(adapted(["other"]));
  assert.deepEqual(held(), [4 * 640, 4 * 64]);
  assert.equal(await pool.makeRoom(adapted([]), "draw"), true);
  assert.deepEqual(held(), [4 * 640]);
  // The same where they have come together.
  await pool.release();
  await open(adapted(["lora"]));
  assert.equal(await pool.makeRoom(adapted([]), "draw"), true);
  assert.deepEqual(held(), [4 * 640]);
  // What has one memory is given back whole where some of it is not wanted.
  assert.equal(await pool.makeRoom(makePlan(inputFor([phase("draw", ["a", "b"], 640)], PLENTY)), "draw"), true);
  assert.deepEqual(held(), []);
});

test("each block stays until the last of the phases in a row that keep it, and no longer", async () => {
  const device = new HostDevice(createReferenceBackend());
  const phases = [phase("one", FOUR, 640), phase("two", ["c", "d"], 640), phase("three", ["d"], 640)];
  const plan = makePlan(inputFor([...phases, phase("far", ["w", "x", "y", "z"], 640)], OVERHEAD + 640 + 4 * 640));
  assert.equal(plan.keepsAll, false);
  const ledger = new Ledger({ device: PLENTY, ram: 0, disk: 0 });
  await using pool = new WeightPool({ now: () => 0, onLoad: () => {} });
  const left: number[] = [];
  for (const { id } of plan.phases) {
    await (await pool.open(plan, id, device, ledger))[Symbol.asyncDispose]();
    left.push(ledger.state("device").usedBytes / 640);
  }
  assert.deepEqual(left, [2, 1, 0, 0]);
  assert.equal(ledger.state("device").peakBytes, 4 * 640);
});

test("blocks that lie otherwise in another plan (wider, or narrower) are given back, whatever their names", async () => {
  const device = new HostDevice(createReferenceBackend());
  for (const deviceBytes of [576, 704]) {
    const ledger = new Ledger({ device: PLENTY, ram: 0, disk: 0 });
    await using pool = new WeightPool({ now: () => 0, onLoad: () => {} });
    const plan = makePlan(inputFor([phase("draw", FOUR, 640)], PLENTY));
    const base = phase("draw", FOUR, 640);
    const segments = base.passes[0]!.segments.map((segment) => ({
      ...segment,
      blocks: segment.blocks.map((block) => ({ ...block, deviceBytes })),
    }));
    const other = makePlan(inputFor([{ ...base, passes: [{ ...base.passes[0]!, segments }] }], PLENTY));
    await (await pool.open(plan, "draw", device, ledger))[Symbol.asyncDispose]();
    assert.equal(await pool.makeRoom(plan, "draw"), false);
    assert.equal(await pool.makeRoom(other, "draw"), true);
    assert.deepEqual(ledger.held(), []);
  }
});

test("under a plan that keeps less than the one before, a phase begins with its own weights alone", async () => {
  const device = new HostDevice(createReferenceBackend());
  const phases = [phase("draw", FOUR, 640), phase("other", ["x", "y"], 640)];
  const all = makePlan(inputFor(phases, PLENTY));
  const tight = makePlan(inputFor(phases, OVERHEAD + 640 + 4 * 640));
  assert.deepEqual([all.keepsAll, tight.keepsAll], [true, false]);
  const ledger = new Ledger({ device: 6 * 640, ram: 0, disk: 0 });
  await using pool = new WeightPool({ now: () => 0, onLoad: () => {} });
  for (const id of ["draw", "other"]) await (await pool.open(all, id, device, ledger))[Symbol.asyncDispose]();
  assert.equal(ledger.state("device").usedBytes, 6 * 640);
  await using _ = await pool.open(tight, "draw", device, ledger);
  assert.equal(ledger.state("device").usedBytes, 4 * 640);
});

test("no arena of weights is longer than the device lets them be, and each block has its own place", async () => {
  const blockBytes = 640;
  for (const [maxArenaBytes, lengths] of [
    [4 * blockBytes, [4]],
    [4 * blockBytes - 1, [3, 1]],
    [2 * blockBytes + 100, [2, 2]],
    [blockBytes, [1, 1, 1, 1]],
  ] as const) {
    const host = new HostDevice(createReferenceBackend());
    const made: number[] = [];
    const device = Object.create(host, {
      maxArenaBytes: { value: maxArenaBytes },
      createArena: {
        value: async (bytes: number, label: string) => {
          made.push(bytes);
          return await host.createArena(bytes, label);
        },
      },
    }) as HostDevice;
    const ledger = new Ledger({ device: PLENTY, ram: 0, disk: 0 });
    await using pool = new WeightPool({ now: () => 0, onLoad: () => {} });
    const plan = makePlan(inputFor([phase("draw", FOUR, 640)], PLENTY));
    await using _ = await pool.open(plan, "draw", device, ledger);
    assert.deepEqual(
      made,
      lengths.map((count) => count * blockBytes),
    );
    assert.equal(ledger.state("device").usedBytes, 4 * blockBytes);
  }
});

test("what is spilled counts where the plan says, and is given back there", async () => {
  const device = new HostDevice(createReferenceBackend());
  for (const spillTier of ["ram", "device"] as const) {
    const ledger = new Ledger({ device: 0, ram: 0, disk: 0, [spillTier]: 256 });
    const [draw] = makePlan(inputFor([phase("draw", [], 0)], PLENTY)).phases;
    const plan = { ...draw!, spillTier, spilledBytes: 256 };
    const context = { device, ledger, telemetry: new Telemetry(), now: () => 0, pause: async () => {} };
    const open = await OpenPhase.open(plan, [], context as never);
    assert.deepEqual(
      ledger
        .held()
        .map(({ tier, lengthBytes }) => [tier, lengthBytes])
        .filter(([, bytes]) => bytes !== 0),
      [[spillTier, 256]],
    );
    assert.equal(open.spilled.byteLength, 256);
    await open[Symbol.asyncDispose]();
    assert.deepEqual(ledger.held(), []);
  }
});
