/**
 * @file IP-Adapters against diffusers in fp32 on the same weights (scripts/golden/image_prompts_golden.py): base and Plus, one picture and two, masks,
 * several adapters, a part of the steps. Every pixel within 2/255, PSNR at least 50 dB.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { sha256Hex } from "#hash";
import { readSafetensorsHeader } from "../../src/container/safetensors.ts";
import { settingsOfInfotext } from "../../src/job/infotext-settings.ts";
import { namedPictures } from "../../src/job/named-pictures.ts";
import { settingsOfSolvayJson } from "../../src/job/solvay-record.ts";
import { openFileSource } from "../../src/node/files/file.ts";
import { openFileFolder } from "../../src/node/files/file-folder.ts";
import type { GenerateJob } from "../../src/node.ts";
import { findTestAdapter } from "../backend/software-vulkan.ts";
import { openSdxlFolder } from "../sdxl-folder.ts";
import { drawWithinPlan } from "../support/draw-within-plan.ts";
import { writtenTexts } from "../support/picture-files.ts";
import { requireSamePicture } from "../support/same-picture.ts";
import { sharedEngine } from "../support/shared-engine.ts";
import { searched } from "../support/thorough.ts";

interface GoldenUse {
  readonly adapter: string;
  readonly images: readonly string[];
  readonly masks?: readonly string[];
  readonly weight: number;
  readonly start?: number;
  readonly end?: number;
}

interface GoldenJob
  extends GoldenUse,
    Pick<GenerateJob, "prompt" | "seed" | "steps" | "guidance" | "width" | "height"> {
  readonly negative?: string;
  /** Adapters behind the first. */
  readonly further?: readonly GoldenUse[];
  readonly name: string;
  readonly file: string;
}

const fixtures = new URL("../../fixtures/", import.meta.url);
const pathOf = (name: string) => fileURLToPath(new URL(name, fixtures));
const jobs = JSON.parse(readFileSync(pathOf("image-prompts/manifest.json"), "utf8")) as readonly GoldenJob[];

function jobOf({
  prompt,
  negative,
  seed,
  steps,
  guidance,
  width,
  height,
  further = [],
  ...first
}: GoldenJob): GenerateJob {
  return {
    ...{ prompt, seed, steps, guidance, width, height },
    ...(negative !== undefined && { negativePrompt: negative }),
    ipAdapters: [first, ...further].map(({ adapter, images, masks, weight, start, end }, i) => ({
      file: pathOf(`image-prompts/${adapter}`),
      ...(i === 0 && { encoder: pathOf("image-prompts/image_encoder") }),
      images: images.map((image) => pathOf(`from-pictures/${image}`)),
      ...(masks && { masks: masks.map((mask) => pathOf(`image-prompts/${mask}`)) }),
      weight,
      ...(start !== undefined && { start }),
      ...(end !== undefined && { end }),
    })),
  } as GenerateJob;
}

const engineOf = sharedEngine();

test("the same picture for every budget, within the plan; told in the picture and read back; another one without", async () => {
  const engine = await engineOf({ model: pathOf("golden/deep"), backend: "cpu" });
  const job = { ...jobOf(jobs.find(({ name }) => name === "several-masked")!), steps: 1 };
  const picture = await drawWithinPlan(engine, job);
  await engine.setBudgets({ vram: "226M" });
  const small = await drawWithinPlan(engine, job);
  await engine.setBudgets({ vram: "1G" });
  assert.deepEqual(small, picture);
  const texts = new Map((await writtenTexts(Buffer.from(picture))).map(({ keyword, text }) => [keyword, text]));
  assert.deepEqual(settingsOfInfotext(texts.get("parameters")!)!.job.ipAdapters, job.ipAdapters);
  const { job: read, facts } = settingsOfSolvayJson(texts.get("solvay")!)!;
  assert.deepEqual(read.ipAdapters, job.ipAdapters);
  const hashOf = (file: string) => sha256Hex(new Uint8Array(readFileSync(file)));
  for (const { name, reference } of namedPictures(job)) {
    assert.ok(facts.pictureHashes!.includes(`${name}: ${hashOf(reference)}`), name);
  }
  assert.deepEqual(await drawWithinPlan(engine, { ...job, ...read } as GenerateJob), picture);
  const encoder = hashOf(pathOf("image-prompts/image_encoder/model.fp16.safetensors")).slice(0, 10);
  const ownHashes = job.ipAdapters!.flatMap(({ file }, i) => [
    `ipAdapters.${i}: ${hashOf(file).slice(0, 10)}`,
    `ipAdapters.${i}.encoder: ${encoder}`,
  ]);
  assert.equal(facts.networkHashes, ownHashes.join(", "));
  const { ipAdapters, ...plain } = job;
  assert.notDeepEqual(pixels(await drawWithinPlan(engine, plain)), pixels(picture));
  const unmasked = ipAdapters!.map(({ masks: _, ...use }) => use);
  assert.notDeepEqual(pixels(await drawWithinPlan(engine, { ...plain, ipAdapters: unmasked })), pixels(picture));
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
    await assert.rejects(checkpoint.openImagePrompt({ subject: "odd", tables }, [encoder], { sources }), words);
  }
  // Of several encoders the one that fits is taken; a text encoder's folder has a config of the same words.
  const other = { kind: "folder", folder: await openFileFolder(pathOf("golden/deep/text_encoder")) } as const;
  await using sources = new AsyncDisposableStack();
  const source = sources.use(await openFileSource(pathOf("image-prompts/base.safetensors")));
  const tables = new Map([["", (await readSafetensorsHeader(source)).table]]);
  const opened = await checkpoint.openImagePrompt({ subject: "base", tables }, [other, encoder], { sources });
  assert.equal(opened.network.side, 28);
  await assert.rejects(
    checkpoint.openImagePrompt({ subject: "base", tables }, [other, other], { sources }),
    /E_IP_ADAPTER base: it reads 16 channels of an image encoder, and text_encoder gives \d+, text_encoder gives/,
  );
  const engine = await engineOf({ model: pathOf("golden/deep"), backend: "cpu" });
  const whole = jobOf(jobs[0]!);
  const [use] = whole.ipAdapters!;
  for (const [ipAdapters, words] of [
    [[{ ...use, images: [] }], /E_JOB ipAdapters: number 1 has no picture/],
    [[{ ...use, encoder: undefined }], /E_JOB ipAdapters: an IP-Adapter needs its image encoder/],
    [[{ ...use, start: 0.5, end: 0.25 }], /E_JOB ipAdapters: up to 4 files, each with its settings/],
    [[use, { ...use, masks: ["a.png", "b.png"] }], /E_JOB ipAdapters: number 2 .*found 2, allowed 0 or 1/],
    [[{ ...use, masks: [pathOf("image-prompts/manifest.json")] }], /E_IMAGE_KIND .*manifest\.json/],
  ] as const) {
    const job = { ...whole, ipAdapters };
    const drawn = async () => {
      for await (const _event of engine.generate(job as GenerateJob));
    };
    await assert.rejects(drawn(), words);
  }
});

/** What others show as well. */
const SHOWN_BY_OTHERS = ["base", "plus", "unguided", "base-two", "several"];
const drawn = searched(
  jobs.filter(({ name }) => !SHOWN_BY_OTHERS.includes(name)),
  jobs,
);
const card = await findTestAdapter();
/** A software card is slow: the step's ops are those of other pictures there. */
const onCard = searched([], jobs);

for (const [backend, these] of [
  ["cpu", drawn],
  ["webgpu", onCard],
] as const) {
  for (const job of these) {
    const skip = backend === "webgpu" ? card.skip : undefined;
    test(`${job.file} equals diffusers' picture on ${backend}`, { skip }, async () => {
      const named = backend === "webgpu" && card.skip === undefined ? { adapter: card.name } : {};
      const engine = await engineOf({ model: pathOf("golden/deep"), backend, ...named });
      for await (const event of engine.generate(jobOf(job))) {
        if (event.type !== "image") continue;
        const expected = new Uint8Array(await readFile(pathOf(`image-prompts/${job.file}`)));
        return await requireSamePicture(new Uint8Array(event.bytes), expected);
      }
      throw new Error("the job ended without a picture");
    });
  }
}
