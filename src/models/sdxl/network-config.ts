/** @file config.json of each network -> the networks' plain data. Refuses variants that would be computed wrongly. */

import type { JsonConfig } from "../../checkpoint/json-config.ts";
import { ArtifactError } from "../../errors.ts";
import type { VaeConfig } from "../autoencoder.ts";
import type { ClipConfig, TextActivation } from "../clip.ts";
import type { UNetConfig } from "./config.ts";
import type { UNetHalf } from "./unet-blocks.ts";

const MAX_CHANNELS = 16384;
const MAX_LAYERS = 256;
/** A level halves the latent's or doubles the picture's sides: eight are far beyond any model. */
const MAX_LEVELS = 8;
/** SDXL's UNet has 70; a schema is built for all of them before any weight is looked at. */
const MAX_TRANSFORMER_BLOCKS = 4096;

/** Fields of UNet2DConditionModel and ControlNetModel that change the computation, and the values that the text of both covers. */
const HALF_REQUIRED: readonly (readonly [string, readonly (string | number | boolean | null)[]])[] = [
  ["act_fn", ["silu", "swish", null]],
  ["addition_embed_type", ["text_time"]],
  ["class_embed_type", [null]],
  ["encoder_hid_dim", [null]],
  ["encoder_hid_dim_type", [null]],
  ["mid_block_scale_factor", [1, null]],
  ["mid_block_type", ["UNetMidBlock2DCrossAttn", "UNetMidBlock2D", null]],
  ["only_cross_attention", [false, null]],
  ["resnet_time_scale_shift", ["default", null]],
];
/** The same of UNet2DConditionModel alone. */
const UNET_REQUIRED: readonly (readonly [string, readonly (string | number | boolean | null)[]])[] = [
  ["attention_type", ["default", null]],
  ["center_input_sample", [false, null]],
  ["class_embeddings_concat", [false, null]],
  ["conv_in_kernel", [3, null]],
  ["conv_out_kernel", [3, null]],
  ["cross_attention_norm", [null]],
  ["dual_cross_attention", [false, null]],
  ["mid_block_only_cross_attention", [false, null]],
  ["resnet_out_scale_factor", [1, null]],
  ["resnet_skip_time_act", [false, null]],
  ["time_cond_proj_dim", [null]],
  ["time_embedding_act_fn", [null]],
  ["time_embedding_dim", [null]],
  ["time_embedding_type", ["positional", null]],
  ["timestep_post_act", [null]],
];

export function unetConfig(json: JsonConfig): UNetConfig {
  for (const [field, allowed] of UNET_REQUIRED) json.require(field, allowed);
  const half = halfConfig(json);
  const { levels } = half;
  const count = levels.length;
  const crossUp = blockKinds(json, "up_block_types", "CrossAttnUpBlock2D", "UpBlock2D", count);
  const depths = json.nestedInts("transformer_layers_per_block", count, MAX_LAYERS, 1)!;
  const upDepths = json.nestedInts("reverse_transformer_layers_per_block", count, MAX_LAYERS) ?? [...depths].reverse();
  for (const [i, { heads, channels }] of levels.entries()) {
    requireHeads(json, crossUp[count - 1 - i]!, { heads, channels, level: i });
  }
  const upLevels = levels.map((_, i) => ({
    crossAttention: crossUp[i]!,
    transformerLayers: spread(upDepths[i], levels[count - 1 - i]!.layers + 1),
  }));
  requireBlocks(json, depths, [...levels, ...upLevels]);
  return {
    ...half,
    outChannels: json.int("out_channels", 1, 64, 4),
    sampleSize: json.int("sample_size", 1, 1024, 128),
    upLevels,
  };
}

/** What config.json says of a UNet up to its middle, or of a ControlNet. */
export function halfConfig(json: JsonConfig): UNetHalf {
  for (const [field, allowed] of HALF_REQUIRED) json.require(field, allowed);
  const channels = json.ints("block_out_channels", 1, MAX_CHANNELS, MAX_LEVELS);
  const count = channels.length;
  const crossDown = blockKinds(json, "down_block_types", "CrossAttnDownBlock2D", "DownBlock2D", count);
  const layers = json.intOrInts("layers_per_block", count, 1, MAX_LAYERS, 2);
  const heads = json.intOrInts(headsField(json), count, 1, MAX_CHANNELS, 8);
  const depths = json.nestedInts("transformer_layers_per_block", count, MAX_LAYERS, 1)!;
  const midDepth = depths.at(-1)!;
  const midCross = json.string("mid_block_type", "UNetMidBlock2DCrossAttn") === "UNetMidBlock2DCrossAttn";
  heads.forEach((levelHeads, i) => {
    const attends = crossDown[i]! || (midCross && i === count - 1);
    requireHeads(json, attends, { heads: levelHeads, channels: channels[i]!, level: i });
  });
  const levels = channels.map((levelChannels, i) => ({
    channels: levelChannels,
    layers: layers[i]!,
    heads: heads[i]!,
    crossAttention: crossDown[i]!,
    transformerLayers: spread(depths[i], layers[i]!),
  }));
  requireBlocks(json, depths, levels);
  return {
    inChannels: json.int("in_channels", 1, 64, 4),
    levels,
    mid: {
      crossAttention: midCross,
      transformerLayers: typeof midDepth === "number" ? midDepth : (midDepth[0] ?? 1),
      heads: heads[count - 1]!,
    },
    crossAttentionDim: json.int("cross_attention_dim", 1, MAX_CHANNELS, 1280),
    groups: groupsOf(json, channels),
    normEps: json.number("norm_eps", 1e-5),
    linearProjection: json.bool("use_linear_projection", false),
    flipSinToCos: json.bool("flip_sin_to_cos", true),
    freqShift: json.number("freq_shift", 0),
    additionTimeEmbedDim: json.int("addition_time_embed_dim", 1, MAX_CHANNELS),
    additionInputDim: json.int("projection_class_embeddings_input_dim", 1, 65536),
    downsamplePadding: json.int("downsample_padding", 0, 1, 1),
  };
}

/** diffusers' old naming slip: "attention_head_dim" holds the number of heads unless "num_attention_heads" is given. */
function headsField(json: JsonConfig): string {
  return json.has("num_attention_heads") ? "num_attention_heads" : "attention_head_dim";
}

function requireHeads(
  json: JsonConfig,
  attends: boolean,
  { heads, channels, level }: { readonly heads: number; readonly channels: number; readonly level: number },
): void {
  if (attends && heads > channels) throw json.wrong(headsField(json), heads, `1 to ${channels} at level ${level}`);
}

function spread(depth: number | readonly number[] | undefined, places: number): readonly number[] {
  return typeof depth === "number" ? new Array<number>(places).fill(depth) : (depth ?? []);
}

function requireBlocks(
  json: JsonConfig,
  depths: unknown,
  levels: readonly { readonly transformerLayers: readonly number[] }[],
): void {
  const blocks = levels.flatMap(({ transformerLayers }) => transformerLayers);
  if (blocks.reduce((sum, depth) => sum + depth, 0) <= MAX_TRANSFORMER_BLOCKS) return;
  throw json.wrong("transformer_layers_per_block", depths, `${MAX_TRANSFORMER_BLOCKS} transformer blocks in all`);
}

/** norm_num_groups, which must divide every level's channels. */
function groupsOf(json: JsonConfig, channels: readonly number[]): number {
  const groups = json.int("norm_num_groups", 1, 1024, 32);
  const odd = channels.find((count) => count % groups !== 0);
  if (odd !== undefined) throw json.wrong("norm_num_groups", groups, `a divisor of ${odd} channels`);
  return groups;
}

function blockKinds(json: JsonConfig, field: string, cross: string, plain: string, count: number): boolean[] {
  const kinds = json.strings(field);
  if (kinds.length !== count || kinds.some((kind) => kind !== cross && kind !== plain)) {
    // `ints` words the refusal: the field is no list this UNet knows.
    json.require(field, [`${count} of ${cross}, ${plain}`]);
  }
  return kinds.map((kind) => kind === cross);
}

const ACTIVATIONS: Readonly<Record<string, TextActivation>> = { quick_gelu: "quickGelu", gelu: "gelu" };

export function clipConfig(json: JsonConfig): ClipConfig {
  json.require("hidden_act", Object.keys(ACTIVATIONS));
  const hiddenSize = json.int("hidden_size", 1, MAX_CHANNELS);
  const heads = json.int("num_attention_heads", 1, MAX_CHANNELS);
  if (hiddenSize % heads !== 0) throw json.wrong("num_attention_heads", heads, `a divisor of ${hiddenSize}`);
  return {
    hiddenSize,
    intermediateSize: json.int("intermediate_size", 1, 4 * MAX_CHANNELS),
    layers: json.int("num_hidden_layers", 1, MAX_LAYERS),
    heads,
    vocabSize: json.int("vocab_size", 1, 2 ** 20),
    maxPositions: json.int("max_position_embeddings", 1, 4096, 77),
    activation: ACTIVATIONS[json.string("hidden_act", "quick_gelu")]!,
    eps: json.number("layer_norm_eps", 1e-5),
    eosTokenId: json.int("eos_token_id", 0, 2 ** 20, 49407),
    projectionDim: json.int("projection_dim", 1, MAX_CHANNELS, hiddenSize),
  };
}

export function vaeConfig(json: JsonConfig): VaeConfig {
  json.require("act_fn", ["silu", "swish", null]);
  const blockChannels = json.ints("block_out_channels", 1, MAX_CHANNELS, MAX_LEVELS);
  const latentChannels = json.int("latent_channels", 1, 64, 4);
  for (const kind of json.strings("up_block_types")) {
    if (kind !== "UpDecoderBlock2D") json.require("up_block_types", ["UpDecoderBlock2D for every level"]);
  }
  const latentsMean = json.numbers("latents_mean");
  const latentsStd = json.numbers("latents_std");
  for (const [field, list] of Object.entries({ latents_mean: latentsMean, latents_std: latentsStd })) {
    if (list && list.length !== latentChannels) throw json.wrong(field, list, `${latentChannels} numbers`);
  }
  // Ours: no other program reads or writes them.
  const colours = json.numbers("solvay_latent_rgb_factors");
  const bias = json.numbers("solvay_latent_rgb_bias");
  for (const [field, list, count] of [
    ["solvay_latent_rgb_factors", colours, 3 * latentChannels],
    ["solvay_latent_rgb_bias", bias, 3],
  ] as const) {
    if (list && list.length !== count) throw json.wrong(field, list, `${count} numbers`);
  }
  const factors =
    colours && [0, 1, 2].map((colour) => colours.slice(colour * latentChannels, (colour + 1) * latentChannels));
  return {
    latentChannels,
    outChannels: json.int("out_channels", 3, 3, 3),
    blockChannels,
    layersPerBlock: json.int("layers_per_block", 1, MAX_LAYERS, 1),
    groups: groupsOf(json, blockChannels),
    midAttention: json.bool("mid_block_add_attention", true),
    ...encoderConfig(json, blockChannels.length),
    postQuantConv: json.bool("use_post_quant_conv", true),
    scalingFactor: json.number("scaling_factor", 0.18215),
    latentColours: factors && bias && { factors, bias },
    latentStatistics: latentsMean && latentsStd && { mean: latentsMean, std: latentsStd },
  };
}

/** What the encoder alone depends on. Of another kind it is no reason to refuse the decoder, which is all that pictures from text need. */
function encoderConfig(json: JsonConfig, levels: number): Pick<VaeConfig, "quantConv" | "otherEncoder"> {
  try {
    json.int("in_channels", 3, 3, 3);
    const kinds = json.strings("down_block_types");
    if (kinds.length !== levels || kinds.some((kind) => kind !== "DownEncoderBlock2D")) {
      throw json.wrong("down_block_types", kinds, `${levels} of DownEncoderBlock2D`);
    }
    return { quantConv: json.bool("use_quant_conv", true) };
  } catch (error) {
    if (!(error instanceof ArtifactError)) throw error;
    return { quantConv: true, otherEncoder: error.problem };
  }
}
