/** @file The fields of a job that begins with a picture, and of one that is drawn a second time larger. Part of fields.ts. */
import type { Fields } from "./field-type.ts";
import { PROMPT } from "./prompt-fields.ts";

/** Its own reader says what it may be; no path is longer on any system. */
const TEXT = { type: "text", maxChars: 32767 } as const;
/** The infotext's entry that tells a picture with a second pass. */
const HIRES_UPSCALE = "Hires upscale";
/** Fields that name pictures. */
export const PICTURE_NAMES = ["initImage", "maskImage"] as const;
/** What enlarges for a second pass without a file. */
export const HIRES_FILTERS = ["latent", "latent-nearest", "lanczos"] as const;
const SHARE = { type: "decimal", min: 0, max: 1 } as const;

export const PICTURE_FIELDS = {
  initImage: {
    kind: { type: "picture" },
    description: "picture to begin with (PNG, JPEG or WebP); width and height are its own unless they are given",
    flag: { usage: "--init-image <file>", group: "From a picture" },
    loop: { word: "init", usage: "FILE|none", title: "Picture to begin with", clear: "none", cleared: "none" },
    aliases: ["image", "init_image", "init_images"],
    shapesPlan: true,
  },
  strength: {
    kind: SHARE,
    description: "how much of the picture to begin with is drawn anew",
    absent: "0.3; with a mask 0.9999",
    flag: { usage: "--strength <n>", group: "From a picture" },
    loop: { word: "strength", usage: "N|default", clear: "default", cleared: "0.3; with a mask 0.9999" },
    infotext: {
      name: "Denoising strength",
      // A1111 has one name for both: of a picture with a second pass it is that one's.
      write: ({ strength, hiresStrength }) => text(strength ?? hiresStrength),
      read: (value, entries) => ({ [entries.has(HIRES_UPSCALE) ? "hiresStrength" : "strength"]: value }),
    },
    aliases: ["denoising_strength", "denoise"],
    shapesPlan: true,
  },
  maskImage: {
    kind: { type: "picture" },
    description: "mask over it: white is painted anew, grey in part",
    flag: { usage: "--mask-image <file>", group: "From a picture" },
    loop: { word: "mask", usage: "FILE|none", clear: "none", cleared: "none" },
    aliases: ["mask", "mask_image"],
    shapesPlan: true,
  },
  maskBlur: {
    kind: { type: "decimal", min: 0, max: 64 },
    description: "pixels by which the mask's edge is softened",
    default: 0,
    flag: { usage: "--mask-blur <n>", group: "From a picture" },
    loop: { word: "mask-blur", usage: "N" },
    infotext: { name: "Mask blur" },
    omitsDefault: true,
    aliases: ["mask_blur"],
  },
  outpaint: {
    kind: TEXT,
    description: "pixels that the picture grows at its sides, which are painted anew: left,top,right,bottom",
    flag: { usage: "--outpaint <l,t,r,b>", group: "From a picture" },
    loop: { word: "outpaint", usage: "L,T,R,B|none", clear: "none", cleared: "none" },
    shapesPlan: true,
  },
  detail: {
    kind: TEXT,
    description:
      "part of the picture to begin with that is drawn at the job's size and laid back: left,top,width,height in its pixels, or mask",
    flag: { usage: "--detail <x,y,w,h|mask>", group: "From a picture" },
    loop: { word: "detail", usage: "X,Y,W,H|mask|none", clear: "none", cleared: "none" },
    infotext: { name: "Detail" },
    shapesPlan: true,
  },
  detailPadding: {
    kind: { type: "whole", min: 0, max: 2048 },
    description: "pixels around that part which are seen with it",
    default: 32,
    flag: { usage: "--detail-padding <n>", group: "From a picture" },
    infotext: { name: "Masked area padding" },
    omitsDefault: true,
    aliases: ["padding_mask_crop"],
  },
  hiresScale: {
    kind: { type: "decimal", min: 1, max: 8 },
    description: "how many times larger the picture is drawn a second time",
    absent: "no second pass",
    flag: { usage: "--hires-scale <n>", group: "Second pass" },
    loop: { word: "hires", usage: "N|off", title: "Second pass", clear: "off", cleared: "none" },
    infotext: { name: HIRES_UPSCALE },
    aliases: ["hr_scale"],
    shapesPlan: true,
  },
  hiresStrength: {
    kind: SHARE,
    description: "how much the second pass draws anew",
    absent: "0.7",
    flag: { usage: "--hires-strength <n>", group: "Second pass" },
    loop: { word: "hires-strength", usage: "N|default", clear: "default", cleared: "0.7" },
    shapesPlan: true,
  },
  hiresSteps: {
    kind: { type: "whole", min: 1, max: 1000 },
    description: "steps of the second pass, of which its strength leaves a part",
    absent: "as the first pass has",
    flag: { usage: "--hires-steps <n>", group: "Second pass" },
    loop: { word: "hires-steps", usage: "N|default", clear: "default", cleared: "as the first pass has" },
    infotext: { name: "Hires steps" },
    aliases: ["hr_second_pass_steps"],
    shapesPlan: true,
  },
  hiresUpscaler: {
    kind: TEXT,
    description: "what enlarges: latent, latent-nearest, lanczos, or the file of an upscaler (.pth, .safetensors)",
    absent: "latent",
    flag: { usage: "--hires-upscaler <name|file>", group: "Second pass" },
    loop: { word: "hires-upscaler", usage: "NAME|FILE|default", clear: "default", cleared: "latent" },
    infotext: { name: "Hires upscaler" },
    aliases: ["hr_upscaler"],
    shapesPlan: true,
  },
  hiresPrompt: {
    kind: PROMPT,
    description: "the prompt of the second pass, with <lora:...> of its own",
    absent: "the same",
    flag: { usage: "--hires-prompt <text>", group: "Second pass" },
    loop: { word: "hires-prompt", usage: "[TEXT]", title: "Prompt of the second pass", clear: "", cleared: "the same" },
    infotext: { name: "Hires prompt" },
    aliases: ["hr_prompt"],
    shapesPlan: true,
  },
  hiresNegativePrompt: {
    kind: PROMPT,
    description: "the negative prompt of the second pass",
    absent: "the same",
    flag: { usage: "--hires-negative <text>", group: "Second pass" },
    loop: { word: "hires-negative", usage: "[TEXT]", title: "Its negative", clear: "", cleared: "the same" },
    infotext: { name: "Hires negative prompt" },
    aliases: ["hr_negative_prompt"],
    shapesPlan: true,
  },
  hiresLoras: {
    kind: { type: "loras" },
    description: "LoRA of the second pass, in place of those of --lora; again for more",
    absent: "those of --lora",
    flag: { usage: "--hires-lora <file[:weight]>", group: "Second pass" },
    loop: { word: "hires-lora", usage: "FILE[:WEIGHT], ...|none", clear: "none", cleared: "as the first pass has" },
    infotext: { name: "Hires LoRAs" },
    aliases: ["hires_lora"],
    shapesPlan: true,
  },
  hiresTemplate: {
    kind: PROMPT,
    description: "what the prompt of the second pass was drawn from: with it, that stands as it is",
    absent: "it is drawn, where its syntax is a1111",
    infotext: { name: "Hires Template" },
  },
  hiresNegativeTemplate: {
    kind: PROMPT,
    description: "what the negative prompt of the second pass was drawn from: with it, that stands as it is",
    absent: "it is drawn, where its syntax is a1111",
    infotext: { name: "Hires Negative Template" },
  },
  refinerStart: {
    kind: SHARE,
    description: "share of the way after which the refiner draws",
    absent: "0.8",
    flag: { usage: "--refiner-start <n>", group: "Second pass" },
    loop: { word: "refiner-start", usage: "N|default", clear: "default", cleared: "0.8" },
    infotext: { name: "Refiner switch at" },
    aliases: ["refiner_switch_at", "denoising_end"],
    shapesPlan: true,
  },
} as const satisfies Fields;

function text(value: unknown): string | undefined {
  return value === undefined ? undefined : String(value);
}
