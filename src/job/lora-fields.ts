/** @file The fields of a job that name adapters. Part of fields.ts. */
import type { Fields } from "./field-type.ts";

export const LORA_FIELDS = {
  loras: {
    kind: { type: "loras" },
    description:
      "LoRA or a relative of it, with its weight; again for more. FILE:te=W:unet=W for text encoders and denoiser apart, FILE:W:from=A:to=B for a share of the steps",
    flag: { usage: "--lora <file[:weight]>", group: "Prompts" },
    loop: { word: "lora", usage: "FILE[:WEIGHT], ...|none", title: "LoRAs", clear: "none", cleared: "none" },
    infotext: { name: "LoRAs" },
    aliases: ["lora"],
    shapesPlan: true,
  },
} as const satisfies Fields;
