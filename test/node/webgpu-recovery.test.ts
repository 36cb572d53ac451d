/**
 * @file The engine on a graphics adapter that is lost, short of memory or idle at chosen moments: retried to the same PNG, or
 * one clear error; what is remembered of it on disk.
 */

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import type { AdapterFacts } from "../../src/backend/webgpu/adapter/adapter.ts";
import type { OpenedGpu } from "../../src/backend/webgpu/adapter/opened-gpu.ts";
import { shapeKey } from "../../src/backend/webgpu/adapter/tuning.ts";
import { describePrecision } from "../../src/backend/webgpu/lower/paths.ts";
import { composeEngine } from "../../src/engine/engine.ts";
import { SolvayError } from "../../src/errors.ts";
import { GraphBuilder } from "../../src/ir/builder.ts";
import type { CheckedEngine } from "../../src/job/checked.ts";
import type { GenerateEvent } from "../../src/job/types.ts";
import { GiB } from "../../src/ledger/byte-text.ts";
import { openNodeParts } from "../../src/node/engine-parts.ts";
import { loadAdapterState, saveAdapterState } from "../../src/node/gpu/adapter-state.ts";
import { openDawn } from "../../src/node/gpu/dawn.ts";
import { openRecoverable, type RecoverableDevice } from "../../src/node/gpu/recoverable.ts";
import { gpuMachine } from "../../src/node/host-machine.ts";
import { computeGraph, drawData } from "../backend/conformance.ts";
import { deviceBackend } from "../backend/device-backend.ts";
import { dropDispatches, limitMemory, watchAwaits } from "../backend/faulty-gpu.ts";
import { findTestAdapter } from "../backend/software-vulkan.ts";
import { sameBytes } from "../support/same.ts";
import { searched } from "../support/thorough.ts";

const adapter = await findTestAdapter();
const options = adapter.skip === undefined ? {} : { skip: `skipped: ${adapter.skip}` };
const MODEL = fileURLToPath(new URL("../../fixtures/golden/flat", import.meta.url));
const JOB = { prompt: "a lake", seed: 7, steps: 2, width: 16, height: 16 };
const STAGING = { slots: 2, slotBytes: 2 ** 18 };

const folders = mkdtempSync(path.join(os.tmpdir(), "solvay-recovery-"));
after(() => rmSync(folders, { recursive: true }));
let made = 0;
const newFolder = () => path.join(folders, `state-${made++}`);

interface Opened extends AsyncDisposable {
  readonly engine: CheckedEngine;
  readonly first: RecoverableDevice["device"];
  /** Of the device before the last loss. */
  readonly lostBytes: () => number;
  readonly opens: () => number;
  /** Milliseconds of the wall clock. */
  nowMs: number;
}

/** `spoil` gets each device before it is used. */
async function open(
  stateFolder: string,
  spoil: (opened: OpenedGpu) => void = () => {},
  model = MODEL,
  precision: "fp32" | "fp16" = "fp32",
  nowMs = 1_000_000,
): Promise<Opened> {
  let opens = 0;
  const clock = { nowMs };
  const { device, reopen } = await openRecoverable({
    precision,
    adapter: adapter.name,
    stateFolder,
    wallClock: () => clock.nowMs,
    staging: STAGING,
    open: async (name) => {
      const opened = await openDawn(name);
      spoil(opened);
      opens++;
      return opened;
    },
  });
  const parts = await openNodeParts({ backend: "reference", model }, (name) => name);
  const budgets = { vram: { bytes: 4 * GiB }, ram: { bytes: GiB } };
  const machine = gpuMachine("test card");
  const computed = describePrecision(device.chosen.paths);
  let [lost, current] = [device, device];
  const opened = async () => {
    lost = current;
    current = await reopen();
    return current;
  };
  const compute = { backend: "webgpu" as const, device, reopen: opened, machine, precision: computed };
  const engine = await composeEngine({ ...parts, compute, budgets });
  const dispose = () => engine[Symbol.asyncDispose]();
  const found = { engine, first: device, lostBytes: () => lost.heldBytes, opens: () => opens };
  return Object.assign(clock, { ...found, [Symbol.asyncDispose]: dispose });
}

interface Drawn {
  readonly png: Uint8Array<ArrayBuffer>;
  readonly notes: readonly string[];
}

async function draw(engine: CheckedEngine, onEvent: (event: GenerateEvent) => void = () => {}): Promise<Drawn> {
  const notes: string[] = [];
  for await (const event of engine.generate(JOB)) {
    onEvent(event);
    if (event.type === "note") notes.push(event.text);
    if (event.type === "image") return { png: new Uint8Array(event.bytes), notes };
  }
  throw new Error("no image");
}

/** The compressed pixels: what is said of them lies before. */
const pixelsOf = (png: Buffer | Uint8Array) => Buffer.from(png).subarray(Buffer.from(png).indexOf("IDAT"));

const errorOf = (drawing: Promise<Drawn>) =>
  drawing.then(
    () => assert.fail("there should be no picture"),
    (error: unknown) => (error instanceof SolvayError ? error : assert.fail(String(error))),
  );

const remembered = (folder: string) => loadAdapterState(path.join(folder, "adapters.json"), facts!);
const caution = async () => (await remembered(shared.folder)).pacing!.caution;

/** Makes the device break at its next await after `doom()`. */
function doomable(): { readonly spoil: (opened: OpenedGpu) => void; readonly doom: () => void } {
  let doomed = false;
  const spoil = (opened: OpenedGpu) =>
    watchAwaits(opened, () => {
      if (doomed) opened.device.destroy();
      doomed = false;
    });
  return {
    spoil,
    doom: () => {
      doomed = true;
    },
  };
}

const MOMENTS: readonly (readonly [string, (event: GenerateEvent) => boolean])[] = [
  ["while the prompt was read", (event) => event.type === "phase" && event.phase === "encode"],
  ["in step 1 of 2", (event) => event.type === "phase" && event.phase === "denoise"],
  ["in step 2 of 2", (event) => event.type === "step" && event.step === 1],
  ["while the picture was decoded", (event) => event.type === "phase" && event.phase === "decode"],
];

/** One engine for the losses that follow each other: each new device compiles its kernels, which is what takes the time. */
const shared = { folder: newFolder(), ...doomable() };
/** Whether the shared card's dispatches come to nothing, and its allocations end as if memory were short. */
let drops = false;
let isShort = () => false;
let card: Opened | undefined;
let raw: GPUDevice | undefined;
let facts: AdapterFacts | undefined;
let expected: Uint8Array<ArrayBuffer> = new Uint8Array();
after(() => card?.[Symbol.asyncDispose]());

/** A picture while which the shared card is lost. */
async function drawLosing(isMoment: (event: GenerateEvent) => boolean): Promise<Drawn> {
  let over = false;
  return await draw(card!.engine, (event) => {
    if (!over && isMoment(event)) shared.doom();
    over ||= isMoment(event);
  });
}

/** The first of all, since prompts are read once. */
let readingLost: Drawn | undefined;
if (adapter.skip === undefined) {
  card = await open(shared.folder, (opened) => {
    raw = opened.device;
    shared.spoil(opened);
    dropDispatches(opened, () => drops);
    limitMemory(opened, () => isShort());
  });
  facts = card.first.adapter;
  readingLost = await drawLosing(MOMENTS[0]![1]);
  expected = (await draw(card.engine)).png;
}

function requireNote(notes: readonly string[], place: string): void {
  assert.equal(notes.length, 1);
  assert.ok(notes[0]!.startsWith("E_GPU_LOST: the graphics device was lost ("), notes[0]);
  assert.ok(notes[0]!.endsWith(`) ${place}. Retrying once with smaller GPU work.`), notes[0]);
}

test("a card lost in the first phase: one note and the same PNG", options, () => {
  sameBytes(readingLost!.png, expected);
  requireNote(readingLost!.notes, MOMENTS[0]![0]);
});

test("a card lost in a later phase: one note, the same PNG, and it is remembered", options, async () => {
  const gpu = card!;
  // The last one's new device compiles least; what recovery.test.ts draws is lost at all of them.
  const moments = searched(MOMENTS.slice(3), MOMENTS.slice(1));
  // The one in the first phase.
  let losses = [gpu.nowMs];
  for (const [i, [place, isMoment]] of moments.entries()) {
    // A minute before no longer counts. The last two come in one minute.
    if (i < moments.length - 1) {
      gpu.nowMs += 61_000;
      losses = [];
    }
    const [opens, cautionBefore] = [gpu.opens(), await caution()];
    const { png, notes } = await drawLosing(isMoment);
    sameBytes(png, expected, place);
    requireNote(notes, place);
    assert.equal(gpu.opens(), opens + 1);
    assert.equal(gpu.lostBytes(), 0);
    losses.push(gpu.nowMs);
    assert.deepEqual(JSON.parse(readFileSync(path.join(shared.folder, "rebuilds.json"), "utf8")), losses);
    assert.equal(await caution(), cautionBefore / 2);
  }
});

test(
  "three losses in a minute are too many, also for an engine that starts; a minute later the card that was lost between two pictures is opened again",
  options,
  async (t) => {
    const gpu = card!;
    const [opens, cautionBefore] = [gpu.opens(), await caution()];
    raw!.destroy();
    await raw!.lost;
    assert.equal((await errorOf(draw(gpu.engine))).code, "E_GPU_UNSTABLE");
    assert.equal((await errorOf(draw(gpu.engine))).code, "E_GPU_UNSTABLE");
    await assert.rejects(open(shared.folder, undefined, undefined, undefined, gpu.nowMs), { code: "E_GPU_UNSTABLE" });
    assert.equal(gpu.opens(), opens);
    // Written beside the refusal.
    await t.waitFor(async () => assert.equal(await caution(), cautionBefore / 2), { timeout: 10_000 });
    gpu.nowMs += 61_000;
    const { png, notes } = await draw(gpu.engine);
    sameBytes(png, expected);
    assert.match(notes.join(), /^E_GPU_LOST: .*Opening it again\.$/);
    assert.equal(gpu.opens(), opens + 1);
  },
);

test(
  "a picture that fp16 can't hold is fp32's, and says why; a card lost meanwhile goes on in fp32",
  options,
  async (t) => {
    if (!facts!.features.includes("shader-f16")) return t.skip("skipped: this adapter has no shader-f16");
    for (const loses of [false, true]) {
      const { spoil, doom } = doomable();
      await using gpu = await open(newFolder(), spoil, MODEL, "fp16");
      const halves = (await draw(gpu.engine)).png;
      assert.ok(!pixelsOf(halves).equals(pixelsOf(expected)));
      // What an overflow would have left.
      const read = gpu.first.read.bind(gpu.first);
      let reads = 0;
      gpu.first.read = async (graph, id, span, into, order) => {
        await read(graph, id, span, into, order);
        if (/step/.test(graph.name) && reads++ === 1) into[0] = Number.NaN;
      };
      let over = false;
      const { png, notes } = await draw(gpu.engine, (event) => {
        if (event.type !== "step") return;
        assert.ok(event.etaMs >= 0 && event.etaMs < 1e6, `${event.etaMs}`);
        if (loses && !over && reads > 1) doom();
        over ||= reads > 1;
      });
      const text = Buffer.from(png).toString("latin1");
      assert.match(text, /"precision":"fp32","retry":"E_NAN in step 2 of 2\. Retried in fp32: ok"/);
      assert.match(notes.join("\n"), /Retrying once in fp32/);
      assert.equal(/E_GPU_LOST/.test(notes.join("\n")), loses);
      sameBytes(pixelsOf(png), pixelsOf(expected));
      // As declared again.
      sameBytes((await draw(gpu.engine)).png, halves);
    }
  },
);

test("short memory: once it goes on, for long E_VRAM, and the next PNG is right", options, async () => {
  const gpu = card!;
  const opens = gpu.opens();
  await gpu.engine.setBudgets({ vram: { bytes: 3 * GiB } });
  // The device frees its caches and tries once more by itself.
  let allocations = 0;
  isShort = () => allocations++ === 4;
  const once = await draw(gpu.engine);
  assert.ok(allocations > 5);
  assert.deepEqual(once.notes, []);
  sameBytes(once.png, expected);
  isShort = () => true;
  const error = await errorOf(draw(gpu.engine));
  assert.match(
    error.message,
    /^E_VRAM .*: needs \d.* [KM]iB, budget has .* free of 3\.00 GiB.*, but the graphics card/,
  );
  isShort = () => false;
  sameBytes((await draw(gpu.engine)).png, expected);
  assert.equal(gpu.opens(), opens);
});

// On a device of plain loops recovery.test.ts has it; this one compiles for ten seconds. Its weights are large enough for a plan with less.
for (const name of searched([], ["deep"]))
  test(`short memory for a while: the same PNG of ${name} by a smaller plan`, options, async () => {
    const model = fileURLToPath(new URL(`../../fixtures/golden/${name}`, import.meta.url));
    let allocations = 0;
    const refused = (allocation: number) => allocation === 4 || allocation === 5;
    await using gpu = await open(newFolder(), (opened) => limitMemory(opened, () => refused(allocations++)), model);
    const smaller = await draw(gpu.engine);
    assert.match(
      smaller.notes.join("\n"),
      /^E_VRAM .*budget has .* free of 4\.00 GiB.* Trying again with --vram \d+M\.$/,
    );
    sameBytes(smaller.png, (await draw(gpu.engine)).png);
  });

test(
  "where nothing can be noted any more pictures are made; results that were never computed end one, and it is not tried again; a lost card is not opened again",
  options,
  async () => {
    const gpu = card!;
    rmSync(shared.folder, { recursive: true });
    writeFileSync(shared.folder, "");
    sameBytes((await draw(gpu.engine)).png, expected);
    const opens = gpu.opens();
    drops = true;
    assert.equal((await errorOf(draw(gpu.engine))).code, "E_GPU_STALE");
    drops = false;
    raw!.destroy();
    await raw!.lost;
    assert.equal((await errorOf(draw(gpu.engine))).code, "E_GPU_STATE");
    assert.equal(gpu.opens(), opens);
  },
);

test("the next start goes on with the rate and the tiles of the one before", options, async () => {
  const folder = newFolder();
  const g = new GraphBuilder("linear");
  const x = g.input("x", [1, 64, 64]);
  g.segment("s", () => g.output("y", g.node("linear", [x, g.weight("w", [64, 64])], {})));
  const graph = g.build();
  const key = shapeKey({ rows: 64, columns: 64, depth: 64, geglu: false });
  const run = async () => {
    const labels: string[] = [];
    const { device } = await openRecoverable({
      adapter: adapter.name,
      stateFolder: folder,
      wallClock: () => 0,
      staging: STAGING,
      open: async (name) => {
        const opened = await openDawn(name);
        const create = opened.device.createShaderModule.bind(opened.device);
        Object.defineProperty(opened.device, "createShaderModule", {
          value: (module: GPUShaderModuleDescriptor) => {
            labels.push(module.label ?? "");
            return create(module);
          },
        });
        return opened;
      },
    });
    const { costPerMs } = device.pacing;
    await computeGraph(deviceBackend(device), graph, drawData(graph, 1), "f16");
    await device[Symbol.asyncDispose]();
    return { labels: labels.join(" "), costPerMs };
  };
  const first = await run();
  assert.match(first.labels, /32x32/);
  await saveAdapterState(path.join(folder, "adapters.json"), facts!, {
    tiles: { [key]: "64x64" },
    pacing: { costPerMs: 3e6, caution: 1 },
  });
  const second = await run();
  assert.doesNotMatch(second.labels, /32x32/);
  assert.match(second.labels, /64x64/);
  assert.equal(second.costPerMs, 3e6);
  assert.deepEqual((await remembered(folder)).tiles, { [key]: "64x64" });
});
