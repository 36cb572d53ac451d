/** @file SDXL base 1.0's config files, and the same as data. */
import type { ClipConfig, VaeConfig } from "../../src/model/config.ts";

const CLIP = { layers: 12, vocabSize: 49408, maxPositions: 77, eps: 1e-5, eosTokenId: 49407 };

export const CLIP_L: ClipConfig = {
  ...CLIP,
  hiddenSize: 768,
  intermediateSize: 3072,
  heads: 12,
  activation: "quickGelu",
  projectionDim: 768,
};

export const CLIP_BIG_G: ClipConfig = {
  ...CLIP,
  layers: 32,
  hiddenSize: 1280,
  intermediateSize: 5120,
  heads: 20,
  activation: "gelu",
  projectionDim: 1280,
};

export const VAE: VaeConfig = {
  latentChannels: 4,
  outChannels: 3,
  blockChannels: [128, 256, 512, 512],
  layersPerBlock: 2,
  groups: 32,
  midAttention: true,
  postQuantConv: true,
  scalingFactor: 0.13025,
};

function clipJson(config: ClipConfig, architecture: string, hiddenAct: string): object {
  return {
    architectures: [architecture],
    model_type: "clip_text_model",
    attention_dropout: 0,
    bos_token_id: 49406,
    eos_token_id: config.eosTokenId,
    hidden_act: hiddenAct,
    hidden_size: config.hiddenSize,
    intermediate_size: config.intermediateSize,
    layer_norm_eps: config.eps,
    max_position_embeddings: config.maxPositions,
    num_attention_heads: config.heads,
    num_hidden_layers: config.layers,
    projection_dim: config.projectionDim,
    vocab_size: config.vocabSize,
  };
}

export const CONFIG_FILES: Readonly<Record<string, object>> = {
  "model_index.json": {
    _class_name: "StableDiffusionXLPipeline",
    force_zeros_for_empty_prompt: true,
    scheduler: ["diffusers", "EulerDiscreteScheduler"],
    text_encoder: ["transformers", "CLIPTextModel"],
    text_encoder_2: ["transformers", "CLIPTextModelWithProjection"],
    tokenizer: ["transformers", "CLIPTokenizer"],
    tokenizer_2: ["transformers", "CLIPTokenizer"],
    unet: ["diffusers", "UNet2DConditionModel"],
    vae: ["diffusers", "AutoencoderKL"],
  },
  "scheduler/scheduler_config.json": {
    _class_name: "EulerDiscreteScheduler",
    beta_end: 0.012,
    beta_schedule: "scaled_linear",
    beta_start: 0.00085,
    interpolation_type: "linear",
    num_train_timesteps: 1000,
    prediction_type: "epsilon",
    steps_offset: 1,
    timestep_spacing: "leading",
    use_karras_sigmas: false,
  },
  "text_encoder/config.json": clipJson(CLIP_L, "CLIPTextModel", "quick_gelu"),
  "text_encoder_2/config.json": clipJson(CLIP_BIG_G, "CLIPTextModelWithProjection", "gelu"),
  "unet/config.json": {
    _class_name: "UNet2DConditionModel",
    act_fn: "silu",
    addition_embed_type: "text_time",
    addition_time_embed_dim: 256,
    attention_head_dim: [5, 10, 20],
    block_out_channels: [320, 640, 1280],
    cross_attention_dim: 2048,
    down_block_types: ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    flip_sin_to_cos: true,
    freq_shift: 0,
    in_channels: 4,
    layers_per_block: 2,
    mid_block_type: "UNetMidBlock2DCrossAttn",
    norm_eps: 1e-5,
    norm_num_groups: 32,
    out_channels: 4,
    projection_class_embeddings_input_dim: 2816,
    sample_size: 128,
    transformer_layers_per_block: [1, 2, 10],
    up_block_types: ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    use_linear_projection: true,
  },
  "vae/config.json": {
    _class_name: "AutoencoderKL",
    act_fn: "silu",
    block_out_channels: VAE.blockChannels,
    down_block_types: VAE.blockChannels.map(() => "DownEncoderBlock2D"),
    force_upcast: true,
    in_channels: 3,
    latent_channels: VAE.latentChannels,
    layers_per_block: VAE.layersPerBlock,
    norm_num_groups: VAE.groups,
    out_channels: 3,
    sample_size: 1024,
    scaling_factor: VAE.scalingFactor,
    up_block_types: VAE.blockChannels.map(() => "UpDecoderBlock2D"),
  },
};
