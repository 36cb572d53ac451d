/** @file What an opened SDXL says of itself: sizes, guidance, layers that may be passed over, what its latents look like; and what is read of it. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { SDXL_LATENT_COLOURS, sdxlLatent } from "../../src/models/sdxl/base.ts";
import { openSdxl, SdxlCheckpoint } from "../../src/models/sdxl/checkpoint.ts";
import type { SdxlConfigs } from "../../src/models/sdxl/config.ts";
import { SDXL } from "../../src/models/sdxl/family.ts";
import { boundedLatent } from "../../src/models/tiny-decoder.ts";
import { openFileFolder } from "../../src/node/files/file-folder.ts";
import type { Folder } from "../../src/source/folder.ts";
import type { PhaseRun } from "../../src/stream/phase.ts";
import { openSdxlFolder } from "../sdxl-folder.ts";

const deep = await openSdxlFolder(fileURLToPath(new URL("../../fixtures/golden/deep", import.meta.url)));
after(async () => deep[Symbol.asyncDispose]());

/** The fixture with other configs. */
function changed(of: { readonly [Part in keyof SdxlConfigs]?: Partial<SdxlConfigs[Part]> }): SdxlCheckpoint {
  const { configs } = deep.parts;
  const parts = Object.entries(configs).map(([part, own]) => [part, { ...own, ...of[part as keyof SdxlConfigs] }]);
  return new SdxlCheckpoint({ ...deep.parts, configs: Object.fromEntries(parts) }, deep.components);
}

test("guidance from above 1 on asks for both halves", () => {
  for (const [scale, guided] of [
    [0, false],
    [1, false],
    [1.001, true],
    [7, true],
  ] as const) {
    assert.equal(deep.isGuided(scale), guided, `${scale}`);
  }
});

test("as many layers may be passed over as the smaller encoder has beside its last; its side is its UNet's, in cells", () => {
  for (const [first, second, most] of [
    [12, 32, 11],
    [32, 12, 11],
    [2, 2, 1],
  ] as const) {
    assert.equal(changed({ textEncoder: { layers: first }, textEncoder2: { layers: second } }).maxClipSkip, most);
  }
  const { width, height } = changed({ unet: { sampleSize: 96 } }).defaults;
  // Cells of 2 ^ (levels - 1) pixels: the fixture's VAE has three.
  assert.deepEqual([width, height], [96 * 4, 96 * 4]);
  assert.equal(deep.inpaints, false);
  assert.equal(changed({ unet: { inChannels: 9 } }).inpaints, true);
  assert.equal(changed({ unet: { inChannels: 8 } }).inpaints, false);
});

test("colours of latents: its own where it says so, SDXL's of SDXL's scale, in their measure where they are normalised, of others none", () => {
  const vae = { latentChannels: 4, latentStatistics: undefined, latentColours: undefined };
  const coloursOf = (more: Partial<SdxlConfigs["vae"]>) => changed({ vae: { ...vae, ...more } }).latentColours;
  assert.equal(coloursOf({ scalingFactor: 0.13025 }), SDXL_LATENT_COLOURS);
  assert.equal(coloursOf({ scalingFactor: 0.18215 }), undefined);
  assert.equal(coloursOf({ scalingFactor: 0.13025, latentChannels: 8 }), undefined);
  const own = { factors: [[1], [2], [3]], bias: [4, 5, 6] };
  assert.equal(coloursOf({ scalingFactor: 9, latentChannels: 8, latentColours: own }), own);
  const latentStatistics = { mean: [0, 0, 0, 0], std: [2, 2, 2, 2] };
  // Twice as far from the mean, and half as scaled.
  const normalised = coloursOf({ scalingFactor: 2 * 0.13025, latentStatistics })!;
  for (const [row, factors] of normalised.factors.entries())
    for (const [channel, factor] of factors.entries())
      assert.ok(Math.abs(factor - SDXL_LATENT_COLOURS.factors[row]![channel]!) < 1e-9);
});

test("with other weights it keeps its refiner; texts are cut each by its own tokenizer", () => {
  const refiner = { name: "refiner" } as never;
  const both = new SdxlCheckpoint(deep.parts, deep.components, undefined, refiner);
  const other = both.withWeights(new Map([["unet", { table: new Map() }]]));
  assert.equal(other.refiner, refiner);
  assert.equal(other.components.get("unet")!.table.size, 0);
  assert.equal(other.components.get("vae"), deep.components.get("vae"));
  const long = Array.from({ length: 100 }, () => "a").join(" ");
  const cutOf = (text: string, second?: string) => Object.keys(deep.cutText({ text, second, words: [] }));
  assert.deepEqual(cutOf("a"), []);
  assert.deepEqual(cutOf(long), ["tokenizer", "tokenizer_2"]);
  assert.deepEqual(cutOf("a", long), ["tokenizer_2"]);
  assert.deepEqual(cutOf(long, "a"), ["tokenizer"]);
});

test("a preview's decoder reads latents in SDXL's measure, also of a model whose latents are normalised", async () => {
  const preview = { component: "previewer", config: { latentChannels: 4, channels: 4, blocks: [1, 1, 1, 1] } } as const;
  const shape = { batch: 1, width: 64, height: 48, modelCalls: 1, historyLength: 0, fp32: false, preview };
  const latent = Float32Array.from({ length: 4 * 16 * 12 }, (_, i) => (i % 7) - 3);
  const readOf = async (checkpoint: SdxlCheckpoint) => {
    const read: Float32Array[] = [];
    const phase = {
      run: async (_: string, inputs: ReadonlyMap<string, Float32Array>) => {
        if (inputs.has("latent")) read.push(inputs.get("latent")!);
        // As large as any result of either.
        const zeros = new Float32Array(3 * 128 * 96);
        return new Map([
          ["features", zeros],
          ["picture", zeros],
        ]);
      },
    } as unknown as PhaseRun;
    await checkpoint.describe(shape).previewing!.decode(phase, latent);
    return read;
  };
  assert.deepEqual(await readOf(deep), [boundedLatent(latent)]);
  const statistics = { mean: [1, 2, 3, 4], std: [5, 6, 7, 8] };
  const normalised = changed({ vae: { latentStatistics: statistics, scalingFactor: 0.5 } });
  assert.deepEqual(await readOf(normalised), [boundedLatent(sdxlLatent(latent, normalised.parts.configs.vae))]);
  // Of the first channel 5 / 0.5 times as much and 1 more, scaled as SDXL's.
  const [first] = sdxlLatent(latent, normalised.parts.configs.vae);
  assert.ok(Math.abs(first! - (-3 * 10 + 1) * 0.13025) < 1e-5);
});

test("E_SCHEMA: networks that don't belong together, by whichever width; an absent negative prompt is zeros unless the folder says otherwise", async () => {
  const path = fileURLToPath(new URL("../../fixtures/golden/deep", import.meta.url));
  const folder = await openFileFolder(path);
  const openedWith = async (file: string, fields: object) => {
    const readText: Folder["readText"] = async (name, maxBytes) => {
      const text = await folder.readText(name, maxBytes);
      return name === file && text !== undefined ? JSON.stringify({ ...JSON.parse(text), ...fields }) : text;
    };
    return await openSdxl(SDXL, { name: folder.name, readText, open: (name) => folder.open(name) });
  };
  const { unet } = deep.parts.configs;
  for (const [field, value, words] of [
    ["cross_attention_dim", unet.crossAttentionDim + 4, /the text encoders give \d+ channels, the UNet reads \d+/],
    [
      "projection_class_embeddings_input_dim",
      unet.additionInputDim - unet.additionTimeEmbedDim,
      /pooled text and time ids/,
    ],
    ["in_channels", 5, /the UNet reads 5 latent channels and gives 4, the VAE has 4/],
    ["out_channels", 8, /the UNet reads 4 latent channels and gives 8, the VAE has 4/],
  ] as const) {
    await assert.rejects(openedWith("unet/config.json", { [field]: value }), (error: Error & { code?: string }) => {
      assert.equal(error.code, "E_SCHEMA", error.message);
      return words.test(error.message);
    });
  }
  for (const [told, zeros] of [
    [undefined, true],
    [true, true],
    [false, false],
  ] as const) {
    await using found = await openedWith("model_index.json", { force_zeros_for_empty_prompt: told });
    assert.equal(found.zerosForAbsentPrompt, zeros, `${told}`);
  }
});
