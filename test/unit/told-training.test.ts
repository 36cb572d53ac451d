/** @file What a single file's markers and metadata say of its training: fields of the config files that it comes without. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import type { TensorTable } from "../../src/container/table.ts";
import { SDXL } from "../../src/models/sdxl/family.ts";
import { toldSampleSize, toldTraining } from "../../src/models/sdxl/markers.ts";
import { openFileFolder } from "../../src/node/files/file-folder.ts";
import { memorySource } from "../../src/source/memory.ts";
import { encodeSafetensors } from "../safetensors-writer.ts";
import { tensorOf } from "../support/adapters.ts";
import { originalDemo } from "../support/single-file.ts";

const markers = (values: Readonly<Record<string, readonly number[]>>): TensorTable =>
  new Map(Object.entries(values).map(([name, numbers]) => [name, tensorOf(name, [numbers.length], numbers)]));
const told = async (
  values: Readonly<Record<string, readonly number[]>>,
  metadata: Readonly<Record<string, string>> = {},
) => await toldTraining(markers(values), new Map(Object.entries(metadata)), "model.safetensors");

const EDM_2_5 = { prediction_type: "epsilon", sigma_min: 0.002, sigma_max: 80, sigma_data: 0.5, rho: 7 };
const cosxl = (least: number, most: number) => ({
  schedulerClass: "EDMEulerScheduler",
  scheduler: {
    ...{ prediction_type: "v_prediction", sigma_min: least, sigma_max: most, sigma_data: 1 },
    sigma_schedule: "exponential",
  },
});

test("what is predicted, and by which levels: markers before metadata, and nothing where nothing is said", async () => {
  const spec = (type: string) => ({ "modelspec.prediction_type": type });
  const v = { scheduler: { prediction_type: "v_prediction" } };
  assert.deepEqual(await told({}), { scheduler: {} });
  assert.deepEqual(await told({ v_pred: [1] }), v);
  for (const type of ["v", "V", "v_prediction"]) assert.deepEqual(await told({}, spec(type)), v, type);
  assert.deepEqual(await told({}, spec("epsilon")), { scheduler: { prediction_type: "epsilon" } });
  assert.deepEqual(await told({ v_pred: [1] }, spec("epsilon")), v);
  for (const type of ["", "rectified_flow", "toString"]) {
    assert.deepEqual(await told({}, spec(type)), { scheduler: {} }, type);
  }
  const rescaled = { rescale_betas_zero_snr: true, timestep_spacing: "trailing" };
  assert.deepEqual(await told({ ztsnr: [1] }), { scheduler: rescaled });
  assert.deepEqual(await told({ ztsnr: [1], v_pred: [1] }), { scheduler: { ...v.scheduler, ...rescaled } });
  // CosXL, whose lower level is 0.002 where the file doesn't say.
  assert.deepEqual(await told({ "edm_vpred.sigma_max": [120], "edm_vpred.sigma_min": [0.125] }), cosxl(0.125, 120));
  assert.deepEqual(await told({ "edm_vpred.sigma_max": [80] }), cosxl(0.002, 80));
  assert.deepEqual(await told({ "edm_vpred.sigma_max": [80], v_pred: [1], ztsnr: [1] }), cosxl(0.002, 80));
  // Playground 2.5.
  assert.deepEqual(await told({ edm_mean: [-1.5, 1.75], edm_std: [8.5, 6], v_pred: [1] }), {
    schedulerClass: "EDMDPMSolverMultistepScheduler",
    scheduler: EDM_2_5,
    vae: { latents_mean: [-1.5, 1.75], latents_std: [8.5, 6], scaling_factor: 0.5 },
  });
});

test("E_PREDICTION: half of a pair of markers, and what is no number", async () => {
  const refused = async (values: Readonly<Record<string, readonly number[]>>, words: RegExp) =>
    await assert.rejects(told(values), (error: Error & { code?: string }) => {
      assert.equal(error.code, "E_PREDICTION", error.message);
      return words.test(error.message);
    });
  for (const half of ["edm_mean", "edm_std"]) await refused({ [half]: [1] }, /it has only one/);
  for (const [name, others] of [
    ["edm_vpred.sigma_max", {}],
    ["edm_vpred.sigma_min", { "edm_vpred.sigma_max": [80] }],
    ["edm_mean", { edm_std: [1] }],
    ["edm_std", { edm_mean: [1] }],
  ] as const) {
    for (const bad of [[], [Number.NaN], [1, Number.POSITIVE_INFINITY], Array<number>(65).fill(1)]) {
      await refused({ ...others, [name]: bad }, new RegExp(`its marker ${name} doesn't hold numbers`));
    }
    await told({ edm_mean: Array<number>(64).fill(1), edm_std: Array<number>(64).fill(1) });
  }
});

test("the size that a file was trained for: squares of whole 64 pixels, from 256 to 2048; of anything else nothing", () => {
  const size = (text: string) => toldSampleSize(new Map([["modelspec.resolution", text]]));
  for (const [side, latent] of [
    [256, 32],
    [768, 96],
    [1024, 128],
    [2048, 256],
  ] as const) {
    assert.equal(size(`${side}x${side}`), latent);
  }
  const unusable = ["", "1024", "1024x768", "768x1024", "1000x1000", "192x192", "2112x2112", "01024x01024"];
  for (const text of [...unusable, " 1024x1024", "1024x1024 ", "1024X1024"]) assert.equal(size(text), undefined, text);
  assert.equal(toldSampleSize(new Map()), undefined);
});

test("a file's own size is its model's where no config is given; a given config's, and what is asked for, come first", async () => {
  const demo = await openFileFolder(fileURLToPath(new URL("../../models/demo", import.meta.url)));
  const bytes = encodeSafetensors(originalDemo(), {
    ...{ "modelspec.resolution": "512x512", "modelspec.prediction_type": "v" },
  });
  const opened = async (more: object) => {
    const model = { kind: "file", path: "model.safetensors", file: memorySource("model", bytes) } as const;
    const base = { name: "demo", asked: true, open: async () => demo };
    const { checkpoint } = await SDXL.openFiles!({ model, base, vocabulary: demo, ...more });
    const { width, height } = checkpoint.defaults;
    const { predictionType } = checkpoint.scheduler;
    await checkpoint[Symbol.asyncDispose]();
    return [width, height, predictionType];
  };
  const own = JSON.parse((await demo.readText("unet/config.json", 1e6))!).sample_size * 8;
  assert.deepEqual(await opened({}), [512, 512, "v_prediction"]);
  assert.deepEqual(await opened({ config: demo }), [own, own, "v_prediction"]);
  assert.deepEqual(await opened({ config: demo, prediction: "epsilon" }), [own, own, "epsilon"]);
});
