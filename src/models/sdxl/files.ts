/** @file Which files make up an SDXL in diffusers layout: said once, for folder, cache and hub. */
import type { ClipTokenizerFiles } from "../../tokenizer/clip.ts";
import type { ComponentDescription } from "../family.ts";

/** In the order in which an image needs them. */
export const SDXL_COMPONENTS = [
  { id: "textEncoder", folder: "text_encoder", prefix: "text_encoder" },
  { id: "textEncoder2", folder: "text_encoder_2", prefix: "text_encoder_2" },
  { id: "unet", folder: "unet", prefix: "unet" },
  { id: "vae", folder: "vae", prefix: "vae" },
  { id: "vaeEncoder", folder: "vae", prefix: "vae_encoder", onDemand: true },
] as const satisfies readonly ComponentDescription[];

/** Of a refiner, which is opened beside a model: by ids and prefixes of its own. */
export const REFINER_COMPONENTS = [
  { id: "refiner.textEncoder2", folder: "text_encoder_2", prefix: "refiner_text_encoder_2" },
  { id: "refiner.unet", folder: "unet", prefix: "refiner_unet" },
] as const satisfies readonly ComponentDescription[];

export type RefinerComponentId = (typeof REFINER_COMPONENTS)[number]["id"];

export type SdxlComponentId = (typeof SDXL_COMPONENTS)[number]["id"];

export const MODEL_INDEX = "model_index.json";
export const SCHEDULER_CONFIG = "scheduler/scheduler_config.json";

/** Folders with weights, and the name of the files in each. */
export const WEIGHT_FOLDERS = [
  { folder: "text_encoder", stem: "model" },
  { folder: "text_encoder_2", stem: "model" },
  { folder: "vae", stem: "diffusion_pytorch_model" },
  { folder: "unet", stem: "diffusion_pytorch_model" },
] as const;

export type WeightFolder = (typeof WEIGHT_FOLDERS)[number]["folder"];

export const TOKENIZER_FOLDERS = ["tokenizer", "tokenizer_2"] as const;

/** By what they are to the tokenizer. vocab.json with merges.txt, or tokenizer.json, must be there; the others may. */
export const TOKENIZER_TEXTS = {
  vocabJson: "vocab.json",
  mergesTxt: "merges.txt",
  tokenizerJson: "tokenizer.json",
  tokenizerConfigJson: "tokenizer_config.json",
  specialTokensMapJson: "special_tokens_map.json",
  addedTokensJson: "added_tokens.json",
} as const satisfies Record<keyof ClipTokenizerFiles, string>;

export const TOKENIZER_FILES: readonly string[] = Object.values(TOKENIZER_TEXTS);

/** All text files that an SDXL may consist of, beside its weights. */
export const TEXT_FILES: readonly string[] = [
  MODEL_INDEX,
  "unet/config.json",
  "text_encoder/config.json",
  "text_encoder_2/config.json",
  "vae/config.json",
  SCHEDULER_CONFIG,
  ...TOKENIZER_FOLDERS.flatMap((folder) => TOKENIZER_FILES.map((file) => `${folder}/${file}`)),
];

/** Where a folder's weights may lie, by preference: fp16 first, as diffusers' `variant="fp16"`; one file before shards. */
export function weightFiles(stem: string, variants: readonly ("fp16" | "none")[]): readonly string[] {
  return variants.flatMap((variant) => {
    const infix = variant === "fp16" ? ".fp16" : "";
    return [`${stem}${infix}.safetensors`, `${stem}.safetensors.index${infix}.json`];
  });
}
