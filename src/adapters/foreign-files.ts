/** @file For which model a file is that changes some: told by names and widths that only such files have, and by what they say of themselves. */

interface Tensor {
  readonly shape: readonly number[];
}

type ByName = readonly (readonly [name: RegExp, words: string])[];

/** Names with dots as underscores. Of several that fit the first counts. */
const OTHER_FILES: ByName = [
  [/^lora_controlnet$/, "a Control-LoRA"],
  [/(^|_)(lllite_|control_model_|controlnet_)/, "a ControlNet"],
  [/^(image_proj|ip_adapter)_/, "an IP-Adapter"],
  [/^(clip_[lg]$|emb_params$|string_to_param)/, "a textual inversion embedding"],
  [/motion_modules_/, "an AnimateDiff motion model"],
];

/** As above. */
const FAMILIES: ByName = [
  [/(individual_token_refiner|token_refiner_refiner_blocks|img_mlp_fc1|img_attn_qkv_\d)/, "HunyuanVideo"],
  [/distilled_guidance_layer/, "Chroma"],
  [/double_stream_(blocks|modulation)/, "HiDream or FLUX.2"],
  [/(double_blocks_\d+_|single_blocks_\d+_|single_transformer_blocks_\d+_)/, "Flux"],
  [/joint_transformer_blocks_/, "AuraFlow"],
  [/transformer_blocks_\d+_(img_mlp|txt_mlp|img_mod|txt_mod)/, "Qwen-Image"],
  [/(joint_blocks_\d+_|transformer_blocks_\d+_attn_add_[qkv]_proj)/, "Stable Diffusion 3"],
  [
    /(llm_adapter|blocks_\d+_(self|cross)_attn_(q|k|v|output)_proj|blocks_\d+_mlp_layer[12]|adaln_modulation_)/,
    "Anima",
  ],
  [/(noise_refiner|context_refiner|layers_\d+_(attention_(qkv|to_[qkv]|out)|feed_forward_w\d|adaLN))/, "Z-Image"],
  [/blocks_\d+_(self_attn_[qkvo](_|$)|cross_attn_[qkvo](_|$)|ffn_\d)/, "Wan"],
  [/^((base_model_model|transformer|diffusion_model|lora_unet|lora_transformer)_)?blocks_\d+_attn[12]_to_/, "Wan"],
  [
    /(patchify_proj|^((base_model_model|transformer|lora_transformer)_)?transformer_blocks_\d+_attn[12]_)/,
    "PixArt or LTX-Video",
  ],
  [
    /^((base_model_model|transformer|lora_transformer)_)?transformer_blocks_\d+_attn_to_/,
    "Flux, Stable Diffusion 3 or Qwen-Image",
  ],
  [/(prior_unet|prior_te|clip_txt_mapper)/, "Stable Cascade"],
];

/** By the width of the text that cross-attention reads. */
const BY_CONTEXT: Readonly<Record<number, string>> = {
  768: "Stable Diffusion 1.5",
  1024: "Stable Diffusion 2",
  1280: "SDXL's refiner",
  2048: "SDXL",
};

/** kohya's ss_base_model_version, and modelspec.architecture: the beginning of it. */
const BY_METADATA: readonly (readonly [start: string, family: string])[] = [
  ["sdxl", "SDXL"],
  ["stable-diffusion-xl", "SDXL"],
  ["sd_v1", "Stable Diffusion 1.5"],
  ["sd_1.5", "Stable Diffusion 1.5"],
  ["stable-diffusion-v1", "Stable Diffusion 1.5"],
  ["sd_v2", "Stable Diffusion 2"],
  ["stable-diffusion-v2", "Stable Diffusion 2"],
  ["sd3", "Stable Diffusion 3"],
  ["stable-diffusion-3", "Stable Diffusion 3"],
  ["flux", "Flux"],
  ["anima", "Anima"],
  ["wan", "Wan"],
  ["hunyuan", "HunyuanVideo"],
  ["z-image", "Z-Image"],
  ["zimage", "Z-Image"],
];

/** Tensors of a cross-attention's keys, of which one axis is the width of the text. */
const KEY_INPUT = /attn2_(processor_)?to_k(_lora_down_weight|_lora_A(_default)?_weight|_hada_w1_b|_diff)$/;

/** What files with such names are, in words; undefined where they tell nothing. */
export function foreignWords(names: Iterable<string>): string | undefined {
  // Blocks differ in their numbers alone: each kind of name is looked at once.
  const flat = [...new Set(Array.from(names, (name) => name.replaceAll(".", "_").replace(/_\d+(?=_)/g, "_0")))];
  const find = (table: ByName) => table.find(([pattern]) => flat.some((name) => pattern.test(name)))?.[1];
  const family = find(OTHER_FILES) === undefined ? find(FAMILIES) : undefined;
  return family === undefined ? find(OTHER_FILES) : adapterFor(family);
}

/** An adapter of a family, in words. */
export function adapterFor(family: string): string {
  return `an adapter for ${family}`;
}

/** The width of the text that the file's cross-attention reads; undefined where no tensor shows it. */
export function contextWidthOf(tensors: ReadonlyMap<string, Tensor>): number | undefined {
  for (const [name, { shape }] of tensors) {
    // Files have a hundred thousand names.
    if (name.includes("attn2") && KEY_INPUT.test(name.replaceAll(".", "_")) && shape.length >= 2) return shape[1];
  }
  return undefined;
}

export function familyOfContext(width: number): string | undefined {
  return BY_CONTEXT[width];
}

/** As the file says itself. */
export function familyOfMetadata(metadata: ReadonlyMap<string, string>): string | undefined {
  const told = ["modelspec.architecture", "ss_base_model_version"].map((key) => metadata.get(key)?.toLowerCase());
  for (const text of told) {
    const found = text === undefined ? undefined : BY_METADATA.find(([start]) => text.startsWith(start));
    if (found) return found[1];
  }
  return undefined;
}
