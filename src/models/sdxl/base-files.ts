/** @file The config files of SDXL base 1.0, as diffusers reads them: what a model without config files is taken for. */

const CLIP = {
  model_type: "clip_text_model",
  attention_dropout: 0,
  bos_token_id: 49406,
  eos_token_id: 49407,
  layer_norm_eps: 1e-5,
  max_position_embeddings: 77,
  vocab_size: 49408,
};

const TOKENIZER = {
  tokenizer_class: "CLIPTokenizer",
  bos_token: "<|startoftext|>",
  eos_token: "<|endoftext|>",
  unk_token: "<|endoftext|>",
  model_max_length: 77,
};

export const SDXL_BASE_FILES = {
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
  "text_encoder/config.json": {
    ...CLIP,
    architectures: ["CLIPTextModel"],
    hidden_act: "quick_gelu",
    hidden_size: 768,
    intermediate_size: 3072,
    num_attention_heads: 12,
    num_hidden_layers: 12,
    projection_dim: 768,
  },
  "text_encoder_2/config.json": {
    ...CLIP,
    architectures: ["CLIPTextModelWithProjection"],
    hidden_act: "gelu",
    hidden_size: 1280,
    intermediate_size: 5120,
    num_attention_heads: 20,
    num_hidden_layers: 32,
    projection_dim: 1280,
  },
  // 2,567,463,684 parameters.
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
    block_out_channels: [128, 256, 512, 512],
    down_block_types: ["DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D"],
    force_upcast: true,
    in_channels: 3,
    latent_channels: 4,
    layers_per_block: 2,
    norm_num_groups: 32,
    out_channels: 3,
    sample_size: 1024,
    scaling_factor: 0.13025,
    up_block_types: ["UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"],
  },
  "tokenizer/tokenizer_config.json": { ...TOKENIZER, pad_token: "<|endoftext|>" },
  "tokenizer_2/tokenizer_config.json": { ...TOKENIZER, pad_token: "!" },
} as const;

/** One of them as text. */
export function baseFile(file: keyof typeof SDXL_BASE_FILES, changed: Readonly<Record<string, unknown>> = {}): string {
  return JSON.stringify({ ...SDXL_BASE_FILES[file], ...changed });
}
