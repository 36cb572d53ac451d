/** @file What a model is told: prompts, what is made of them, and what its answers are mixed from. */
import type { TokenChunk } from "../prompt/chunks.ts";
import type { PromptSyntax } from "../prompt/syntax.ts";

/** A word of prompts that stands for vectors which were learned for it (textual inversion). */
export interface LearnedWord {
  readonly name: string;
  /** The same for the same vectors. */
  readonly id: string;
  /** How many vectors. */
  readonly count: number;
  /** By the text encoder's folder name: [count, C]. */
  readonly vectors: ReadonlyMap<string, Float32Array>;
}

/** A prompt at one step. */
export interface PromptText {
  readonly text: string;
  /** For the second text encoder. Default: the same. */
  readonly second?: string | undefined;
  readonly syntax: PromptSyntax;
  readonly clipSkip: number;
  readonly words?: readonly LearnedWord[] | undefined;
}

/** What a conditioning is made from, as plain JSON: equal ones give equal conditionings. A long prompt is several. */
export interface Prompt {
  /** By the tokenizer's folder name. */
  readonly tokens: Readonly<Record<string, TokenChunk>>;
  /** Layers of the text encoders that are passed over beside those that the model always passes over: diffusers' clip_skip. */
  readonly clipSkip: number;
  /** Adapters of the text encoders, where there are some: the set's id, and the strength of each. */
  readonly adapters?: { readonly set: string; readonly strengths: readonly number[] } | undefined;
}

/** Strengths of a job's adapters by step, from 0; at least one. */
export type Strengths = readonly (readonly number[])[];

/** What a model is told of one prompt. Nobody writes to its arrays. */
export interface Conditioning {
  /** Rows of tokens, [S, D] each. */
  readonly sequences: ReadonlyMap<string, Float32Array<ArrayBuffer>>;
  /** [P] each. */
  readonly vectors: ReadonlyMap<string, Float32Array<ArrayBuffer>>;
}

/** What a model is told by step, from 0; at least one. */
export type Timeline = readonly Conditioning[];

/** Of what is given by step: the last one holds for all later steps. */
export function atStep<Item>(items: readonly Item[], step: number): Item {
  return items[Math.min(step, items.length - 1)]!;
}

/** Of what a picture is told to be a part, in pixels. What is not said is as if the picture were all of it. */
export interface PictureOrigin {
  readonly width?: number | undefined;
  readonly height?: number | undefined;
  readonly left?: number | undefined;
  readonly top?: number | undefined;
}

/** What the model's answers are mixed from. */
export interface Guide {
  /** At least one; several, or one of a weight other than 1, only with a negative. */
  readonly parts: readonly { readonly timeline: Timeline; readonly weight: number }[];
  /** With it, classifier-free guidance at `scale`. */
  readonly negative?: Timeline | undefined;
  /** What the model is told of the picture. */
  readonly origin?: PictureOrigin | undefined;
  readonly scale: number;
  /** 0..1: how far the mix is scaled back to the deviation of the positive answer (arXiv 2305.08891, section 3.4). Default 0. */
  readonly rescale?: number | undefined;
}
