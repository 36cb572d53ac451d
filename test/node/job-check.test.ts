/** @file Jobs and options are checked where a program hands them over, before they cross to the engine's thread. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import type { GenerateJob, OpenEngineOptions } from "../../src/job/types.ts";
import { openEngine } from "../../src/node.ts";

const MODEL = fileURLToPath(new URL("../../fixtures/golden/flat", import.meta.url));
const JOB = { prompt: "x", seed: 1, steps: 1, width: 16, height: 16 };

test("what is wrong is refused by name, and the engine goes on", async () => {
  await using engine = await openEngine({ model: MODEL, backend: "reference", budgets: { vram: 2 ** 30 } });
  const drawn = async (job: object) => {
    for await (const event of engine.generate(job as GenerateJob)) if (event.type === "image") return event.seed;
    throw new Error("no image came");
  };
  await assert.rejects(drawn({ ...JOB, num_inference_steps: 4 }), /E_JOB num_inference_steps: .*did you mean steps\?/);
  await assert.rejects(drawn({ ...JOB, steps: "4" }), /E_JOB steps: a whole number from 1 to 1000 is wanted/);
  await assert.rejects(drawn({ ...JOB, signal: AbortSignal.timeout(1000) }), /E_JOB signal: .*beside the job/);
  await assert.rejects(
    engine.plan({ ...JOB, width: 17 }),
    /E_JOB width: out of range \(found 17, allowed a multiple of 8/,
  );
  await assert.rejects(engine.setBudgets({ vram: -5 }), /E_OPTION vram: an amount of memory/);
  const { budgets } = await engine.plan(JOB, { budgets: { vram: { bytes: 2 ** 29 } } });
  assert.equal(budgets.deviceBytes, 2 ** 29);
  assert.equal((await engine.plan(JOB)).budgets.deviceBytes, 2 ** 30);
  assert.equal(await drawn(JOB), 1);
});

test("an engine is not opened with options that there are not", async () => {
  const wrong = { model: MODEL, budget: { vram: "6G" } } as OpenEngineOptions;
  await assert.rejects(openEngine(wrong), /UsageError: E_OPTION budget: there is no such field/);
  await assert.rejects(
    openEngine({ backend: "gpu" as "cpu" }),
    /E_OPTION backend: one of auto, webgpu, cpu, reference/,
  );
  await assert.rejects(openEngine(null as unknown as OpenEngineOptions), /E_OPTION: an open request is an object/);
  const signal = {} as AbortSignal;
  await assert.rejects(openEngine({ model: MODEL, signal }), /E_OPTION signal: an AbortSignal is wanted/);
  const reason = new Error("stopped");
  await assert.rejects(openEngine({ model: MODEL, signal: AbortSignal.abort(reason) }), reason);
});
