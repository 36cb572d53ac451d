/** @file Whole pictures against diffusers in fp32 on the same weights: every pixel within 2/255, PSNR at least 50 dB. */
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { decodePng } from "../../src/image/png.ts";
import type { BackendName, Engine } from "../../src/node.ts";
import { sameBytes } from "../support/same.ts";
import { requireSamePicture } from "../support/same-picture.ts";
import { sharedEngine } from "../support/shared-engine.ts";
import { searched } from "../support/thorough.ts";

interface GoldenJob {
  readonly model: string;
  /** Name of an LZR2 file in fixtures/lzr2. */
  readonly artifact?: string;
  readonly compat?: boolean;
  readonly prompt: string;
  readonly negative?: string;
  readonly seed: number;
  readonly steps: number;
  readonly guidance: number;
  readonly width: number;
  readonly height: number;
  readonly file: string;
}

const golden = new URL("../../fixtures/golden/", import.meta.url);
const jobs = JSON.parse(readFileSync(new URL("manifest.json", golden), "utf8")) as readonly GoldenJob[];

const engineOf = sharedEngine();

for (const backend of ["cpu", "reference"] as const) {
  // For plain loops one picture of each model whose networks modules.test.ts hasn't; the demo model is made of what the others are.
  const firsts = jobs.filter(({ model }, i) => jobs.findIndex((job) => job.model === model) === i);
  const affordable = backend === "cpu" ? jobs : firsts.filter(({ model }) => /^(conv-proj|odd|flat)$/.test(model));
  for (const job of searched(affordable, jobs)) {
    test(`${job.file} on ${backend} equals diffusers' picture`, async () => {
      await requireEqual(job, await generate(await open(job, backend), job));
    });
  }

  // Whatever computes, it is the engine that goes from one to the next.
  if (backend !== searched("cpu", backend)) continue;
  test(`one engine on ${backend} makes picture after picture, of several sizes and guidances`, async () => {
    const [first, second] = jobs.filter(({ model }) => model === "nested") as [GoldenJob, GoldenJob];
    const engine = await open(first, backend);
    const once = await generate(engine, first);
    await requireEqual(second, await generate(engine, second));
    await generate(engine, { ...first, prompt: "another prompt", guidance: 1, width: 88 });
    const again = await generate(engine, first);
    await requireEqual(first, again);
    sameBytes((await decodePng(again)).pixels, (await decodePng(once)).pixels);
  });
}

function open(job: GoldenJob, backend: BackendName): Promise<Engine> {
  const model = job.model === "demo" ? {} : { model: fileURLToPath(new URL(job.model, golden)) };
  const artifact =
    job.artifact === undefined ? {} : { artifact: fileURLToPath(new URL(`../lzr2/${job.artifact}.lzr2`, golden)) };
  return engineOf({ ...model, ...artifact, compat: job.compat ?? false, backend });
}

async function generate(engine: Engine, job: GoldenJob): Promise<Uint8Array<ArrayBuffer>> {
  const { prompt, seed, steps, guidance, width, height } = job;
  const negative = job.negative === undefined ? {} : { negativePrompt: job.negative };
  for await (const event of engine.generate({ prompt, ...negative, seed, steps, guidance, width, height })) {
    if (event.type === "image") return new Uint8Array(event.bytes);
  }
  throw new Error("the job ended without a picture");
}

async function requireEqual(job: GoldenJob, png: Uint8Array<ArrayBuffer>): Promise<void> {
  await requireSamePicture(png, new Uint8Array(await readFile(new URL(job.file, golden))));
}
