/** @file Which files of a repository are an SDXL's or a refiner's: chosen by name alone, in the order in which they are fetched, or refused. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { chooseSdxlFiles } from "../../src/models/sdxl/choose-files.ts";
import { isRefinerIndex, isSdxlIndex, parseModelIndex } from "../../src/models/sdxl/model-index.ts";
import type { Variant } from "../../src/source/listing.ts";

const INDEX = { _class_name: "StableDiffusionXLPipeline" };
const REFINER_INDEX = {
  _class_name: "StableDiffusionXLImg2ImgPipeline",
  text_encoder: [null, null],
  tokenizer: [null, null],
};
const CONFIGS = [
  "scheduler/scheduler_config.json",
  "text_encoder/config.json",
  "text_encoder_2/config.json",
  "vae/config.json",
  "unet/config.json",
];
const TOKENIZERS = ["tokenizer/vocab.json", "tokenizer/merges.txt", "tokenizer_2/tokenizer.json"];
const STEMS = [
  "text_encoder/model",
  "text_encoder_2/model",
  "vae/diffusion_pytorch_model",
  "unet/diffusion_pytorch_model",
];
const weights = (infix = "") => STEMS.map((stem) => `${stem}${infix}.safetensors`);
const NOT_WANTED = [
  "README.md",
  "unet/diffusion_pytorch_model.bin",
  "vae_1_0/diffusion_pytorch_model.safetensors",
  "unet/model.onnx",
];
const shards = (...names: string[]) =>
  JSON.stringify({ weight_map: Object.fromEntries(names.map((name, i) => [`t${i}`, name])) });

type Files = Readonly<Record<string, string>>;
const filesOf = (names: readonly string[], index: object = INDEX): Files => ({
  ...Object.fromEntries([...names, ...NOT_WANTED].map((name) => [name, "{}"])),
  "model_index.json": JSON.stringify(index),
});
const without = (files: Files, name: string): Files => {
  const { [name]: _, ...others } = files;
  return others;
};

async function chosen(files: Files, variant: Variant = "auto") {
  const listing = {
    name: "org/m",
    has: (path: string) => path in files,
    readText: async (path: string) => files[path],
  };
  return (await chooseSdxlFiles(listing, { variant })).files;
}

test("a whole model: small files first, each once, and nothing that no picture needs", async () => {
  const all = [...CONFIGS, ...TOKENIZERS, "tokenizer/special_tokens_map.json", "tokenizer_2/added_tokens.json"];
  const files = filesOf([...all, ...weights()]);
  const tokenizers = [
    "tokenizer/vocab.json",
    "tokenizer/merges.txt",
    "tokenizer/special_tokens_map.json",
    "tokenizer_2/tokenizer.json",
    "tokenizer_2/added_tokens.json",
  ];
  assert.deepEqual(await chosen(files), ["model_index.json", ...CONFIGS, ...tokenizers, ...weights()]);
});

test("weights of each folder: fp16 before fp32 and one file before shards, or only what is asked for", async () => {
  const infix = [
    "unet/diffusion_pytorch_model.fp16.safetensors",
    "unet/diffusion_pytorch_model.safetensors.index.fp16.json",
  ];
  const plain = ["unet/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.safetensors.index.json"];
  let files: Files = {
    ...filesOf([
      ...CONFIGS,
      ...TOKENIZERS,
      ...weights(),
      ...weights(".fp16"),
      "unet/a.safetensors",
      "unet/b.safetensors",
    ]),
    [infix[1]!]: shards("a.safetensors", "b.safetensors", "a.safetensors"),
    [plain[1]!]: shards("b.safetensors"),
  };
  const ofUnet = async (variant: Variant) =>
    (await chosen(files, variant)).filter((file) => /^unet\/.*(safetensors|index)/.test(file));
  assert.deepEqual(await ofUnet("auto"), [infix[0]]);
  assert.deepEqual(await ofUnet("none"), [plain[0]]);
  files = without(files, infix[0]!);
  const inShards = [infix[1], "unet/a.safetensors", "unet/b.safetensors"];
  for (const variant of ["auto", "fp16"] as const) assert.deepEqual(await ofUnet(variant), inShards);
  files = without(files, infix[1]!);
  assert.deepEqual(await ofUnet("auto"), [plain[0]]);
  await assert.rejects(chosen(files, "fp16"), {
    code: "E_MISSING",
    message: /unet\/diffusion_pytorch_model\.fp16\.safetensors.*leave --variant away/,
  });
  files = without(files, plain[0]!);
  assert.deepEqual(await ofUnet("auto"), [plain[1], "unet/b.safetensors"]);
  // The shards come last, behind all other weights.
  assert.equal((await chosen(files)).at(-1), "unet/b.safetensors");
  await assert.rejects(chosen(without(files, "unet/b.safetensors")), {
    code: "E_MISSING",
    message: /org\/m\/unet\/b\.safetensors/,
  });
  files = without(files, plain[1]!);
  await assert.rejects(chosen(files), {
    code: "E_MISSING",
    message: /fp16\.safetensors \(or diffusion_pytorch_model\.safetensors\)/,
  });
});

test("whatever a model must have and the repository has not is said by name", async () => {
  const files = filesOf([...CONFIGS, ...TOKENIZERS, ...weights()]);
  for (const file of [
    ...CONFIGS,
    ...weights(),
    "tokenizer/vocab.json",
    "tokenizer/merges.txt",
    "tokenizer_2/tokenizer.json",
  ]) {
    const folder = file.split("/")[0]!;
    await assert.rejects(
      chosen(without(files, file)),
      { code: "E_MISSING", message: new RegExp(`org/m/${folder}/`) },
      file,
    );
  }
  await assert.rejects(chosen(without(files, "model_index.json")), { code: "E_NOT_DIFFUSERS" });
});

test("another pipeline is refused by what it is, whole or not; a refiner's files are those that it has", async () => {
  const flux = { _class_name: "FluxPipeline" };
  const whole = [...CONFIGS, ...TOKENIZERS, ...weights()];
  await assert.rejects(chosen(filesOf(whole, flux)), { code: "E_NOT_SDXL", message: /a FluxPipeline/ });
  await assert.rejects(chosen(filesOf(["transformer/x"], flux)), { code: "E_NOT_SDXL", message: /a FluxPipeline/ });
  const own = [
    "scheduler/scheduler_config.json",
    "text_encoder_2/config.json",
    "unet/config.json",
    "tokenizer_2/tokenizer.json",
  ];
  const [, second, , unet] = weights();
  const refiner = filesOf([...own, "vae/config.json", second!, unet!], REFINER_INDEX);
  assert.deepEqual(await chosen(refiner), ["model_index.json", ...own, second, unet]);
  await assert.rejects(chosen(without(refiner, unet!)), { code: "E_MISSING", message: /org\/m\/unet\// });
});

test("model_index.json: whose it is, and what a whole model must not be without", () => {
  const text = (fields: object) => JSON.stringify(fields);
  for (const name of [
    "StableDiffusionXLPipeline",
    "StableDiffusionXLInpaintPipeline",
    "StableDiffusionXLImg2ImgPipeline",
  ]) {
    assert.ok(isSdxlIndex(text({ _class_name: name })), name);
    assert.equal(parseModelIndex("m", text({ _class_name: name, x: 1 })).value("x"), 1);
  }
  for (const other of [
    "StableDiffusionPipeline",
    "XStableDiffusionXLPipeline",
    "StableDiffusionXLPipelineX",
    "",
    5,
    null,
  ]) {
    assert.equal(isSdxlIndex(text({ _class_name: other })), false, String(other));
    assert.throws(() => parseModelIndex("m", text({ _class_name: other })), { code: "E_NOT_SDXL" }, String(other));
  }
  for (const odd of ["[]", "null", "{", ""]) assert.equal(isSdxlIndex(odd), false, odd);
  for (const part of ["unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler"]) {
    for (const none of [null, [null, null]]) {
      const index = text({ ...INDEX, [part]: none });
      assert.throws(() => parseModelIndex("m", index), {
        code: "E_NOT_SDXL",
        message: new RegExp(`has no ${part} of its own`),
      });
      assert.equal(isRefinerIndex(index), false, part);
    }
    parseModelIndex("m", text({ ...INDEX, [part]: ["diffusers", null] }));
  }
  assert.ok(isRefinerIndex(text(REFINER_INDEX)));
  assert.throws(() => parseModelIndex("m", text(REFINER_INDEX)), { code: "E_NOT_SDXL", message: /this is a refiner/ });
  assert.equal(isRefinerIndex(text({ ...REFINER_INDEX, _class_name: "FluxPipeline" })), false);
  // What is not written is not absent.
  assert.equal(isRefinerIndex(text(INDEX)), false);
});
