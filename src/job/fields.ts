/**
 * @file The fields of a job and of an open request, each once: limits, defaults, what they are, their flags, the loop's words,
 * the infotext's names, what others call them. A new field of a job is one entry here, and the place that uses it.
 */
import { PRECISIONS } from "../backend/precision.ts";
import { BACKENDS } from "./backends.ts";
import { CONTROL_FIELDS } from "./control-fields.ts";
import type { Fields } from "./field-type.ts";
import { IMAGE_PROMPT_FIELDS } from "./image-prompt-fields.ts";
import { LORA_FIELDS } from "./lora-fields.ts";
import { OUTPUT_FIELDS } from "./output-fields.ts";
import { PICTURE_FIELDS } from "./picture-fields.ts";
import { PROMPT, PROMPT_FIELDS } from "./prompt-fields.ts";
import { SAMPLING_FIELDS } from "./sampling-fields.ts";

/** A picture's side in pixels; a server may set tighter bounds. */
const SIDE = { type: "whole", min: 16, max: 4096, multiple: 8 } as const;
/** Longest path that any system takes. */
const PATH = { type: "text", maxChars: 32767 } as const;

/** In the order in which our JSON record writes them; the infotext has its own (infotext-order.ts). */
export const JOB_FIELDS = {
  prompt: { kind: PROMPT, description: "what the image should show", required: true, shapesPlan: true },
  negativePrompt: {
    kind: PROMPT,
    description: "what the image should not show",
    flag: { usage: "--negative <text>", group: "Picture" },
    loop: { word: "negative", usage: "[TEXT]", clear: "", cleared: "none" },
    aliases: ["negative_prompt"],
    shapesPlan: true,
  },
  seed: {
    kind: { type: "seed" },
    description: "seed of the noise",
    absent: "drawn at random",
    flag: { usage: "--seed <n>", group: "Picture" },
    loop: { word: "seed", usage: "N|random", clear: "random", cleared: "random" },
    infotext: { name: "Seed" },
    aliases: ["noise_seed"],
  },
  steps: {
    kind: { type: "whole", min: 1, max: 1000 },
    description: "denoising steps",
    default: 30,
    flag: { usage: "--steps <n>", group: "Picture" },
    loop: { word: "steps", usage: "N" },
    infotext: { name: "Steps" },
    aliases: ["num_inference_steps"],
    shapesPlan: true,
  },
  guidance: {
    kind: { type: "decimal", min: 0, max: 100 },
    description: "guidance scale (1 or less turns guidance off)",
    default: 5,
    flag: { usage: "--guidance <n>", group: "Picture" },
    loop: { word: "guidance", usage: "N" },
    infotext: { name: "CFG scale" },
    aliases: ["guidance_scale", "cfg_scale", "cfg"],
    shapesPlan: true,
  },
  width: {
    kind: SIDE,
    description: "width in pixels",
    absent: "the model's own",
    flag: { usage: "--width <pixels>", group: "Picture" },
    loop: { word: "size", usage: "WxH|default", clear: "default", cleared: "the model's own" },
    // One entry for both sides.
    infotext: {
      name: "Size",
      write: ({ width, height }) => `${width}x${height}`,
      read: (text) => {
        const [, width, height] = /^(\d+)x(\d+)$/.exec(text) ?? [];
        return width === undefined ? undefined : { width, height };
      },
    },
    shapesPlan: true,
  },
  height: {
    kind: SIDE,
    description: "height in pixels",
    absent: "the model's own",
    flag: { usage: "--height <pixels>", group: "Picture" },
    loop: { word: "size" },
    shapesPlan: true,
  },
  ...PROMPT_FIELDS,
  ...SAMPLING_FIELDS,
  ...PICTURE_FIELDS,
  ...OUTPUT_FIELDS,
  ...LORA_FIELDS,
  ...CONTROL_FIELDS,
  ...IMAGE_PROMPT_FIELDS,
} as const satisfies Fields;

/** Hard bounds of memory. */
export const BUDGET_FIELDS = {
  vram: {
    kind: { type: "amount" },
    description: "bound of device memory: 6G, 512M, or -1G for all but 1 GiB",
    absent: "chosen by what is free",
    flag: { usage: "--vram <amount>", group: "Budgets" },
    loop: { word: "vram", usage: "AMOUNT|auto", title: "VRAM", clear: "auto", cleared: "chosen by what is free" },
  },
  ram: {
    kind: { type: "amount" },
    description: "bound of other memory, the process included",
    absent: "chosen by what is free",
    flag: { usage: "--ram <amount>", group: "Budgets" },
    loop: { word: "ram", usage: "AMOUNT|auto", title: "RAM", clear: "auto", cleared: "chosen by what is free" },
  },
} as const satisfies Fields;

/** What opens a model, but for the budgets. */
export const OPEN_FIELDS = {
  model: {
    kind: PATH,
    description: "diffusers folder, single .safetensors file, Hugging Face id in the local cache, or store:ID",
    absent: "the demo model",
    flag: { usage: "--model <dir|file|hub-id>", group: "Model" },
    aliases: ["pretrained_model_name_or_path", "sd_model_checkpoint"],
  },
  vae: {
    kind: PATH,
    description: "VAE in place of the model's: a file or a folder",
    flag: { usage: "--vae <file|dir>", group: "Model" },
    aliases: ["sd_vae"],
  },
  config: {
    kind: PATH,
    description:
      "config files for a single file whose dimensions aren't SDXL base's: a diffusers folder, weights not needed",
    flag: { usage: "--config <dir>", group: "Model" },
  },
  base: {
    kind: PATH,
    description: "model that lends a single file the parts it lacks",
    absent: "SDXL base 1.0 in the local cache",
    flag: { usage: "--base <dir|hub-id>", group: "Model" },
  },
  prediction: {
    kind: { type: "choice", values: ["epsilon", "v_prediction", "sample"] },
    description: "what the model predicts, where its files don't say it or say it wrongly",
    absent: "what its files say",
    flag: { usage: "--prediction <name>", group: "Model" },
    aliases: ["prediction_type"],
  },
  artifact: {
    kind: PATH,
    description: "LZR2 artifact laid over the model's UNet",
    flag: { usage: "--artifact <file.lzr2>", group: "Model" },
  },
  refiner: {
    kind: PATH,
    description:
      "an SDXL refiner, which draws the last steps: a folder, a .safetensors file, a Hugging Face id, store:ID",
    flag: { usage: "--refiner <model>", group: "Model" },
  },
  previewModel: {
    kind: PATH,
    description: "tiny decoder that previews are made with: TAESDXL's file or folder",
    absent: "taesdxl_decoder beside the model; else by the latent's colours",
    flag: { usage: "--preview-model <file|dir|hub-id>", group: "Output" },
  },
  wildcardsDir: {
    kind: PATH,
    description: "folder of wildcards: __a/b__ in a prompt of syntax a1111 is a line of a/b.txt, drawn by the seed",
    flag: { usage: "--wildcards-dir <dir>", group: "Prompts" },
  },
  loraDir: {
    kind: PATH,
    description: "folder, with those in it, where LoRAs are found by name: those of <lora:NAME:0.8> and of --lora NAME",
    flag: { usage: "--lora-dir <dir>", group: "Prompts" },
    aliases: ["lora_dir"],
  },
  embeddingsDir: {
    kind: PATH,
    description: "folder, with those in it, of embeddings: a file's name in a prompt stands for it",
    flag: { usage: "--embeddings-dir <dir>", group: "Prompts" },
    aliases: ["embeddings_dir"],
  },
  controlDir: {
    kind: PATH,
    description: "folder where ControlNets are found by name: NAME.safetensors, or a folder of diffusers",
    flag: { usage: "--control-dir <dir>", group: "From a picture" },
    aliases: ["control_dir"],
  },
  ipAdapterDir: {
    kind: PATH,
    description:
      "folder, with those in it, where IP-Adapters are found by name, and folders of image encoders, of which one that fits is taken where none is named",
    flag: { usage: "--ip-adapter-dir <dir>", group: "From a picture" },
    aliases: ["ip_adapter_dir"],
  },
  upscalerDir: {
    kind: PATH,
    description: "folder, with those in it, where upscalers are found by name: --hires-upscaler 4x-net",
    flag: { usage: "--upscaler-dir <dir>", group: "Second pass" },
    aliases: ["upscaler_dir"],
  },
  onlyNames: {
    kind: { type: "switch" },
    description:
      "jobs name LoRAs, embeddings, ControlNets, IP-Adapters and upscalers by name in the folders of them, never by path",
    default: false,
  },
  givesWay: {
    kind: { type: "switch" },
    description: "what computes leaves processors to whoever wants them beside it, as a server's answers (Linux)",
    default: false,
  },
  store: {
    kind: PATH,
    description: "block store for large artifacts",
    absent: "$SOLVAY_STORE, or in the user's cache",
    flag: { usage: "--store <dir>", group: "Model" },
  },
  compat: {
    kind: { type: "switch" },
    description: "accept LZR2 records of unknown kind (the model's own weight stays)",
    flag: { usage: "--compat", group: "Model" },
  },
  backend: {
    kind: { type: "choice", values: BACKENDS },
    description: "what computes",
    default: "auto",
    flag: { usage: "--backend <name>", group: "Compute" },
    aliases: ["device"],
  },
  adapter: {
    kind: { type: "text", maxChars: 1000 },
    description: "part of a graphics adapter's name; software adapters only when named",
    flag: { usage: "--adapter <name>", group: "Compute" },
  },
  precision: {
    kind: { type: "choice", values: PRECISIONS },
    description: "arithmetic on a graphics card (fp16 is faster, with other pixels)",
    absent: "fp32",
    flag: { usage: "--precision <name>", group: "Compute" },
    aliases: ["dtype", "torch_dtype"],
  },
} as const satisfies Fields;
