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
import { decodePng } from "../../src/image/png.ts";
import { readPicture } from "../../src/job/read-picture.ts";
import { type Engine, type GenerateJob, openEngine } from "../../src/node.ts";
import { memorySource } from "../../src/source/memory.ts";
import { sameBytes } from "../support/same.ts";

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

async function drawn(engine: Engine, job: GenerateJob): Promise<Uint8Array<ArrayBuffer>> {
  let planned = 0;
  for await (const event of engine.generate(job)) {
    if (event.type === "plan") planned = event.plan.peak.deviceBytes;
    if (event.type !== "image") continue;
    assert.ok(event.peakDeviceBytes <= planned, `${event.peakDeviceBytes} of ${planned} bytes`);
    return new Uint8Array(event.bytes);
  }
  throw new Error("the job ended without a picture");
}

for (const golden of JOBS) {
  test(`${golden.model}: ${JSON.stringify(golden.prompt)} is diffusers' picture`, async () => {
    await using engine = await openEngine({ model: join(MODELS, golden.model), backend: "cpu" });
    const found = await decodePng(await drawn(engine, jobOf(golden)));
    const expected = await decodePng(new Uint8Array(readFileSync(join(FOLDER, golden.file))));
    assert.equal(found.pixels.length, expected.pixels.length);
    let [largest, squares] = [0, 0];
    for (const [i, value] of found.pixels.entries()) {
      const difference = Math.abs(value - expected.pixels[i]!);
      largest = Math.max(largest, difference);
      squares += difference ** 2;
    }
    const psnrDb = 10 * Math.log10(255 ** 2 / Math.max(squares / found.pixels.length, Number.MIN_VALUE));
    assert.ok(largest <= 2 && psnrDb >= 50, `largest difference ${largest}, PSNR ${psnrDb.toFixed(1)} dB`);
  });
}

test("found by name in a folder, recorded, remade; no part of a longer word; any budget, the same bytes", async () => {
  const dir = mkdtempSync(join(tmpdir(), "solvay-embeddings-"));
  mkdirSync(join(dir, "deeper"));
  copyFileSync(join(FOLDER, "flat/mist.safetensors"), join(dir, "deeper/mist.safetensors"));
  copyFileSync(join(FOLDER, "flat/fox-fur.safetensors"), join(dir, "fox-fur.safetensors"));
  const model = join(MODELS, "flat");
  const job: GenerateJob = { prompt: "mist", seed: 2, steps: 1, guidance: 1, width: 32, height: 32 };
  await using engine = await openEngine({ model, backend: "cpu", embeddingsDir: dir });
  const png = await drawn(engine, job);
  const settings = readPicture(await readPictureTexts(memorySource("a.png", png)));
  assert.deepEqual(settings?.job.embeddings, ["mist"]);
  sameBytes(await drawn(engine, { ...settings!.job, prompt: "mist" }), png);
  const { peak } = await engine.plan(job);
  await engine.setBudgets({ vram: peak.deviceBytes - 100_000 });
  sameBytes(await drawn(engine, job), png);
  // Not a word of its own: read as text.
  const other = await drawn(engine, { ...job, prompt: "misty" });
  assert.ok(other.some((value, i) => value !== png[i]));
});
