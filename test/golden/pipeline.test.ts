/** @file Whole pictures against diffusers in fp32 on the same weights: every pixel within 2/255, PSNR at least 50 dB. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { decodePng } from "../../src/image/png.ts";
import { type BackendName, openEngine } from "../../src/node.ts";

interface GoldenJob {
  readonly model: string;
  readonly prompt: string;
  readonly negative?: string;
  readonly seed: number;
  readonly steps: number;
  readonly guidance: number;
  readonly width: number;
  readonly height: number;
  readonly file: string;
}

const MAX_DIFFERENCE = 2;
const MIN_PSNR_DB = 50;

const golden = new URL("../../fixtures/golden/", import.meta.url);
const jobs = JSON.parse(readFileSync(new URL("manifest.json", golden), "utf8")) as readonly GoldenJob[];

for (const backend of ["cpu", "reference"] as const) {
  for (const job of jobs) {
    test(`${job.file} on ${backend} equals diffusers' picture`, async () => {
      const found = await decodePng(await generate(job, backend));
      const expected = await decodePng(new Uint8Array(await readFile(new URL(job.file, golden))));
      assert.deepEqual([found.width, found.height], [expected.width, expected.height]);
      const { largest, psnrDb } = compare(found.pixels, expected.pixels);
      assert.ok(largest <= MAX_DIFFERENCE, `largest difference ${largest}, PSNR ${psnrDb.toFixed(1)} dB`);
      assert.ok(psnrDb >= MIN_PSNR_DB, `PSNR ${psnrDb.toFixed(1)} dB`);
    });
  }
}

async function generate(job: GoldenJob, backend: BackendName): Promise<Uint8Array<ArrayBuffer>> {
  const model = job.model === "demo" ? {} : { model: fileURLToPath(new URL(job.model, golden)) };
  const { prompt, seed, steps, guidance, width, height } = job;
  const negative = job.negative === undefined ? {} : { negativePrompt: job.negative };
  await using engine = await openEngine({ ...model, backend });
  for await (const event of engine.generate({ prompt, ...negative, seed, steps, guidance, width, height })) {
    if (event.type === "image") return new Uint8Array(event.png);
  }
  throw new Error("the job ended without a picture");
}

function compare(a: Uint8Array, b: Uint8Array): { largest: number; psnrDb: number } {
  assert.equal(a.length, b.length);
  let largest = 0;
  let squares = 0;
  for (let i = 0; i < a.length; i++) {
    const difference = Math.abs(a[i]! - b[i]!);
    largest = Math.max(largest, difference);
    squares += difference ** 2;
  }
  return { largest, psnrDb: 10 * Math.log10(255 ** 2 / Math.max(squares / a.length, Number.MIN_VALUE)) };
}
