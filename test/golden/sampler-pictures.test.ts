/**
 * @file Whole pictures of other samplers, schedules and guidance than the models' own, against diffusers in fp32; the same ones for every
 * budget, from every step on, and told in the record.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { A1111_KEYWORD } from "../../src/job/infotext.ts";
import type { GenerateJob, OpenEngineOptions } from "../../src/job/types.ts";
import type { Engine } from "../../src/node.ts";
import { SAMPLERS } from "../../src/sampler/samplers.ts";
import { writtenTexts } from "../support/picture-files.ts";
import { sameBytes } from "../support/same.ts";
import { requireSamePicture } from "../support/same-picture.ts";
import { sharedEngine } from "../support/shared-engine.ts";
import { searched } from "../support/thorough.ts";
import { openThreadlessEngine } from "../support/threadless-engine.ts";

interface GoldenPicture {
  readonly model: string;
  readonly job: GenerateJob;
  readonly file: string;
}

const fixtures = new URL("../../fixtures/sampler/", import.meta.url);
const pictures = JSON.parse(readFileSync(new URL("pictures.json", fixtures), "utf8")) as readonly GoldenPicture[];

const engineOf = sharedEngine();

/** What each shows alone is seen in every run: samplers one by one (test/unit/samplers.test.ts), here each once, with pictures to start from. */
const ENOUGH = ["03", "07", "08", "09", "10", "11", "12", "13", "14", "15", "18"];
const affordable = pictures.filter(({ file }) => ENOUGH.includes(file.slice(0, 2)));

for (const { model, job, file } of searched(affordable, pictures)) {
  const { prompt: _, seed: __, width: ___, height: ____, guidance: _____, ...words } = job;
  const picture = job.strength === undefined ? {} : { initImage: fileURLToPath(new URL("init.png", fixtures)) };
  test(`${file}, ${JSON.stringify(words)}, equals diffusers' picture`, async () => {
    await requireSamePicture(
      await draw(await engineOf(optionsOf(model)), { ...job, ...picture }),
      new Uint8Array(await readFile(new URL(file, fixtures))),
    );
  });
}

/** Of the ways to ask the model: twice a step, with noise, keeping nothing, two or three of earlier steps. */
const KINDS = ["heun", "dpmpp-3m-sde", "plms"];

test("samplers draw the same bytes under a tight budget as under a wide one", async () => {
  const job = { prompt: "a mill", seed: 3, steps: 4, guidance: 3, width: 64, height: 64 };
  const wide = await engineOf(optionsOf("deep"));
  await using tight = await openThreadlessEngine(optionsOf("deep", { vram: "226M" }));
  for (const sampler of searched(KINDS, Object.keys(SAMPLERS))) {
    sameBytes(await draw(tight, { ...job, sampler }), await draw(wide, { ...job, sampler }));
  }
});

test("the record tells sampler, schedule, generator and variation", async () => {
  const engine = await engineOf(optionsOf("deep"));
  const job = { prompt: "a mill", seed: 3, steps: 2, guidance: 3, width: 64, height: 64 };
  const more = { scheduler: "DPM++ 2M Karras", rng: "NV", subseed: 8, subseedStrength: 0.5, guidanceRescale: 0.5 };
  const chunks = await writtenTexts(await draw(engine, { ...job, ...more }));
  const { text } = chunks.find(({ keyword }) => keyword === A1111_KEYWORD)!;
  assert.match(text, /Sampler: DPM\+\+ 2M, Schedule type: Karras, .*Variation seed: 8, Variation seed strength: 0.5/);
  assert.match(text, /RNG: NV/);
  assert.match(text, /Guidance rescale: 0.5/);
});

function optionsOf(model: string, budgets: { vram?: string } = {}): OpenEngineOptions {
  const folder = new URL(`../golden/${model}`, fixtures);
  const options = model === "demo" ? {} : { model: fileURLToPath(folder) };
  return { ...options, backend: "cpu", budgets };
}

async function draw(engine: Engine, job: GenerateJob): Promise<Uint8Array<ArrayBuffer>> {
  for await (const event of engine.generate(job)) if (event.type === "image") return new Uint8Array(event.bytes);
  throw new Error("the job ended without a picture");
}
