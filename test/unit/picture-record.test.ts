/** @file What a picture says of how it was made: every field, in the PNG itself, and what follows from a retry. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import { parseSchedulerConfig, scheduleTypeName } from "../../src/checkpoint/scheduler-config.ts";
import { recordOf, recordTexts } from "../../src/engine/picture-record.ts";
import { shownPictures } from "../../src/engine/read-job.ts";
import { decodePng, encodePng } from "../../src/image/png.ts";
import type { EngineInfo } from "../../src/job/engine.ts";
import { a1111Parameters, type ImageRecord, solvayJson } from "../../src/job/infotext.ts";
import { settingsOfInfotext } from "../../src/job/infotext-settings.ts";
import type { Checkpoint } from "../../src/models/family.ts";
import { courseOf } from "../../src/pipeline/denoising.ts";
import { SCHEDULE_TABLE } from "../../src/sampler/names.ts";
import type { SamplerName } from "../../src/sampler/samplers.ts";
import type { ScheduleName } from "../../src/sampler/schedules.ts";
import { SOLVAY_VERSION } from "../../src/version.ts";
import { writtenTexts } from "../support/picture-files.ts";

/** A model of such a scheduler_config.json. */
function modelOf(json: object, refiner?: object): Checkpoint {
  const { config: scheduler } = parseSchedulerConfig(JSON.stringify(json));
  const drawsLast = refiner && { refiner: { scheduler: parseSchedulerConfig(JSON.stringify(refiner)).config } };
  return { scheduler, scheduleTitle: scheduleTypeName(scheduler), ...drawsLast } as unknown as Checkpoint;
}

const JOB = {
  ...{ prompt: "a cat", negativePrompt: "blurry", seed: 9, steps: 30, guidance: 7, width: 24, height: 16 },
  sampler: "euler",
} as const;
const INFO: EngineInfo = {
  ...{ model: "/models/org/my-model/", demo: false, artifact: "a.lzr2", backend: "webgpu", adapter: "Card 7" },
  ...{ precision: "fp16 (shader-f16)", defaultWidth: 1024, defaultHeight: 1024 },
};
const CHECKPOINT = modelOf({ use_karras_sigmas: true });
const PICTURE = { rgb: Uint8Array.from({ length: 18 }, (_, i) => i), width: 3, height: 2 };
const RECORD: ImageRecord = {
  ...JOB,
  ...{ width: 3, height: 2, samplerName: "Euler", scheduleType: "Karras", model: "my-model", artifact: "a.lzr2" },
  ...{
    backend: "webgpu",
    adapter: "Card 7",
    precision: "fp16 (shader-f16)",
    retry: undefined,
    version: SOLVAY_VERSION,
  },
};

test("a record has the job, the picture's own size, the model's name and what computed", () => {
  assert.deepEqual(recordOf(JOB, PICTURE, INFO, CHECKPOINT), {
    ...RECORD,
    emptyNegativePrompt: undefined,
    refiner: undefined,
    encoder: undefined,
  });
  const { negativePrompt: _, ...bare } = JOB;
  assert.equal(recordOf(bare, PICTURE, INFO, CHECKPOINT).negativePrompt, "");
  const retried = recordOf(JOB, { ...PICTURE, retry: "E_NAN" }, INFO, CHECKPOINT);
  assert.deepEqual(retried, {
    ...RECORD,
    precision: "fp32",
    retry: "E_NAN",
    emptyNegativePrompt: undefined,
    refiner: undefined,
    encoder: undefined,
  });
  const jobFiles = { loraHashes: "fur: 0123456789ab", pictureHashes: `initImage: ${"0".repeat(64)}` };
  const hashed = recordOf(JOB, { ...PICTURE, jobFiles }, INFO, CHECKPOINT);
  assert.deepEqual([hashed.loraHashes, hashed.pictureHashes], Object.values(jobFiles));
  const names = ["org/model", "C:\\models\\mine", "plain", "/"].map(
    (model) => recordOf(JOB, PICTURE, { ...INFO, model }, CHECKPOINT).model,
  );
  assert.deepEqual(names, ["model", "mine", "plain", "/"]);
});

test("our JSON holds the record: all of it, and nothing else", () => {
  const { samplerName: _, ...rest } = { ...RECORD, retry: "E_NAN, in step 2" };
  assert.deepEqual(JSON.parse(solvayJson({ ...RECORD, retry: "E_NAN, in step 2" })), { ...rest, rng: "torch-cpu" });
  for (const field of Object.keys(RECORD).filter((name) => name !== "samplerName")) {
    const changed = solvayJson({ ...RECORD, retry: "", [field]: "other" } as ImageRecord);
    assert.equal(JSON.parse(changed)[field], "other", field);
  }
  assert.equal(Object.keys(JSON.parse(solvayJson(RECORD)))[0], "version");
});

test("in the infotext a value with a comma, a colon or a line break is quoted, all others are not", () => {
  const line = (change: Partial<ImageRecord>) =>
    a1111Parameters({ ...RECORD, ...change })
      .split("\n")
      .slice(2)
      .join("\n");
  assert.equal(
    line({}),
    "Steps: 30, Sampler: Euler, Schedule type: Karras, CFG scale: 7.0, Seed: 9, Size: 3x2, Model: my-model, RNG: CPU, " +
      `Artifact: a.lzr2, Precision: fp16 (shader-f16), Version: Solvay ${SOLVAY_VERSION}`,
  );
  for (const model of ["a, b", "a: b", "a\nb", ",", ":"]) {
    assert.ok(line({ model }).includes(`Model: ${JSON.stringify(model)}, RNG`), model);
    assert.ok(line({ artifact: model }).includes(`Artifact: ${JSON.stringify(model)}, Precision`), model);
  }
  assert.ok(line({ model: 'a "b" c' }).includes('Model: a "b" c, RNG'));
  assert.ok(!a1111Parameters({ ...RECORD, negativePrompt: "" }).includes("Negative"));
});

test("the PNG holds both texts and these very pixels", async () => {
  const png = new Uint8Array(await encodePng({ ...PICTURE, text: recordTexts(RECORD) }));
  assert.deepEqual(await writtenTexts(png), [
    { keyword: "parameters", text: a1111Parameters(RECORD) },
    { keyword: "solvay", text: solvayJson(RECORD) },
  ]);
  const { width, height, pixels } = await decodePng(png);
  assert.deepEqual([width, height], [3, 2]);
  assert.deepEqual(Buffer.from(pixels), Buffer.from(PICTURE.rgb));
});

/** What is searched for a noise level. */
const FEW = { num_train_timesteps: 100 };
const OWN_SCHEDULES: readonly object[] = [
  ...["linspace", "leading", "trailing"].flatMap((timestep_spacing) =>
    [{}, { use_karras_sigmas: true }, { use_exponential_sigmas: true }, { use_beta_sigmas: true }].flatMap((levels) => [
      { timestep_spacing, ...levels },
      { timestep_spacing, ...levels, rescale_betas_zero_snr: true, prediction_type: "v_prediction", steps_offset: 1 },
    ]),
  ),
  { timestep_spacing: "trailing", timestep_type: "continuous", prediction_type: "v_prediction" },
  { final_sigmas_type: "sigma_min", use_karras_sigmas: true, sigma_min: 0.1, sigma_max: 9 },
  { _class_name: "LCMScheduler", original_inference_steps: 20 },
  { _class_name: "EDMEulerScheduler", sigma_max: 120 },
  { _class_name: "EDMEulerScheduler", sigma_schedule: "exponential" },
];

/** One of each way to place timesteps. */
const PLACING: readonly SamplerName[] = ["euler", "dpm2", "dpmpp-2m", "deis", "ddim", "pndm", "lcm"];

/** The noise levels and timesteps of a job, or why there are none. */
function coursesOf({ scheduler, refiner }: Checkpoint, job: { sampler: SamplerName; schedule?: ScheduleName }) {
  return [scheduler, ...(refiner ? [refiner.scheduler] : [])].map((own) => {
    try {
      const { schedule } = courseOf({ scheduler: own }, { ...job, steps: 7 });
      const { timestepOf: _, levelAt: __, ...values } = schedule;
      return values;
    } catch (error) {
      return String(error);
    }
  });
}

test("a model's own schedule is drawn again from the infotext alone, by a title that others know", () => {
  const marked: string[] = [];
  for (const sampler of PLACING) {
    for (const model of [
      ...OWN_SCHEDULES.map((json) => modelOf({ ...FEW, ...json })),
      ...OWN_SCHEDULES.slice(0, 6).map((json) => modelOf({ ...FEW, timestep_spacing: "leading" }, { ...FEW, ...json })),
    ]) {
      const infotext = a1111Parameters(recordOf({ ...JOB, sampler }, { width: 64, height: 64 }, INFO, model));
      const { job, notes } = settingsOfInfotext(infotext)!;
      assert.deepEqual(notes, []);
      const remade = coursesOf(model, job as { sampler: SamplerName; schedule?: ScheduleName });
      assert.deepEqual(remade, coursesOf(model, { sampler }), infotext);
      const isMarked = infotext.includes(", Model schedule: True,");
      if (isMarked) marked.push(sampler);
      // No mark where the title says it all, as in the pictures before there was one.
      const titled = { sampler, schedule: SCHEDULE_TABLE.meaning(model.scheduleTitle) as ScheduleName };
      const [own, named] = [coursesOf(model, { sampler }), coursesOf(model, titled)];
      const isDrawn = own.every((course) => typeof course !== "string");
      if (isDrawn) assert.equal(isMarked, !isDeepStrictEqual(named, own), infotext);
    }
  }
  assert.ok(marked.includes("euler") && marked.includes("lcm"));
  // Pictures from before the mark are read as they were.
  const old = settingsOfInfotext("x\nSteps: 4, Sampler: Euler, Schedule type: SGM Uniform, Version: Solvay 0.1.0")!;
  assert.equal(old.job.schedule, "sgm-uniform");
});

test("pictures that lie in the job itself are told by their hashes, wherever they are; files and assets as they are named", () => {
  const dataOf = (text: string) => `data:image/png;base64,${Buffer.from(text).toString("base64")}`;
  const hashOf = (text: string) => `sha256:${createHash("sha256").update(text).digest("hex")}`;
  const asset = `sha256:${"0f".repeat(32)}`;
  const job = (of: (text: string) => string) => ({
    ...JOB,
    ...{ initImage: of("first"), maskImage: "mask.png" },
    controls: [
      { file: "a", image: of("second") },
      { file: "b", image: asset },
      { file: "c", image: "edges.png" },
    ],
    ipAdapters: [{ file: "d", images: ["cat.png", of("third")], masks: [of("fourth"), asset] }],
  });
  const shown = shownPictures(job(dataOf));
  assert.deepEqual(shown, job(hashOf));
  const texts = recordTexts(recordOf(shown, { ...PICTURE }, INFO, CHECKPOINT)).map(({ text }) => text);
  for (const text of texts) assert.doesNotMatch(text, /base64/);
  const plain = { ...JOB, initImage: "a.png" };
  assert.deepEqual(shownPictures(plain), plain);
});
