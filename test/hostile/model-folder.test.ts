/** @file A model folder whose files were tampered with: refused in one line or computed, and never anything else. */
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { JsonConfig } from "../../src/checkpoint/json-config.ts";
import { composeEngine } from "../../src/engine/engine.ts";
import { ArtifactError, SolvayError } from "../../src/errors.ts";
import { checkJob } from "../../src/job/schema.ts";
import type { LoadEvent } from "../../src/job/types.ts";
import { folderComponent } from "../../src/library/on-demand.ts";
import type { ModelSource } from "../../src/library/open.ts";
import { vaeDecoderSchema } from "../../src/models/autoencoder.ts";
import { openModelFolder } from "../../src/models/families.ts";
import { vaeConfig } from "../../src/models/sdxl/network-config.ts";
import { openNodeParts } from "../../src/node/engine-parts.ts";
import type { Folder } from "../../src/source/folder.ts";
import { memorySource } from "../../src/source/memory.ts";
import { elementCount } from "../../src/tensor/dtype.ts";
import { encodeSafetensors } from "../safetensors-writer.ts";
import { searched } from "../support/thorough.ts";

type Files = ReadonlyMap<string, Uint8Array<ArrayBuffer>>;
type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** The smallest of the golden models: every mutation draws a whole picture if it is not refused. */
const MODEL = fileURLToPath(new URL("../../fixtures/golden/odd", import.meta.url));
const FILES: Files = new Map(
  globSync("**/*.{json,txt,safetensors}", { cwd: MODEL })
    .sort()
    .map((file) => [file.replaceAll("\\", "/"), Uint8Array.from(readFileSync(`${MODEL}/${file}`))]),
);

function memoryFolder(files: Files): Folder {
  return {
    name: "model",
    async readText(path) {
      const bytes = files.get(path);
      if (bytes === undefined) return undefined;
      try {
        return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
      } catch {
        throw new ArtifactError({ code: "E_CONFIG", subject: path, problem: "not UTF-8 text", next: "fetch it again" });
      }
    },
    async open(path) {
      const bytes = files.get(path);
      return bytes && memorySource(path, bytes);
    },
  };
}

function memoryModel(files: Files): ModelSource {
  const folder = memoryFolder(files);
  return {
    name: folder.name,
    demo: false,
    async open({ signal }) {
      const checkpoint = await openModelFolder(folder, { signal });
      const onDemand = async (id: string) => folderComponent(checkpoint, id);
      return { checkpoint, heldBytes: 0, onDemand, [Symbol.asyncDispose]: () => checkpoint[Symbol.asyncDispose]() };
    },
  };
}

/** Opens the model and draws with it; returns what it said while it opened. */
async function draw(files: Files, prompt = "a lake, 4k!", side = 16): Promise<LoadEvent[]> {
  const events: LoadEvent[] = [];
  const parts = await openNodeParts({ backend: "reference" }, (path) => path);
  const model = memoryModel(files);
  await using engine = await composeEngine({ ...parts, model }, { onEvent: (event) => events.push(event) });
  for await (const _ of engine.generate({ prompt, seed: 1, steps: 1, guidance: 1, width: side, height: side }));
  return events;
}

/** The model with fields of one JSON file set, or removed where the value is undefined. */
function withFields(file: string, fields: Readonly<Record<string, Json | undefined>>): Files {
  const json = { ...JSON.parse(Buffer.from(FILES.get(file)!).toString()), ...fields };
  return new Map([...FILES, [file, Uint8Array.from(Buffer.from(JSON.stringify(json)))]]);
}

const REFUSED: readonly [name: string, file: string, fields: Record<string, Json | undefined>, message: RegExp][] = [
  [
    "groups that don't divide the channels",
    "unet/config.json",
    { norm_num_groups: 4 },
    /E_CONFIG model\/unet.*found 4, allowed a divisor of 15/,
  ],
  [
    "the same in the VAE",
    "vae/config.json",
    { block_out_channels: [6, 9, 10] },
    /E_CONFIG model\/vae.*a divisor of 10/,
  ],
  [
    "heads that don't divide an encoder's width",
    "text_encoder_2/config.json",
    { num_attention_heads: 5 },
    /E_CONFIG .*found 5, allowed a divisor of 14/,
  ],
  [
    "more heads than channels",
    "unet/config.json",
    { attention_head_dim: [16, 4] },
    /E_CONFIG .*allowed 1 to 15 at level 0/,
  ],
  [
    "a hundred levels",
    "unet/config.json",
    { block_out_channels: new Array(100).fill(5) },
    /E_CONFIG .*up to 8 entries/,
  ],
  [
    "a million transformer blocks",
    "unet/config.json",
    { layers_per_block: 256, transformer_layers_per_block: 256 },
    /E_CONFIG .*4096 transformer blocks in all/,
  ],
  [
    "a refiner",
    "model_index.json",
    { text_encoder: [null, null], tokenizer: [null, null] },
    /E_NOT_SDXL model\/model_index\.json: this is a refiner.*Next: name a base model/,
  ],
  [
    "a pipeline without a VAE",
    "model_index.json",
    { vae: [null, null], scheduler: null },
    /E_NOT_SDXL .* has no vae, no scheduler of its own/,
  ],
  ["another pipeline", "model_index.json", { _class_name: "FluxPipeline" }, /E_NOT_SDXL .*this is a FluxPipeline/],
  [
    "a UNet for other latents",
    "unet/config.json",
    { in_channels: 8 },
    /E_SCHEMA model: the UNet reads 8 latent channels/,
  ],
  ["a mean for fewer channels", "vae/config.json", { latents_mean: [0] }, /E_CONFIG .*latents_mean.*allowed 4 numbers/],
  [
    "a padding token of nobody's",
    "tokenizer/tokenizer_config.json",
    { pad_token: "<pad>" },
    /E_TOKENIZER model\/tokenizer: its special token 804 is not in/,
  ],
  [
    "longer prompts than positions",
    "tokenizer/tokenizer_config.json",
    { model_max_length: 78 },
    /E_TOKENIZER .*prompts of 78 tokens don't fit .*77 positions/,
  ],
  [
    "tokenizers of two lengths",
    "tokenizer_2/tokenizer_config.json",
    { model_max_length: 76 },
    /E_TOKENIZER model\/tokenizer_2: it gives 76 tokens, the first tokenizer 77/,
  ],
  [
    "a scheduler that can't be Euler",
    "scheduler/scheduler_config.json",
    { _class_name: undefined },
    /E_SCHEDULER model\/scheduler\/scheduler_config\.json: the scheduler FlowMatchEulerDiscreteScheduler is not supported/,
  ],
];

for (const [name, file, fields, message] of REFUSED) {
  test(`${name}: refused when the model opens`, async () => {
    const files = new Map(withFields(file, fields));
    if (file.startsWith("scheduler/")) {
      const index = withFields("model_index.json", { scheduler: ["diffusers", "FlowMatchEulerDiscreteScheduler"] });
      files.set("model_index.json", index.get("model_index.json")!);
    }
    await assert.rejects(draw(files), { message });
  });
}

test("a token that the encoder lacks is refused with the prompt that has it", async () => {
  const config = "tokenizer/tokenizer_config.json";
  const files = withFields(config, { additional_special_tokens: ["<new>"] });
  await draw(files);
  await assert.rejects(draw(files, "a <new> lake"), { code: "E_TOKENIZER", message: /token 804/ });
});

test("a picture smaller than one latent cell is refused, and so is its plan", async () => {
  // A VAE of 32 pixels a cell, all zeros: nothing is computed with it.
  const levels = { block_out_channels: [6, 9, 9, 9, 9, 9], up_block_types: new Array(6).fill("UpDecoderBlock2D") };
  const files = new Map(withFields("vae/config.json", levels));
  const schema = vaeDecoderSchema(
    vaeConfig(new JsonConfig("vae", Buffer.from(files.get("vae/config.json")!).toString())),
  );
  const tensors = [...schema].map(([name, shape]) => {
    return { name, dtype: "f16" as const, shape, bytes: new Uint8Array(2 * elementCount(shape)) };
  });
  files.set("vae/diffusion_pytorch_model.fp16.safetensors", encodeSafetensors(tensors));
  const refusal = { name: "UsageError", message: /E_JOB width: .*found 24, allowed at least 32 pixels/ };
  await assert.rejects(draw(files, "a lake", 24), refusal);
  const parts = await openNodeParts({ backend: "reference" }, (path) => path);
  await using engine = await composeEngine({ ...parts, model: memoryModel(files) });
  await assert.rejects(engine.plan({ steps: 1, width: 24, height: 64 }), refusal);
});

test("a job without a prompt, or with one that is no text, is refused", () => {
  for (const job of [{}, { prompt: 5 }, { prompt: "x", negativePrompt: ["y"] }]) {
    assert.throws(() => checkJob(job), { name: "UsageError", code: "E_JOB" });
  }
});

test("random damage to any file: a picture or an error of ours", async () => {
  const random = generator(20261124);
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)]!;
  const names = [...FILES.keys()];
  const outcomes = { drawn: 0, refused: 0 };
  for (let round = 0; round < searched(120, 200); round++) {
    const file = pick(names);
    const whole = FILES.get(file)!;
    const damaged = file.endsWith(".json") && random() < 0.8 ? changeJson(whole, random) : changeBytes(whole, random);
    try {
      await draw(new Map([...FILES, [file, damaged]]));
      outcomes.drawn++;
    } catch (error) {
      assert.ok(error instanceof SolvayError, `round ${round}, ${file}: ${(error as Error).stack}`);
      assert.doesNotMatch(error.message, /\n/);
      assert.ok(error.message.length < 800, error.message);
      outcomes.refused++;
    }
  }
  // Both kinds, or the damage proves nothing.
  assert.ok(outcomes.drawn > 25 && outcomes.refused > 50, JSON.stringify(outcomes));
});

/** Values in 0..1, the same each time (mulberry32). */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const VALUES: readonly Json[] = [
  ...[null, -1, 0, 1, 2, 3, 7, 16, 64, 1e9, 2 ** 53, 1.5, 1e-300, 1e300, true, false],
  ...["", "x", "gelu", "CrossAttnDownBlock2D", "__proto__"],
  ...[[], [1], [0], [[1]], [1, 2, 3], [null], {}],
];

/** Replaces or removes one or two values anywhere in it. */
function changeJson(bytes: Uint8Array, random: () => number): Uint8Array<ArrayBuffer> {
  const root = JSON.parse(Buffer.from(bytes).toString()) as Json;
  for (let i = random() < 0.5 ? 1 : 2; i > 0; i--) {
    let place = root;
    while (typeof place === "object" && place !== null) {
      const object = place as { [key: string]: Json };
      const keys = Object.keys(object);
      if (keys.length === 0) break;
      const key = keys[Math.floor(random() * keys.length)]!;
      const child = object[key]!;
      if (typeof child === "object" && child !== null && random() < 0.7) {
        place = child;
        continue;
      }
      if (random() < 0.15) delete object[key];
      else object[key] = VALUES[Math.floor(random() * VALUES.length)]!;
      break;
    }
  }
  return Uint8Array.from(Buffer.from(JSON.stringify(root)));
}

/** Cuts it, adds to it, or changes a few bytes, mostly of the first 32 KiB, where headers are. */
function changeBytes(bytes: Uint8Array, random: () => number): Uint8Array<ArrayBuffer> {
  const kind = random();
  if (kind < 0.2) return Uint8Array.from(bytes.subarray(0, Math.floor(random() * bytes.length)));
  if (kind < 0.3) return Uint8Array.from([...bytes, 1, 2, 3]);
  const changed = Uint8Array.from(bytes);
  const within = Math.min(bytes.length, random() < 0.8 ? 32768 : bytes.length);
  for (let i = 1 + Math.floor(random() * 4); i > 0; i--) {
    changed[Math.floor(random() * within)] = Math.floor(random() * 256);
  }
  return changed;
}

test("a field of a list has its count, its range and its kind in every place, or is refused by name", () => {
  const config = (value: Json) => new JsonConfig("config.json", JSON.stringify({ field: value }));
  const ints = (value: Json) => config(value).ints("field", 1, 9, 3);
  const each = (value: Json) => config(value).intOrInts("field", 2, 1, 9);
  const nested = (value: Json) => config(value).nestedInts("field", 2, 9);
  const strings = (value: Json) => config(value).strings("field");
  for (const [read, value, expected] of [
    [ints, [1], [1]],
    [ints, [9, 1, 5], [9, 1, 5]],
    [each, 3, [3, 3]],
    [each, [1, 9], [1, 9]],
    [nested, 4, [4, 4]],
    [nested, [0, [9, 1, 2]], [0, [9, 1, 2]]],
    [strings, [], []],
    [strings, ["a", ""], ["a", ""]],
  ] as const)
    assert.deepEqual(read(value as Json), expected, JSON.stringify(value));
  assert.deepEqual(config(null).intOrInts("field", 2, 1, 9, 7), [7, 7]);
  assert.equal(config(null).nestedInts("field", 2, 9), undefined);
  const long = new Array<number>(4097).fill(1);
  for (const [read, values] of [
    [ints, [[], [1, 2, 3, 4], [1, 0], [10, 1], [1, 1.5], [1, "2"], 1, "1", null, { length: 1 }]],
    [each, [[1], [1, 2, 3], [], [1, 10], [0, 1], 0, 10, 1.5, "1", null, true]],
    [nested, [[1], [1, 2, 3], [1, [10]], [[-1], 1], [1, [1.5]], [1, [[1]]], [1, long], -1, 10, "1", true]],
    [strings, [[1], ["a", null], "a", null, long.map(String)]],
  ] as const)
    for (const value of values)
      assert.throws(
        () => read(value as unknown as Json),
        (error: unknown) => error instanceof ArtifactError && /E_CONFIG .*field "field"/.test(error.message),
        JSON.stringify(value).slice(0, 60),
      );
});
