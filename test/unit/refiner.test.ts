/** @file A refiner beside a model: what it goes on from, which prompt it reads and how, and what is no refiner for that model. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { timestepEmbedding } from "../../src/models/embedding.ts";
import { encodeRefinerPrompt } from "../../src/models/sdxl/conditioning.ts";
import { SDXL } from "../../src/models/sdxl/family.ts";
import { openSdxlRefiner, SdxlRefiner } from "../../src/models/sdxl/refiner.ts";
import { openFileFolder } from "../../src/node/files/file-folder.ts";
import { emphasise } from "../../src/prompt/emphasis.ts";
import type { Folder } from "../../src/source/folder.ts";
import type { PhaseRun } from "../../src/stream/phase.ts";
import { openSdxlFolder } from "../sdxl-folder.ts";

const fixture = (name: string) => fileURLToPath(new URL(`../../fixtures/${name}`, import.meta.url));
const base = await openSdxlFolder(fixture("golden/deep"));
const refiner = (await SDXL.openRefiner({
  model: { kind: "folder", folder: await openFileFolder(fixture("from-pictures/refiner")) },
  vocabulary: await openFileFolder(fixture("from-pictures/refiner/tokenizer_2")),
})) as SdxlRefiner;
after(async () => {
  for (const opened of [base, refiner]) await opened[Symbol.asyncDispose]();
});

test("E_NOT_SDXL: a refiner of other latents, whichever way, and one beside a model that was trained on noise levels", () => {
  const { unet } = refiner.parts;
  const of = (changed: Partial<typeof unet>) =>
    new SdxlRefiner({ ...refiner.parts, unet: { ...unet, ...changed } }, new Map(), refiner);
  assert.equal(base.withRefiner(of({})).refiner?.name, refiner.name);
  for (const changed of [{ inChannels: 9 }, { outChannels: 8 }]) {
    assert.throws(() => base.withRefiner(of(changed)), /E_NOT_SDXL .*it reads \d latent channels, and .* has 4/);
  }
  const { parts } = base;
  const edm = { ...parts, scheduler: { ...parts.scheduler, edm: { sigmaData: 1 } } } as typeof parts;
  assert.throws(() => refiner.requireFits(edm), /E_NOT_SDXL .*trained on noise levels \(EDM\).*leave the refiner away/);
});

test("it reads the second prompt, in chunks of its own tokenizer, by no other layer than its last", () => {
  const { tokenizer2 } = refiner.parts;
  const told = (second?: string) => refiner.promptChunks({ text: "a", second, syntax: "a1111", clipSkip: 1 });
  assert.deepEqual(told("b"), [{ tokens: { tokenizer_2: { ids: tokenizer2.encode("b") } }, clipSkip: 0 }]);
  assert.deepEqual(told()[0]!.tokens.tokenizer_2!.ids, tokenizer2.encode("a"));
  assert.equal(told(Array.from({ length: 100 }, () => "a").join(" ")).length, 2);
});

test("its context is its encoder's states by their tokens' weights; the pooled state keeps what the prompt says", async () => {
  const [tokens, width] = [3, 2];
  const states = () => Float32Array.from({ length: tokens * width }, (_, i) => i + 1);
  const weights = [1, 1.5, 0.5];
  const phase = {
    run: async (pass: string) => {
      assert.equal(pass, "pass");
      return new Map([
        ["hidden", states()],
        ["pooled", Float32Array.of(7)],
      ]);
    },
  } as unknown as PhaseRun;
  const config = { vocabSize: 10, eosTokenId: 9, hiddenSize: width } as typeof refiner.parts.textEncoder2;
  const encode = async (chunk: object) =>
    await encodeRefinerPrompt(
      config,
      { inputs: new Map() } as never,
      phase,
      "pass",
      { tokens: { tokenizer_2: { ids: [1, 2, 9], ...chunk } }, clipSkip: 0 },
      {},
    );
  const plain = await encode({});
  assert.deepEqual(plain.sequences.get("context"), states());
  const emphasised = states();
  emphasise(emphasised, weights);
  assert.notDeepEqual(emphasised, states());
  const weighed = await encode({ weights });
  assert.deepEqual(weighed.sequences.get("context"), emphasised);
  for (const { vectors } of [plain, weighed]) assert.deepEqual(vectors.get("pooled"), Float32Array.of(7));
});

test("LoRAs, networks that steer and pictures as prompts are the base model's: the refiner's steps are its own alone", () => {
  const asked: string[] = [];
  const set = { components: { get: (id: string) => void asked.push(id) }, hostBytes: 0 } as never;
  const size = { batch: 2, width: 64, height: 48, modelCalls: 2, historyLength: 0, fp32: false };
  const { outChannels: _, sampleSize: __, upLevels: ___, ...half } = base.parts.configs.unet;
  const network = { ...half, kind: "controlnet", pictureChannels: 3, hintChannels: [4, 4, 4], bgr: false };
  const { phases } = base.withRefiner(refiner).describe({
    ...{ ...size, adapters: { set, changes: 3 } },
    controls: [{ component: "control", network: network as never, guess: false, rows: 2, calls: 2 }],
    refined: { modelCalls: 1, historyLength: 0 },
  });
  const passesOf = (id: string) => phases.find((phase) => phase.id === id)!.passes.map((pass) => pass.id);
  assert.ok(passesOf("denoise").includes("control0.step"));
  assert.deepEqual(passesOf("refiner.denoise"), ["refiner.unet.text", "refiner.unet.time", "refiner.unet.step"]);
  assert.deepEqual(asked.sort(), ["textEncoder", "textEncoder2", "unet"]);
});

/** The fixture's folder with other fields in a config file, as if its weights were there under both names; `opened`: what was taken. */
async function changedFolder(file = "", fields: object = {}) {
  const folder = await openFileFolder(fixture("from-pictures/refiner"));
  const opened: string[] = [];
  const changed: Folder = {
    name: folder.name,
    readText: async (path, maxBytes) => {
      const text = await folder.readText(path, maxBytes);
      return path === file ? JSON.stringify({ ...JSON.parse(text!), ...fields }) : text;
    },
    open: async (path) => {
      const found =
        (await folder.open(path)) ?? (await folder.open(path.replace(/\.safetensors$/, ".fp16.safetensors")));
      if (found) opened.push(path);
      return found;
    },
  };
  return { folder: changed, opened };
}

test("of two files of the same weights the fp16 one is opened", async () => {
  const { folder, opened } = await changedFolder();
  await using found = await openSdxlRefiner(folder);
  assert.deepEqual([...found.components.keys()], ["refiner.textEncoder2", "refiner.unet"]);
  assert.deepEqual(opened, ["text_encoder_2/model.fp16.safetensors", "unet/diffusion_pytorch_model.fp16.safetensors"]);
});

test("an absent negative prompt is zeros to it, unless its model_index.json says otherwise", async () => {
  for (const [told, zeros] of [
    [undefined, true],
    [true, true],
    [false, false],
  ] as const) {
    const { folder } = await changedFolder("model_index.json", { force_zeros_for_empty_prompt: told });
    await using found = await openSdxlRefiner(folder);
    assert.equal(found.zerosForAbsentPrompt, zeros);
  }
});

test("E_NOT_SDXL: text or added values that are not as wide as a refiner's", async () => {
  const { crossAttentionDim, additionInputDim } = refiner.parts.unet;
  for (const [field, width] of [
    ["cross_attention_dim", crossAttentionDim],
    ["projection_class_embeddings_input_dim", additionInputDim],
  ] as const) {
    const { folder } = await changedFolder("unet/config.json", { [field]: width + 4 });
    await assert.rejects(
      openSdxlRefiner(folder),
      /E_NOT_SDXL .*this is no refiner .*its UNet reads \d+ channels of text/,
    );
  }
});

test("it is told an aesthetic score of 6 for the prompt and of 2.5 for the negative one, as diffusers' pipeline is", async () => {
  const { unet } = refiner.parts;
  const size = { batch: 2, width: 64, height: 48, modelCalls: 1, historyLength: 0, fp32: false };
  const { refined } = base.withRefiner(refiner).describe({ ...size, refined: { modelCalls: 1, historyLength: 0 } });
  let added = new Float32Array(0);
  const phase = {
    run: async (_: string, inputs: ReadonlyMap<string, Float32Array<ArrayBuffer>>) => {
      added = inputs.get("addition") ?? added;
      return new Map([["prediction", new Float32Array(2 * 4 * 16 * 12)]]);
    },
  } as unknown as PhaseRun;
  const told = {
    sequences: new Map([["context", new Float32Array(1)]]),
    vectors: new Map([["pooled", new Float32Array(20)]]),
  };
  const guide = { parts: [{ timeline: [told], weight: 1 }], negative: [told], scale: 5 };
  const schedule = { timestepOf: () => 1 } as never;
  const ask = await refined!.denoiser(phase, {
    guide,
    schedule,
    calls: [{ step: 0, sigma: 1 }],
    firstCall: 0,
  } as never);
  await ask(new Float32Array(4 * 16 * 12), 1);
  const { length } = added;
  const width = unet.additionTimeEmbedDim;
  const scoreOf = (end: number) => [...added.subarray(end - width, end)];
  assert.deepEqual(scoreOf(length / 2), [...timestepEmbedding([2.5], width, unet)]);
  assert.deepEqual(scoreOf(length), [...timestepEmbedding([6], width, unet)]);
});
