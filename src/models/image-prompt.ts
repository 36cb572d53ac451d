/** @file Pictures as prompts (IP-Adapter): what plans, stages and pipelines know of them. */
import type { TensorTable } from "../container/table.ts";
import type { PhaseRun } from "../stream/phase.ts";

/** An image encoder and what makes prompts of what it sees, as plain data; what more there is of them is their family's. */
export interface ImagePromptNetwork {
  readonly kind: string;
  /** Pixels of the side of pictures as the encoder sees them, and what their colours (0..1) are measured by. */
  readonly side: number;
  readonly mean: readonly number[];
  readonly deviation: readonly number[];
}

export interface ImagePromptShape {
  readonly network: ImagePromptNetwork;
  /** What weights are read as: of the encoder and of the adapter. */
  readonly encoder: string;
  readonly adapter: string;
  readonly pictures: number;
  /** How many of the batch are told of a negative prompt. */
  readonly negatives: number;
}

/** What the model is told of pictures: rows of tokens [S, D], of all pictures in their order. */
export interface ImagePrompt {
  readonly positive: Float32Array;
  /** Of pictures that are nothing. */
  readonly negative: Float32Array;
}

export interface DescribedImagePrompt {
  readonly phase: string;
  /** In that phase; `pictures`: [1, 3, side, side] each, normalised. Rejects with the signal's reason on abort. */
  encode(phase: PhaseRun, pictures: readonly Float32Array[], signal?: AbortSignal): Promise<ImagePrompt>;
}

/** What a denoiser takes of it. */
export interface ImagePromptInput {
  readonly prompt: ImagePrompt;
  /** By step, from 0; the last holds for all later steps. */
  readonly weights: readonly number[];
}

/** Tables by canonical names. */
export interface OpenedImagePrompt {
  readonly network: ImagePromptNetwork;
  readonly encoder: TensorTable;
  readonly adapter: TensorTable;
}
