/** @file Several images of one engine: each the file that it is alone, whatever becomes of the others; turns, plans and what stops them. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import type { Engine, GenerateEvent, GenerateJob, SeriesEvent } from "../../src/node.ts";
import { sameBytes } from "../support/same.ts";
import { openThreadlessEngine } from "../support/threadless-engine.ts";

const MODEL = fileURLToPath(new URL("../../fixtures/golden/flat", import.meta.url));
const JOB = { prompt: "a lake", seed: 1, steps: 2, width: 16, height: 16 } satisfies GenerateJob;
const JOBS: readonly GenerateJob[] = [
  JOB,
  { ...JOB, seed: 2, guidance: 3, steps: 3, format: "jpeg" },
  { ...JOB, seed: 3, sampler: "heun", negativePrompt: "fog" },
];
/** Weights stream, and several at a time take less time than one. */
let tight: string;
let engine: Engine;
before(async () => {
  engine = await openThreadlessEngine({ backend: "reference", model: MODEL, budgets: { vram: "1G", ram: "1G" } });
  const { peak } = await engine.plan(JOB);
  tight = `${peak.deviceBytes - 1}`;
});
after(() => engine[Symbol.asyncDispose]());

type ImageEvent = Extract<GenerateEvent, { type: "image" }>;

async function alone(job: GenerateJob): Promise<ImageEvent> {
  for await (const event of engine.generate(job)) if (event.type === "image") return event;
  throw new Error("no image");
}

/** By place: the image, or what it failed with. */
async function ends(series: AsyncIterable<SeriesEvent>): Promise<(ImageEvent | { readonly failure: unknown })[]> {
  const found: (ImageEvent | { readonly failure: unknown })[] = [];
  for await (const told of series) {
    if ("failure" in told) found[told.index] = told;
    else if (told.event.type === "image") found[told.index] = told.event;
  }
  return found;
}

const fileOf = (end: unknown) => (end as ImageEvent).bytes;

test("images side by side are the files that each is alone, and tell how many they were", async () => {
  await engine.setBudgets({ vram: tight });
  const files: Uint8Array[] = [];
  for (const job of JOBS) files.push((await alone(job)).bytes);
  const lanes = new Set<number>();
  const seeds: unknown[] = [];
  const peaks: { readonly deviceBytes: number; readonly ramBytes: number }[] = [];
  const told: SeriesEvent[] = [];
  for await (const one of engine.generateMany(JOBS.map((job) => ({ job, states: true, previews: true })))) {
    told.push(one);
    assert.ok("event" in one);
    if (one.event.type === "plan") {
      lanes.add(one.event.plan.lanes);
      peaks[one.index] = one.event.plan.peak;
    }
    if (one.event.type === "start") seeds[one.index] = one.event.seed;
    if (one.event.type !== "image") continue;
    sameBytes(one.event.bytes, files[one.index]!, `image ${one.index}`);
    const { deviceBytes, ramBytes } = peaks[one.index]!;
    assert.ok(one.event.peakDeviceBytes <= deviceBytes && one.event.peakRamBytes <= ramBytes, "files and all");
  }
  assert.ok(Math.max(...lanes) > 1, `${[...lanes]} lanes`);
  assert.deepEqual(seeds, [1, 2, 3]);
  const stepsOf = (index: number) =>
    told.flatMap((one) => ("event" in one && one.index === index && one.event.type === "step" ? one.event.step : []));
  assert.deepEqual(
    [stepsOf(0), stepsOf(1), stepsOf(2)],
    [
      [1, 2],
      [1, 2, 3],
      [1, 2],
    ],
  );
});

test("a job that can't be read, or names what isn't there, fails by itself", async () => {
  await engine.setBudgets({ vram: tight });
  const wrong = { ...JOB, initImage: "/nowhere.png" };
  const found = await ends(engine.generateMany([JOB, wrong, { ...JOB, seed: 2 }].map((job) => ({ job }))));
  assert.match(String((found[1] as { readonly failure: unknown }).failure), /E_PICTURE|nowhere/);
  sameBytes(fileOf(found[0]), (await alone(JOB)).bytes, "the first");
  sameBytes(fileOf(found[2]), (await alone({ ...JOB, seed: 2 })).bytes, "the last");
  await assert.rejects(ends(engine.generateMany([{ job: { ...JOB, steps: 0 } }])), /E_JOB steps/);
  await assert.rejects(ends(engine.generateMany("x" as never)), /E_OPTION: a series is a list/);
  await assert.rejects(engine.plan(JOB, { count: 0 }), /E_OPTION count/);
});

test("one is stopped, or all; another image waits for those under way", async () => {
  await engine.setBudgets({ vram: tight });
  const mine = new AbortController();
  const requests = [{ job: JOB }, { job: { ...JOB, seed: 2 }, signal: mine.signal }];
  const order: string[] = [];
  const series = engine.generateMany(requests);
  const first = await series.next();
  assert.ok(!first.done);
  const waiting = alone({ ...JOB, seed: 3 }).then(() => order.push("another"));
  for await (const one of series) {
    if ("failure" in one) assert.deepEqual([one.index, one.failure], [1, "mine"]);
    else if (one.event.type === "step" && one.index === 0) mine.abort("mine");
    else if (one.event.type === "image") order.push(`image ${one.index}`);
  }
  await waiting;
  assert.deepEqual(order, ["image 0", "another"]);
  const all = new AbortController();
  const reasons: unknown[] = [];
  for await (const one of engine.generateMany(
    JOBS.map((job) => ({ job })),
    { signal: all.signal },
  )) {
    if ("failure" in one) reasons[one.index] = one.failure;
    else if (one.event.type === "step") all.abort("all");
  }
  assert.deepEqual(reasons, ["all", "all", "all"]);
});

test("a plan for several says how many share a pass, and what one of them takes with it and without", async () => {
  const budgets = { vram: tight, ram: "1G" };
  const [one, four] = [await engine.plan(JOB, { budgets }), await engine.plan(JOB, { budgets, count: 4 })];
  assert.deepEqual([one.lanes, one.alone], [1, undefined]);
  assert.ok(four.lanes > 1);
  assert.deepEqual(four.alone, { predictedMs: one.predictedMs, loadedBytes: one.loadedBytes });
  assert.ok(four.predictedMs <= 1.02 * one.predictedMs && four.loadedBytes < one.loadedBytes);
  assert.deepEqual(
    four.phases.map(({ lanes }) => lanes),
    [1, four.lanes, 1],
  );
  const resident = await engine.plan(JOB, { budgets: { vram: "1G", ram: "1G" }, count: 4 });
  assert.deepEqual([resident.lanes, resident.keepsAll, resident.alone], [1, true, undefined]);
});
