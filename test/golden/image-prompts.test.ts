/**
 * @file IP-Adapters against diffusers in fp32 on the same weights (scripts/golden/image_prompts_golden.py): base and Plus, one picture and two, a part
 * of the steps. Every pixel within 2/255, PSNR at least 50 dB.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { settingsOfInfotext } from "../../src/job/infotext-settings.ts";
import { openFileFolder } from "../../src/node/files/file-folder.ts";
import type { GenerateJob } from "../../src/node.ts";
import { openSdxlFolder } from "../sdxl-folder.ts";
import { drawWithinPlan } from "../support/draw-within-plan.ts";
import { writtenTexts } from "../support/picture-files.ts";
import { requireSamePicture } from "../support/same-picture.ts";
import { sharedEngine } from "../support/shared-engine.ts";
import { searched } from "../support/thorough.ts";

interface GoldenJob extends Pick<GenerateJob, "prompt" | "seed" | "steps" | "guidance" | "width" | "height"> {
  readonly negative?: string;
  readonly adapter: string;
  readonly images: readonly string[];
  readonly weight: number;
  readonly start?: number;
  readonly end?: number;
  readonly name: string;
  readonly file: string;
}

const fixtures = new URL("../../fixtures/", import.meta.url);
const pathOf = (name: string) => fileURLToPath(new URL(name, fixtures));
const jobs = JSON.parse(readFileSync(pathOf("image-prompts/manifest.json"), "utf8")) as readonly GoldenJob[];

function jobOf({ negative, adapter, images, weight, start, end, name: _, file: __, ...job }: GoldenJob): GenerateJob {
  return {
    ...job,
    ...(negative !== undefined && { negativePrompt: negative }),
    ipAdapter: pathOf(`image-prompts/${adapter}`),
    imageEncoder: pathOf("image-prompts/image_encoder"),
    ipImages: images.map((image) => pathOf(`from-pictures/${image}`)),
    ipWeight: weight,
    ...(start !== undefined && { ipStart: start }),
    ...(end !== undefined && { ipEnd: end }),
  };
}

const engineOf = sharedEngine();

test("the same picture for every budget, within the plan; told in the picture and read back; another one without", async () => {
  const engine = await engineOf({ model: pathOf("golden/deep"), backend: "cpu" });
  const job = { ...jobOf(jobs.find(({ name }) => name === "plus-two")!), steps: 1 };
  const picture = await drawWithinPlan(engine, job);
  await engine.setBudgets({ vram: "226M" });
  const small = await drawWithinPlan(engine, job);
  await engine.setBudgets({ vram: "1G" });
  assert.deepEqual(small, picture);
  const texts = new Map((await writtenTexts(Buffer.from(picture))).map(({ keyword, text }) => [keyword, text]));
  const { ipAdapter, imageEncoder, ipImages, ipWeight } = job;
  const told = settingsOfInfotext(texts.get("parameters")!)!.job;
  assert.deepEqual(
    [told.ipAdapter, told.imageEncoder, told.ipImages, told.ipWeight],
    [ipAdapter, imageEncoder, ipImages, ipWeight],
  );
  const { ipAdapter: _, imageEncoder: __, ipImages: ___, ipWeight: ____, ...plain } = job;
  assert.notDeepEqual(pixels(await drawWithinPlan(engine, plain)), pixels(picture));
});

function pixels(png: Uint8Array): Buffer {
  return Buffer.from(png).subarray(Buffer.from(png).indexOf("IDAT"));
}

test("what is no IP-Adapter for the model is refused by what it is; jobs that are not whole by their fields", async () => {
  const checkpoint = await openSdxlFolder(pathOf("golden/deep"));
  const encoder = { kind: "folder", folder: await openFileFolder(pathOf("image-prompts/image_encoder")) } as const;
  const table = (...names: readonly (readonly [string, ...number[]])[]) => {
    const entries = names.map(([name, ...shape]) => [
      name,
      { name, shape, dtype: "f16", source: undefined, startByte: 0, endByte: 0 },
    ]);
    return new Map([["", new Map(entries as never)]]) as never;
  };
  const keys = ["ip_adapter.1.to_k_ip.weight", 24, 40] as const;
  for (const [tables, words] of [
    [
      table(["image_proj.perceiver_resampler.proj_in.weight", 8, 8], keys),
      /E_IP_ADAPTER odd: it is an IP-Adapter FaceID/,
    ],
    [
      table(["image_proj.proj.2.weight", 8, 8], ["image_proj.norm.weight", 8]),
      /E_IP_ADAPTER odd: it is an IP-Adapter FaceID/,
    ],
    [table(["image_proj.proj.3.weight", 8], keys), /Full Face/],
    [
      table(["image_proj.proj.weight", 3072, 1024], ["ip_adapter.1.to_k_ip.weight", 320, 768]),
      /for Stable Diffusion 1\.5/,
    ],
    [table(["image_proj.proj.weight", 320, 16], keys), /it gives 80 channels of context, and .* reads 40/],
    [
      table(["image_proj.proj.weight", 160, 1280], keys),
      /it reads 1280 channels of an image encoder, and .* gives 16\. Next: name its own encoder/,
    ],
    [table(["conv_in.weight", 8, 4, 3, 3]), /its tensors are none of an IP-Adapter's/],
    [table(["image_proj.proj.weight", 160, 16], keys), /E_SCHEMA odd: \d+ tensors are missing/],
  ] as const) {
    await using sources = new AsyncDisposableStack();
    await assert.rejects(checkpoint.openImagePrompt({ subject: "odd", tables }, encoder, { sources }), words);
  }
  const engine = await engineOf({ model: pathOf("golden/deep"), backend: "cpu" });
  const whole = jobOf(jobs[0]!);
  for (const [job, words] of [
    [{ ...whole, ipImages: [] }, /E_JOB ipImages: an IP-Adapter has no picture/],
    [{ ...whole, imageEncoder: undefined }, /E_JOB imageEncoder: an IP-Adapter needs its image encoder/],
    [{ ...whole, ipAdapter: undefined }, /E_JOB imageEncoder: there is no IP-Adapter/],
    [{ ...whole, ipStart: 0.5, ipEnd: 0.25 }, /E_JOB ipStart: 0.5 is behind ipEnd 0.25/],
  ] as const) {
    const drawn = async () => {
      for await (const _event of engine.generate(job as GenerateJob));
    };
    await assert.rejects(drawn(), words);
  }
});

/** What others show as well. */
const SHOWN_BY_OTHERS = ["base", "plus", "unguided"];
const drawn = searched(
  jobs.filter(({ name }) => !SHOWN_BY_OTHERS.includes(name)),
  jobs,
);

for (const job of drawn) {
  test(`${job.file} equals diffusers' picture`, async () => {
    const engine = await engineOf({ model: pathOf("golden/deep"), backend: "cpu" });
    for await (const event of engine.generate(jobOf(job))) {
      if (event.type !== "image") continue;
      const expected = new Uint8Array(await readFile(pathOf(`image-prompts/${job.file}`)));
      return await requireSamePicture(new Uint8Array(event.bytes), expected);
    }
    throw new Error("the job ended without a picture");
  });
}
