/** @file Whole pictures of the demo model under budgets: the same bytes for all of them, and memory that does not grow. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { BudgetError, type Engine, type GenerateEvent, openEngine, UsageError } from "../../src/node.ts";
import { sameBytes } from "../support/same.ts";
import { seededRandom } from "../support/seed.ts";
import { searched } from "../support/thorough.ts";

const JOB = { prompt: "a lake at dawn, mountains", seed: 7, steps: 2, width: 128, height: 128 };
const random = seededRandom();
let engine: Engine;
before(async () => {
  engine = await openEngine({ backend: "cpu" });
});
after(() => engine[Symbol.asyncDispose]());

type ImageEvent = Extract<GenerateEvent, { type: "image" }>;

async function image(job: Parameters<Engine["generate"]>[0] = JOB): Promise<ImageEvent> {
  for await (const event of engine.generate(job)) if (event.type === "image") return event;
  throw new Error("no image");
}

/** `812M` of "give --vram 812M or more". */
async function smallestVram(): Promise<number> {
  await engine.setBudgets({ vram: "1M", ram: "1G" });
  const error = await image().then(
    () => assert.fail("1 MiB should not do"),
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof BudgetError && error.code === "E_VRAM", String(error));
  return Number(/--vram (\d+)M/.exec(error.message)![1]);
}

test("resident, streamed, minimal and random budgets give the same PNG, cold or warm", async () => {
  await engine.setBudgets({ vram: "4G", ram: "1G" });
  const resident = await image();
  const warm = await image();
  sameBytes(warm.bytes, resident.bytes, "warm");
  const leastMiB = await smallestVram();
  assert.ok(resident.peakDeviceBytes > leastMiB * 1024 ** 2, "the demo model should not fit in the least budget");
  const some = Array.from({ length: searched(1, 4) }, () => leastMiB + Math.floor(random() * 40));
  for (const vramMiB of [leastMiB, leastMiB + 8, ...some]) {
    await engine.setBudgets({ vram: `${vramMiB}M`, ram: "1G" });
    const found = await image();
    sameBytes(found.bytes, resident.bytes, `--vram ${vramMiB}M`);
    assert.ok(found.peakDeviceBytes <= vramMiB * 1024 ** 2, `--vram ${vramMiB}M: ${found.peakDeviceBytes} bytes held`);
  }
  await engine.setBudgets({ vram: `${leastMiB + 8}M`, ram: "200M" });
  sameBytes((await image()).bytes, resident.bytes, "little RAM");
});

test("with room for all, weights come once: another prompt or size loads none", async () => {
  await engine.setBudgets({ vram: "4G", ram: "1G" });
  const loaded = async (job: Parameters<Engine["generate"]>[0]) =>
    (await image(job)).passes.reduce((sum, pass) => sum + pass.loadedBytes, 0);
  assert.ok((await loaded(JOB)) > 5e6);
  assert.equal(await loaded(JOB), 0);
  await loaded({ ...JOB, prompt: "a hill" }); // the first prompt's embedding was known
  assert.equal(await loaded({ ...JOB, prompt: "a pond", seed: 8 }), 0);
  assert.equal(await loaded({ ...JOB, width: 192, height: 64 }), 0);
});

test("an image's peaks are its own, not those of a larger one before it", async () => {
  await engine.setBudgets({ vram: "4G", ram: "1G" });
  const small = { ...JOB, steps: 1, width: 64, height: 64 };
  const { peak } = await engine.plan(small);
  const large = await image({ ...small, width: 256, height: 256 });
  assert.ok(large.peakDeviceBytes > peak.deviceBytes && large.peakRamBytes > peak.ramBytes);
  const after = await image(small);
  assert.ok(after.peakDeviceBytes <= peak.deviceBytes, `${after.peakDeviceBytes} of ${peak.deviceBytes} bytes`);
  assert.ok(after.peakRamBytes <= peak.ramBytes, `${after.peakRamBytes} of ${peak.ramBytes} bytes`);
});

test("a plan names peaks within the budgets and streams when it must", async () => {
  const plan = await engine.plan(JOB, { budgets: { vram: "243M", ram: "1G" } });
  assert.ok(plan.peak.deviceBytes <= 243 * 1024 ** 2);
  const step = plan.phases.flatMap(({ passes }) => passes).find(({ id }) => id === "unet.step")!;
  assert.equal(step.repeats, JOB.steps);
  const resident = await engine.plan(JOB, { budgets: { vram: "4G", ram: "1G" } });
  assert.ok(resident.keepsAll && resident.phases.every(({ streamedBytes }) => streamedBytes === 0));
  const card = await engine.plan(JOB, { as: "gtx1060-6g" });
  assert.match(card.basis, /GTX 1060/);
});

test("budgets that make no sense are refused, and the old ones stay", async () => {
  await engine.setBudgets({ vram: "1G", ram: "1G" });
  await assert.rejects(engine.setBudgets({ vram: "-900T" }), /E_BUDGET/);
  await assert.rejects(engine.setBudgets({ ram: "lots" }), /E_BUDGET_SYNTAX/);
  await assert.rejects(engine.setBudgets({ ram: Number.NaN as unknown as string }), UsageError);
  await image();
  await engine.setBudgets({ vram: "4G", ram: "10M" });
  await assert.rejects(image(), (error) => error instanceof BudgetError && error.code === "E_RAM");
  await engine.setBudgets({ vram: "4G", ram: "1G" });
});

test("a precision that there is not is refused", async () => {
  await assert.rejects(
    openEngine({ precision: "fp8" as "fp16", backend: "reference" }),
    /^UsageError: E_OPTION precision: one of fp32, fp16 is wanted \(found a string "fp8"\)/,
  );
});

/** Pictures before and between the two looks, and what MiB may come between them: 2 to 4 were found. */
const SERIES = searched(
  [
    ["4G", 8, 16, 10],
    ["250M", 6, 16, 16],
  ],
  [
    ["4G", 10, 20, 12],
    ["250M", 10, 30, 24],
  ],
);

/**
 * In a process of its own with the settings of `npm start`: what glibc's own ones keep hangs on the timing of threads. Of small pictures:
 * weights and sessions are as large as those of any, and activations of 1.4 MiB would still be seen.
 */
const IMAGES = `
import { openEngine } from ${JSON.stringify(new URL("../../src/node.ts", import.meta.url).href)};
await using engine = await openEngine({ backend: "cpu" });
const rss = async (images) => {
  for (let i = 0; i < images; i++)
    for await (const _ of engine.generate({ prompt: "lake " + i, seed: i, steps: 1, width: 64, height: 64 }));
  return process.memoryUsage.rss();
};
const found = [];
for (const [vram, first, more, limitMiB] of ${JSON.stringify(SERIES)}) {
  await engine.setBudgets({ vram, ram: "1G" });
  found.push([vram, limitMiB, await rss(first), await rss(more)]);
}
console.log(JSON.stringify(found));
`;

test("many images take no more memory than the first ones did", () => {
  const settings = readFileSync(new URL("../../bin/memory-settings.json", import.meta.url), "utf8");
  const { malloc, nodeOptions } = JSON.parse(settings) as { malloc: Record<string, string>; nodeOptions: string[] };
  const { stdout, stderr } = spawnSync(process.execPath, [...nodeOptions, "--input-type=module", "--eval", IMAGES], {
    encoding: "utf8",
    env: { ...process.env, ...malloc },
    timeout: 300_000,
    killSignal: "SIGKILL",
  });
  assert.ok(stdout, stderr);
  for (const [vram, limitMiB, early, late] of JSON.parse(stdout) as [string, number, number, number][])
    assert.ok(
      late - early < limitMiB * 1024 ** 2,
      `--vram ${vram}: ${early} bytes after the first images, ${late} at the end`,
    );
});
