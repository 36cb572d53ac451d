/**
 * @file Textual inversions against diffusers in fp32 (embedding_golden.py): pictures within 2/255 and 50 dB; files found by their names, recorded, remade; the same
 * bytes under any budget, within the plan.
 */
import assert from "node:assert/strict";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { readPictureTexts } from "../../src/image/metadata/picture-texts.ts";
import { readPicture } from "../../src/job/read-picture.ts";
import type { GenerateJob } from "../../src/node.ts";
import { memorySource } from "../../src/source/memory.ts";
import { drawWithinPlan } from "../support/draw-within-plan.ts";
import { sameBytes } from "../support/same.ts";
import { requireSamePicture } from "../support/same-picture.ts";
import { openThreadlessEngine } from "../support/threadless-engine.ts";

interface GoldenJob {
  readonly model: string;
  readonly prompt: string;
  readonly negative?: string;
  readonly embeddings: readonly string[];
  readonly file: string;
}

const FOLDER = fileURLToPath(new URL("../../fixtures/embeddings/", import.meta.url));
const MODELS = fileURLToPath(new URL("../../fixtures/golden/", import.meta.url));
const JOBS = JSON.parse(readFileSync(join(FOLDER, "manifest.json"), "utf8")) as readonly GoldenJob[];

const jobOf = ({ model: _, negative, embeddings, file: __, ...job }: GoldenJob): GenerateJob => ({
  ...job,
  ...(negative === undefined ? {} : { negativePrompt: negative }),
  embeddings: embeddings.map((name) => join(FOLDER, name)),
});

for (const golden of JOBS) {
  test(`${golden.model}: ${JSON.stringify(golden.prompt)} is diffusers' picture`, async () => {
    await using engine = await openThreadlessEngine({ model: join(MODELS, golden.model), backend: "cpu" });
    await requireSamePicture(
      await drawWithinPlan(engine, jobOf(golden)),
      new Uint8Array(readFileSync(join(FOLDER, golden.file))),
    );
  });
}

test("found by name in a folder, recorded, remade; no part of a longer word; any budget, the same bytes", async () => {
  const dir = mkdtempSync(join(tmpdir(), "solvay-embeddings-"));
  mkdirSync(join(dir, "deeper"));
  copyFileSync(join(FOLDER, "flat/mist.safetensors"), join(dir, "deeper/mist.safetensors"));
  copyFileSync(join(FOLDER, "flat/fox-fur.safetensors"), join(dir, "fox-fur.safetensors"));
  const model = join(MODELS, "flat");
  const job: GenerateJob = { prompt: "mist", seed: 2, steps: 1, guidance: 1, width: 32, height: 32 };
  await using engine = await openThreadlessEngine({ model, backend: "cpu", embeddingsDir: dir });
  const png = await drawWithinPlan(engine, job);
  const settings = readPicture(await readPictureTexts(memorySource("a.png", png)));
  assert.deepEqual(settings?.job.embeddings, ["mist"]);
  sameBytes(await drawWithinPlan(engine, { ...settings!.job, prompt: "mist" }), png);
  const { peak } = await engine.plan(job);
  await engine.setBudgets({ vram: peak.deviceBytes - 100_000 });
  sameBytes(await drawWithinPlan(engine, job), png);
  // A word is as long as its vectors: of 26 with three each one falls off, though their names are short. The other encoder's prompt is its own.
  const long = { ...job, prompt: Array(26).fill("fox-fur").join(" "), prompt2: `${"mist ".repeat(75)}mist` };
  const notes: string[] = [];
  for await (const event of engine.generate(long)) {
    if (event.type === "note") notes.push(event.text);
    if (event.type === "plan") break;
  }
  assert.deepEqual(notes, [
    'The prompt is too long for tokenizer (75 tokens): 3 are left out, "fox-fur"; for tokenizer_2 (75 tokens): 1 is left out, "mist"',
  ]);
  // Not a word of its own: read as text.
  const other = await drawWithinPlan(engine, { ...job, prompt: "misty" });
  assert.ok(other.some((value, i) => value !== png[i]));
});
