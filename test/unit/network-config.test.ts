/** @file config.json of each network as plain data: where each field goes, what stands for silence (diffusers 0.42's defaults), what is refused. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { JsonConfig } from "../../src/checkpoint/json-config.ts";
import { clipConfig, halfConfig, unetConfig, vaeConfig } from "../../src/models/sdxl/network-config.ts";

const json = (fields: object) => new JsonConfig("config.json", JSON.stringify(fields));
const refuses = (read: (config: JsonConfig) => unknown, base: object, fields: object, message: RegExp) =>
  assert.throws(
    () => read(json({ ...base, ...fields })),
    { code: "E_CONFIG", message },
    `${JSON.stringify(fields).slice(0, 100)} is taken`,
  );

/** The least that a UNet's file says. */
const UNET = {
  addition_embed_type: "text_time",
  addition_time_embed_dim: 256,
  block_out_channels: [32, 64, 96],
  down_block_types: ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
  projection_class_embeddings_input_dim: 2816,
  up_block_types: ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
};

test("a UNet's file: what stands for silence", () => {
  const level = { layers: 2, heads: 8, transformerLayers: [1, 1] };
  const up = { transformerLayers: [1, 1, 1] };
  assert.deepEqual(unetConfig(json(UNET)), {
    inChannels: 4,
    outChannels: 4,
    sampleSize: 128,
    levels: [
      { ...level, channels: 32, crossAttention: false },
      { ...level, channels: 64, crossAttention: true },
      { ...level, channels: 96, crossAttention: true },
    ],
    mid: { crossAttention: true, transformerLayers: 1, heads: 8 },
    upLevels: [
      { ...up, crossAttention: true },
      { ...up, crossAttention: true },
      { ...up, crossAttention: false },
    ],
    crossAttentionDim: 1280,
    groups: 32,
    normEps: 1e-5,
    linearProjection: false,
    flipSinToCos: true,
    freqShift: 0,
    additionTimeEmbedDim: 256,
    additionInputDim: 2816,
    downsamplePadding: 1,
  });
});

test("a UNet's file: where each field goes", () => {
  const fields = {
    ...{ in_channels: 9, out_channels: 5, sample_size: 64, cross_attention_dim: 2048, norm_num_groups: 16 },
    ...{ norm_eps: 1e-6, use_linear_projection: true, flip_sin_to_cos: false, freq_shift: 1, downsample_padding: 0 },
    ...{ layers_per_block: [1, 2, 3], attention_head_dim: [2, 4, 6], mid_block_type: "UNetMidBlock2D" },
    transformer_layers_per_block: [0, [5, 6], 7],
  };
  const { levels, mid, upLevels, ...plain } = unetConfig(json({ ...UNET, ...fields }));
  assert.deepEqual(plain, {
    ...{ inChannels: 9, outChannels: 5, sampleSize: 64, crossAttentionDim: 2048, groups: 16, normEps: 1e-6 },
    ...{ linearProjection: true, flipSinToCos: false, freqShift: 1, downsamplePadding: 0 },
    ...{ additionTimeEmbedDim: 256, additionInputDim: 2816 },
  });
  assert.deepEqual(
    levels.map(({ layers, heads, transformerLayers }) => [layers, heads, transformerLayers]),
    [
      [1, 2, [0]],
      [2, 4, [5, 6]],
      [3, 6, [7, 7, 7]],
    ],
  );
  // On the way up a level has one layer more, and the depths of the way down from behind.
  assert.deepEqual(
    upLevels.map(({ transformerLayers }) => transformerLayers),
    [
      [7, 7, 7, 7],
      [5, 6],
      [0, 0],
    ],
  );
  assert.deepEqual(mid, { crossAttention: false, transformerLayers: 7, heads: 6 });
});

test("a UNet's file: heads by either name, depths of the way up by themselves, the middle's by the last level's first", () => {
  const heads = unetConfig(json({ ...UNET, num_attention_heads: [1, 2, 3], attention_head_dim: 9 }));
  assert.deepEqual(
    [...heads.levels, heads.mid].map(({ heads }) => heads),
    [1, 2, 3, 3],
  );
  const fields = {
    transformer_layers_per_block: [1, 2, [3, 4]],
    reverse_transformer_layers_per_block: [5, [6, 7, 8], 9],
  };
  const { mid, upLevels } = unetConfig(json({ ...UNET, ...fields }));
  assert.equal(mid.transformerLayers, 3);
  assert.deepEqual(
    upLevels.map(({ transformerLayers }) => transformerLayers),
    [
      [5, 5, 5],
      [6, 7, 8],
      [9, 9, 9],
    ],
  );
});

test("a UNet's file: what would be computed wrongly is refused", () => {
  const OTHERS: Readonly<Record<string, unknown>> = {
    ...{ act_fn: "gelu", addition_embed_type: "text", class_embed_type: "timestep", encoder_hid_dim: 8 },
    ...{
      encoder_hid_dim_type: "text_proj",
      mid_block_scale_factor: 2,
      mid_block_type: "UNetMidBlock2DSimpleCrossAttn",
    },
    ...{ only_cross_attention: true, resnet_time_scale_shift: "scale_shift", attention_type: "gated" },
    ...{ center_input_sample: true, class_embeddings_concat: true, conv_in_kernel: 1, conv_out_kernel: 5 },
    ...{ cross_attention_norm: "layer_norm", dual_cross_attention: true, mid_block_only_cross_attention: true },
    ...{
      resnet_out_scale_factor: 2,
      resnet_skip_time_act: true,
      time_cond_proj_dim: 256,
      time_embedding_act_fn: "silu",
    },
    ...{ time_embedding_dim: 512, time_embedding_type: "fourier", timestep_post_act: "silu" },
    ...{ downsample_padding: 2, norm_num_groups: 48, layers_per_block: [1, 2], block_out_channels: [32, 64] },
    ...{ down_block_types: ["DownBlock2D"], attention_head_dim: [8, 65, 8], in_channels: 65, out_channels: 0 },
    ...{ cross_attention_dim: 0, transformer_layers_per_block: [1, 2], reverse_transformer_layers_per_block: [1] },
    up_block_types: ["UpBlock2D", "UpBlock2D", "SimpleCrossAttnUpBlock2D"],
  };
  for (const [field, value] of Object.entries(OTHERS)) refuses(unetConfig, UNET, { [field]: value }, /field "/);
  const { addition_embed_type: _, ...untold } = UNET;
  assert.deepEqual(unetConfig(json(untold)), unetConfig(json(UNET)));
  const { projection_class_embeddings_input_dim: __, ...narrow } = UNET;
  refuses(unetConfig, narrow, {}, /projection_class_embeddings_input_dim/);
  // Heads count where something attends: at the first level nothing does.
  unetConfig(json({ ...UNET, attention_head_dim: [33, 64, 96] }));
  refuses(unetConfig, UNET, { attention_head_dim: [32, 64, 97] }, /found 97, allowed 1 to 96 at level 2/);
  const plain = { down_block_types: ["DownBlock2D", "DownBlock2D", "DownBlock2D"] };
  refuses(halfConfig, UNET, { ...plain, attention_head_dim: [32, 64, 97] }, /at level 2/);
  halfConfig(json({ ...UNET, ...plain, attention_head_dim: [99, 99, 97], mid_block_type: "UNetMidBlock2D" }));
  refuses(
    unetConfig,
    UNET,
    { ...plain, attention_head_dim: [33, 1, 1], up_block_types: new Array(3).fill("CrossAttnUpBlock2D") },
    /level 0/,
  );
  refuses(unetConfig, UNET, { transformer_layers_per_block: 256, layers_per_block: 3 }, /4096 transformer blocks/);
});

const CLIP = {
  hidden_act: "gelu",
  hidden_size: 24,
  num_attention_heads: 4,
  intermediate_size: 96,
  num_hidden_layers: 3,
  vocab_size: 99,
};

test("a text encoder's file: where each field goes, what stands for silence, what is refused", () => {
  const own = { hiddenSize: 24, heads: 4, intermediateSize: 96, layers: 3, vocabSize: 99 };
  const silent = { maxPositions: 77, activation: "gelu", eps: 1e-5, eosTokenId: 49407, projectionDim: 24 };
  assert.deepEqual(clipConfig(json(CLIP)), { ...own, ...silent });
  const { hidden_act: _, ...quick } = CLIP;
  assert.equal(clipConfig(json(quick)).activation, "quickGelu");
  const more = {
    max_position_embeddings: 50,
    layer_norm_eps: 1e-6,
    eos_token_id: 2,
    projection_dim: 8,
    hidden_act: "quick_gelu",
  };
  const told = { maxPositions: 50, activation: "quickGelu", eps: 1e-6, eosTokenId: 2, projectionDim: 8 };
  assert.deepEqual(clipConfig(json({ ...CLIP, ...more })), { ...own, ...told });
  for (const [field, value] of Object.entries({
    ...{ hidden_act: "relu", num_attention_heads: 5, hidden_size: 0, num_hidden_layers: 257, vocab_size: 2 ** 20 + 1 },
    ...{ intermediate_size: undefined, max_position_embeddings: 4097, projection_dim: 0 },
  }))
    refuses(clipConfig, CLIP, { [field]: value }, new RegExp(`field "${field}"`));
});

const VAE = {
  block_out_channels: [32, 64],
  up_block_types: ["UpDecoderBlock2D", "UpDecoderBlock2D"],
  down_block_types: ["DownEncoderBlock2D", "DownEncoderBlock2D"],
};

test("a VAE's file: where each field goes, what stands for silence, what is refused", () => {
  const silent = {
    ...{
      latentChannels: 4,
      outChannels: 3,
      blockChannels: [32, 64],
      layersPerBlock: 1,
      groups: 32,
      midAttention: true,
    },
    ...{ quantConv: true, postQuantConv: true, scalingFactor: 0.18215 },
    ...{ latentColours: undefined, latentStatistics: undefined },
  };
  assert.deepEqual(vaeConfig(json(VAE)), silent);
  const numbers = (count: number, from = 1) => Array.from({ length: count }, (_, i) => from + i);
  const told = {
    ...{ latent_channels: 2, layers_per_block: 3, norm_num_groups: 16, mid_block_add_attention: false },
    ...{
      use_quant_conv: false,
      use_post_quant_conv: false,
      scaling_factor: 0.5,
      latents_mean: [1, 2],
      latents_std: [3, 4],
    },
    ...{ solvay_latent_rgb_factors: numbers(6), solvay_latent_rgb_bias: [7, 8, 9] },
  };
  assert.deepEqual(vaeConfig(json({ ...VAE, ...told })), {
    ...silent,
    ...{
      latentChannels: 2,
      layersPerBlock: 3,
      groups: 16,
      midAttention: false,
      quantConv: false,
      postQuantConv: false,
    },
    ...{ scalingFactor: 0.5, latentStatistics: { mean: [1, 2], std: [3, 4] } },
    latentColours: {
      factors: [
        [1, 2],
        [3, 4],
        [5, 6],
      ],
      bias: [7, 8, 9],
    },
  });
  // Encoder and decoder have a convolution of their own each.
  assert.deepEqual(vaeConfig(json({ ...VAE, use_quant_conv: false })), { ...silent, quantConv: false });
  assert.deepEqual(vaeConfig(json({ ...VAE, use_post_quant_conv: false })), { ...silent, postQuantConv: false });
  for (const one of [{ latents_mean: [1, 2, 3, 4] }, { latents_std: [1, 2, 3, 4] }])
    assert.equal(vaeConfig(json({ ...VAE, ...one })).latentStatistics, undefined);
  for (const [field, value] of Object.entries({
    ...{ act_fn: "relu", latents_mean: [1], latents_std: numbers(5), solvay_latent_rgb_factors: numbers(11) },
    ...{
      solvay_latent_rgb_bias: [1, 2],
      out_channels: 4,
      norm_num_groups: 48,
      up_block_types: ["UpBlock2D", "UpDecoderBlock2D"],
    },
    ...{ block_out_channels: numbers(9, 32), layers_per_block: 0, scaling_factor: "1" },
  }))
    refuses(vaeConfig, VAE, { [field]: value }, new RegExp(`field "${field}"`));
  // Pictures from text need no encoder: another one is told, and not refused.
  for (const other of [
    { in_channels: 4 },
    { down_block_types: ["DownEncoderBlock2D"] },
    { down_block_types: ["DownEncoderBlock2D", "AttnDownEncoderBlock2D"] },
  ])
    assert.match(vaeConfig(json({ ...VAE, ...other })).otherEncoder!, /does not fit SDXL/);
});
