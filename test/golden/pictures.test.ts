/**
 * @file Pictures from pictures against diffusers in fp32 on the same weights (scripts/golden/pictures_golden.py): image to image, inpainting by
 * both kinds of network, and second passes. Every pixel within 2/255, PSNR at least 50 dB.
 */
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import type { Engine, GenerateJob } from "../../src/node.ts";
import { requireSamePicture } from "../support/same-picture.ts";
import { sharedEngine } from "../support/shared-engine.ts";
import { searched } from "../support/thorough.ts";

interface GoldenJob {
  readonly model: string;
  readonly prompt: string;
  readonly seed: number;
  readonly steps: number;
  readonly guidance: number;
  readonly width?: number;
  readonly height?: number;
  readonly init?: string;
  readonly mask?: string;
  readonly strength?: number;
  readonly hires?: {
    readonly scale: number;
    readonly strength: number;
    readonly steps?: number;
    readonly upscaler: string;
  };
  readonly negative?: string;
  /** Where the refiner takes over. */
  readonly refiner?: number;
  readonly detail?: string;
  readonly padding?: number;
  readonly blur?: number;
  readonly file: string;
}

const fixtures = new URL("../../fixtures/", import.meta.url);
const here = new URL("from-pictures/", fixtures);
const jobs = JSON.parse(readFileSync(new URL("manifest.json", here), "utf8")) as readonly GoldenJob[];

const pathOf = (name: string) => fileURLToPath(new URL(name, here));

/** Models that only these pictures need lie beside them. */
function modelOf({ model }: GoldenJob): string {
  return fileURLToPath(new URL(model === "paint" ? `from-pictures/${model}` : `golden/${model}`, fixtures));
}

function jobOf({ prompt, seed, steps, guidance, width, height, init, mask, ...rest }: GoldenJob): GenerateJob {
  const { strength, hires, refiner, negative, detail, padding, blur = 0 } = rest;
  return {
    ...{ prompt, seed, steps, guidance },
    ...(width !== undefined && { width }),
    ...(height !== undefined && { height }),
    ...(init !== undefined && { initImage: pathOf(init) }),
    ...(mask !== undefined && { maskImage: pathOf(mask) }),
    ...(strength !== undefined && { strength }),
    ...(hires && { hiresScale: hires.scale, hiresStrength: hires.strength, hiresUpscaler: hires.upscaler }),
    ...(detail !== undefined && { detail, maskBlur: blur }),
    ...(padding !== undefined && { detailPadding: padding }),
    ...(refiner !== undefined && { refinerStart: refiner }),
    ...(negative !== undefined && { negativePrompt: negative }),
    ...(hires?.steps !== undefined && { hiresSteps: hires.steps }),
  };
}

const engineOf = sharedEngine();

/** What others show together is left to thorough runs: full strength, a third model, a refiner beside init pictures and other sizes. */
const ELSEWHERE = ["02-deep.png", "04-odd.png", "14-deep.png", "15-deep.png"];
const affordable = jobs.filter(({ file }) => !ELSEWHERE.includes(file));

/** What is opened for a picture, which those of one engine follow each other by. */
const openedFor = ({ model, refiner }: GoldenJob) => `${model} ${refiner !== undefined}`;

for (const job of searched(affordable, jobs).toSorted((a, b) => openedFor(a).localeCompare(openedFor(b)))) {
  test(`${job.file} equals diffusers' picture`, async () => {
    const engine = await engineOf({
      model: modelOf(job),
      backend: "cpu",
      ...(job.refiner !== undefined && { refiner: pathOf("refiner") }),
    });
    await requireSamePicture(
      await generate(engine, jobOf(job)),
      new Uint8Array(await readFile(new URL(job.file, here))),
    );
  });
}

async function generate(engine: Engine, job: GenerateJob): Promise<Uint8Array<ArrayBuffer>> {
  for await (const event of engine.generate(job)) if (event.type === "image") return new Uint8Array(event.bytes);
  throw new Error("the job ended without a picture");
}
