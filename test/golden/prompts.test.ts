/**
 * @file Pictures of prompts with clip skip, second prompts, sizes and A1111's syntax against diffusers in fp32, which draws from embeddings
 * made by A1111's rules (prompt_golden.py): within 2/255 and 50 dB. And the same bytes under any budget.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { type GenerateJob, UsageError } from "../../src/node.ts";
import { drawWithinPlan } from "../support/draw-within-plan.ts";
import { sameBytes } from "../support/same.ts";
import { requireSamePicture } from "../support/same-picture.ts";
import { sharedEngine } from "../support/shared-engine.ts";
import { openThreadlessEngine } from "../support/threadless-engine.ts";

interface GoldenJob extends Omit<GenerateJob, "originalSize" | "crop" | "negativePrompt" | "negativePrompt2"> {
  readonly model: string;
  readonly negative?: string;
  readonly negative2?: string;
  readonly originalSize?: readonly number[];
  readonly crop?: readonly number[];
  readonly file: string;
}

const folder = new URL("../../fixtures/prompts/", import.meta.url);
const models = new URL("../../fixtures/golden/", import.meta.url);
const jobs = JSON.parse(readFileSync(new URL("manifest.json", folder), "utf8")) as readonly GoldenJob[];

const engineOf = sharedEngine();
const DEEP = { model: fileURLToPath(new URL("deep", models)), backend: "cpu" } as const;

/** One engine for all pictures of a model. */
const byModel = jobs.toSorted((a, b) => a.model.localeCompare(b.model));

for (const { model, negative, negative2, originalSize, crop, file, ...job } of byModel) {
  test(`${file}: ${JSON.stringify(job.prompt.slice(0, 40))} equals diffusers' picture`, async () => {
    const engine = await engineOf({ model: fileURLToPath(new URL(model, models)), backend: "cpu" });
    const png = await drawWithinPlan(engine, {
      ...job,
      ...(negative !== undefined && { negativePrompt: negative }),
      ...(negative2 !== undefined && { negativePrompt2: negative2 }),
      ...(originalSize && { originalSize: originalSize.join("x") }),
      ...(crop && { crop: crop.join(",") }),
    });
    await requireSamePicture(png, new Uint8Array(await readFile(new URL(file, folder))));
  });
}

test("three chunks, AND, what changes by step: the same picture under any budget, with peaks within the plan", async () => {
  const job: GenerateJob = {
    prompt: `a [lake|sea], ${"(green:1.2) hills, ".repeat(40)} BREAK a boat AND a [mill:tower:0.5] :0.7`,
    negativePrompt: "[fog]",
    promptSyntax: "a1111",
    ...{ clipSkip: 1, seed: 3, steps: 3, width: 64, height: 64 },
  };
  await using engine = await openThreadlessEngine(DEEP);
  const wide = await drawWithinPlan(engine, job);
  const { phases, peak } = await engine.plan(job);
  const passes = phases.flatMap((phase) => phase.passes);
  const repeats = (pass: string) => passes.find(({ id }) => id === pass)!.repeats;
  assert.deepEqual([repeats("unet.step"), repeats("unet.text")], [3, 3]);
  await engine.setBudgets({ vram: peak.deviceBytes - 1_000_000 });
  const narrow = await engine.plan(job);
  assert.ok(narrow.peak.deviceBytes < peak.deviceBytes);
  sameBytes(await drawWithinPlan(engine, job), wide);
  // Weights count: another picture without them.
  const other = await drawWithinPlan(engine, { ...job, promptSyntax: "plain" });
  assert.ok(other.some((value, i) => value !== wide[i]));
});

test("what can't be is refused before anything is computed", async () => {
  const engine = await engineOf(DEEP);
  const refused = async (job: Partial<GenerateJob>, code: string) =>
    assert.rejects(
      drawWithinPlan(engine, { prompt: "a", steps: 1, promptSyntax: "a1111", ...job }),
      (error) => error instanceof UsageError && error.code === code,
    );
  await refused({ prompt: "(".repeat(60_000) }, "E_PROMPT");
  await refused({ prompt: "(".repeat(1_000_000) }, "E_JOB");
  await refused({ prompt: "a AND ".repeat(100) }, "E_PROMPT");
  await refused({ prompt: `[a|b] [c|d|e] [f|g|h|i|j] ${"hill ".repeat(12_000)}`, steps: 1000 }, "E_PROMPT");
  await refused({ negativePrompt: "<lora:fog:1>" }, "E_LORA");
  await refused({ clipSkip: 3 }, "E_JOB");
  await refused({ crop: "1x2" }, "E_JOB");
});
