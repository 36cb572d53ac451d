/**
 * @file Models that were trained on noise levels (EDM: CosXL, Playground 2.5): whole pictures against diffusers in fp32, by other samplers too,
 * under a tight budget, and what previews make of latents in a measure of their own.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { decodePng } from "../../src/image/png.ts";
import type { GenerateJob } from "../../src/job/types.ts";
import { normalisedColours, SDXL_BASE_VAE, SDXL_LATENT_COLOURS, sdxlLatent } from "../../src/models/sdxl/base.ts";
import type { Engine } from "../../src/node.ts";
import { sameBytes } from "../support/same.ts";
import { requireSamePicture } from "../support/same-picture.ts";
import { sharedEngine } from "../support/shared-engine.ts";
import { searched } from "../support/thorough.ts";
import { openThreadlessEngine } from "../support/threadless-engine.ts";

interface GoldenPicture {
  readonly kind: string;
  readonly config: { readonly scheduler: { readonly _class_name: string }; readonly vae: object };
  readonly job: GenerateJob;
  readonly file: string;
}

const fixtures = new URL("../../fixtures/edm/", import.meta.url);
const pictures = JSON.parse(readFileSync(new URL("pictures.json", fixtures), "utf8")) as readonly GoldenPicture[];
const init = fileURLToPath(new URL("../sampler/init.png", fixtures));
const folder = await mkdtemp(join(tmpdir(), "solvay-edm-"));
after(() => rm(folder, { recursive: true, force: true }));
const engineOf = sharedEngine();

const models = new Map<string, string>();

/** The tiny model with these config files, one of each kind. */
async function modelOf({ kind, config }: GoldenPicture): Promise<string> {
  const made = models.get(kind);
  if (made !== undefined) return made;
  const model = join(folder, kind);
  models.set(kind, model);
  await cp(fileURLToPath(new URL("../golden/deep", fixtures)), model, { recursive: true });
  await writeFile(join(model, "scheduler/scheduler_config.json"), JSON.stringify(config.scheduler));
  await changed(join(model, "vae/config.json"), config.vae);
  await changed(join(model, "model_index.json"), { scheduler: ["diffusers", config.scheduler._class_name] });
  return model;
}

async function changed(file: string, fields: object): Promise<void> {
  await writeFile(file, JSON.stringify({ ...JSON.parse(await readFile(file, "utf8")), ...fields }));
}

async function draw(engine: Engine, job: GenerateJob): Promise<Uint8Array<ArrayBuffer>> {
  for await (const event of engine.generate(job)) if (event.type === "image") return new Uint8Array(event.bytes);
  throw new Error("the job ended without a picture");
}

for (const golden of pictures) {
  const { job, file } = golden;
  test(`${file}, ${JSON.stringify(job)}, equals diffusers' picture`, async () => {
    const engine = await engineOf({ model: await modelOf(golden), backend: "cpu" });
    const picture = job.strength === undefined ? {} : { initImage: init };
    const expected = new Uint8Array(await readFile(new URL(file, fixtures)));
    await requireSamePicture(await draw(engine, { ...job, ...picture }), expected);
  });
}

test("the other samplers draw on, but those that go by training steps; another schedule is another picture", async () => {
  const model = await modelOf(pictures[1]!);
  const job = { prompt: "a mill", seed: 3, steps: 3, guidance: 3, width: 64, height: 64 };
  const engine = await engineOf({ model, backend: "cpu" });
  await using tight = await openThreadlessEngine({ model, backend: "cpu", budgets: { vram: "226M" } });
  const own = await draw(engine, job);
  sameBytes(await draw(tight, job), own);
  const pixels = (png: Uint8Array<ArrayBuffer>) => decodePng(png).then((picture) => picture.pixels);
  sameBytes(await pixels(await draw(engine, { ...job, sampler: "dpmpp-2m", schedule: "karras" })), await pixels(own));
  for (const sampler of searched(["heun", "unipc"], ["heun", "unipc", "ddim", "pndm", "dpm2-a"])) {
    const drawn = await pixels(await draw(engine, { ...job, sampler, schedule: "exponential" }));
    assert.ok(!Buffer.from(drawn).equals(await pixels(own)), sampler);
  }
  for (const sampler of ["lcm", "tcd"]) {
    await assert.rejects(draw(engine, { ...job, sampler }), /E_SCHEDULER: .*training steps.*EDM/);
  }
});

test("no refiner goes on from such a model's latents, and none is advised", async () => {
  const refiner = fileURLToPath(new URL("../from-pictures/refiner", fixtures));
  const opened = openThreadlessEngine({ model: await modelOf(pictures[0]!), refiner, backend: "cpu" });
  await assert.rejects(opened, /E_NOT_SDXL .*trained on noise levels.* Next: leave the refiner away\./);
});

test("a normalised latent has the colours of the latent that it stands for", () => {
  const statistics = { mean: [-1.6574, 1.886, -1.383, 2.5155], std: [8.4927, 5.9022, 6.5498, 5.2299] };
  const { factors, bias } = normalisedColours(SDXL_LATENT_COLOURS, statistics, 0.5);
  const latent = [0.3, -0.2, 0.1, 0.4];
  // diffusers' way to what the decoder reads, and back by SDXL's scale.
  const plain = latent.map((value, at) => ((value * statistics.std[at]!) / 0.5 + statistics.mean[at]!) * 0.13025);
  const shown = (rows: readonly (readonly number[])[], levels: readonly number[], values: readonly number[]) =>
    rows.map((row, colour) => row.reduce((sum, factor, at) => sum + factor * values[at]!, levels[colour]!));
  const expected = shown(SDXL_LATENT_COLOURS.factors, SDXL_LATENT_COLOURS.bias, plain);
  shown(factors, bias, latent).forEach((level, at) => {
    assert.ok(Math.abs(level - expected[at]!) < 1e-9);
  });
  const vae = { ...SDXL_BASE_VAE, latentStatistics: statistics, scalingFactor: 0.5 };
  sdxlLatent(Float32Array.from(latent), vae).forEach((value, at) => {
    assert.ok(Math.abs(value - plain[at]!) < 1e-6);
  });
});
