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
  /** Each of its pictures counts where its mask says. */
  readonly masked: boolean;
  /** How many of the batch are told of a negative prompt. */
  readonly negatives: number;
}

/** What the model is told of pictures: rows of tokens [S, D], of all pictures in their order. */
export interface ImagePrompt {
  readonly positive: Float32Array;
  /** Of pictures that are nothing. */
  readonly negative: Float32Array;
}

/** Of all adapters of a job. */
export interface DescribedImagePrompts {
  readonly phase: string;
  /** In that phase; `pictures`: of each adapter, [1, 3, side, side] each, normalised. Rejects with the signal's reason on abort. */
  encode(
    phase: PhaseRun,
    pictures: readonly (readonly Float32Array[])[],
    signal?: AbortSignal,
  ): Promise<readonly ImagePrompt[]>;
}

/** [height, width] of a stage's picture, 1 where a picture counts and 0 elsewhere. */
export interface PictureMask {
  readonly width: number;
  readonly height: number;
  readonly bytes: Uint8Array;
}

/** What a denoiser takes of one. */
export interface ImagePromptInput {
  readonly prompt: ImagePrompt;
  /** By step, from 0; the last holds for all later steps. */
  readonly weights: readonly number[];
  /** One for each picture, where the shape is masked. */
  readonly masks?: readonly PictureMask[] | undefined;
}

/** Tables by canonical names. */
export interface OpenedImagePrompt {
  readonly network: ImagePromptNetwork;
  readonly encoder: TensorTable;
  readonly adapter: TensorTable;
}
