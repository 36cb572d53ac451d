/** @file The fields of a job that say how its prompts are read and what else the model is told of the picture. Part of fields.ts. */
import { PROMPT_SYNTAXES } from "../prompt/syntax.ts";
import type { Fields } from "./field-type.ts";

export const PROMPT = { type: "text", maxChars: 65536 } as const;

/** Of a job. */
const MAX_EMBEDDINGS = 64;

/** Layers that A1111 counts where nothing is passed over: SDXL reads the last but one. */
const A1111_CLIP_SKIP = 2;

export const PROMPT_FIELDS = {
  promptSyntax: {
    kind: { type: "choice", values: PROMPT_SYNTAXES },
    description: "how prompts are read: as they stand, or with A1111's weights, schedules, AND and BREAK",
    default: "plain",
    flag: { usage: "--prompt-syntax <name>", group: "Prompts" },
    loop: { word: "syntax", usage: "plain|a1111" },
    infotext: { name: "Prompt syntax" },
    aliases: ["prompt_syntax"],
    omitsDefault: true,
    shapesPlan: true,
  },
  prompt2: {
    kind: PROMPT,
    description: "the prompt of the second text encoder",
    absent: "the same",
    flag: { usage: "--prompt-2 <text>", group: "Prompts" },
    loop: { word: "prompt2", usage: "[TEXT]", title: "Prompt 2", clear: "", cleared: "the same" },
    infotext: { name: "Prompt 2" },
    aliases: ["prompt_2"],
    shapesPlan: true,
  },
  negativePrompt2: {
    kind: PROMPT,
    description: "the negative prompt of the second text encoder",
    absent: "the same",
    flag: { usage: "--negative-2 <text>", group: "Prompts" },
    loop: { word: "negative2", usage: "[TEXT]", title: "Negative 2", clear: "", cleared: "the same" },
    infotext: { name: "Negative prompt 2" },
    aliases: ["negative_prompt_2"],
    shapesPlan: true,
  },
  clipSkip: {
    kind: { type: "whole", min: 0, max: 30 },
    description: "layers of the text encoders that are passed over, as diffusers counts them",
    default: 0,
    flag: { usage: "--clip-skip <n>", group: "Prompts" },
    loop: { word: "clipskip", usage: "N", title: "Clip skip" },
    infotext: {
      name: "Clip skip",
      write: ({ clipSkip }) => (typeof clipSkip === "number" ? String(clipSkip + A1111_CLIP_SKIP) : undefined),
      read: (text) => (/^\d+$/.test(text) ? { clipSkip: Math.max(0, Number(text) - A1111_CLIP_SKIP) } : undefined),
    },
    aliases: ["clip_skip"],
    omitsDefault: true,
    shapesPlan: true,
  },
  embeddings: {
    kind: { type: "files", maxCount: MAX_EMBEDDINGS },
    description: "embedding (textual inversion) for SDXL, used where its name stands in a prompt; again for more",
    flag: { usage: "--embedding <file>", group: "Prompts" },
    loop: { word: "embedding", usage: "FILE, ...|none", title: "Embeddings", clear: "none", cleared: "none" },
    infotext: { name: "Embeddings" },
    aliases: ["embedding"],
    shapesPlan: true,
  },
  originalSize: {
    kind: { type: "pair", separator: "x", min: 1, max: 65536 },
    description: "size in pixels that the model is told the picture had before it was cut to its own",
    absent: "the picture's",
    flag: { usage: "--original-size <WxH>", group: "Prompts" },
    infotext: { name: "Original size" },
    aliases: ["original_size"],
  },
  crop: {
    kind: { type: "pair", separator: ",", min: 0, max: 65536 },
    description: "pixels that the model is told were cut off at the left and the top",
    absent: "0,0",
    flag: { usage: "--crop <X,Y>", group: "Prompts" },
    infotext: { name: "Crop" },
    aliases: ["crops_coords_top_left"],
  },
  // The infotext tells these two in lines of their own, as dynamic prompts does.
  template: {
    kind: PROMPT,
    description: "what the prompt was drawn from: with it, the prompt stands as it is",
    absent: "the prompt is drawn, where its syntax is a1111",
  },
  negativeTemplate: {
    kind: PROMPT,
    description: "what the negative prompt was drawn from: with it, the negative prompt stands as it is",
    absent: "the negative prompt is drawn, where its syntax is a1111",
  },
  template2: {
    kind: PROMPT,
    description: "what the second text encoder's prompt was drawn from: with it, that stands as it is",
    absent: "it is drawn, where its syntax is a1111",
    infotext: { name: "Template 2" },
  },
  negativeTemplate2: {
    kind: PROMPT,
    description: "what the second text encoder's negative prompt was drawn from: with it, that stands as it is",
    absent: "it is drawn, where its syntax is a1111",
    infotext: { name: "Negative Template 2" },
  },
} as const satisfies Fields;
