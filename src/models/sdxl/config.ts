/** @file What an SDXL needs to know of itself, its weights aside: plain data, filled from config files (network-config.ts). */
import type { TensorTable } from "../../container/table.ts";
import type { SamplerName } from "../../sampler/samplers.ts";
import type { SchedulerConfig } from "../../sampler/training.ts";
import type { ClipTokenizer } from "../../tokenizer/clip.ts";
import type { VaeConfig } from "../autoencoder.ts";
import type { ClipConfig } from "../clip.ts";
import type { Family } from "../family.ts";

/** diffusers UNet2DConditionModel, the SDXL family ("text_time" additional embedding). */
export interface UNetConfig {
  readonly inChannels: number;
  readonly outChannels: number;
  /** Side of the default latent. */
  readonly sampleSize: number;
  readonly levels: readonly UNetLevel[];
  readonly upLevels: readonly { readonly crossAttention: boolean; readonly transformerLayers: readonly number[] }[];
  readonly mid: { readonly crossAttention: boolean; readonly transformerLayers: number; readonly heads: number };
  readonly crossAttentionDim: number;
  readonly groups: number;
  readonly normEps: number;
  readonly linearProjection: boolean;
  readonly flipSinToCos: boolean;
  readonly freqShift: number;
  readonly additionTimeEmbedDim: number;
  /** Width of [pooled text, time ids] before add_embedding. */
  readonly additionInputDim: number;
  readonly downsamplePadding: number;
}

export interface UNetLevel {
  readonly channels: number;
  readonly layers: number;
  readonly heads: number;
  readonly crossAttention: boolean;
  /** Transformer blocks of each attention module on the way down. */
  readonly transformerLayers: readonly number[];
}

/** Its networks' settings. */
export interface SdxlConfigs {
  readonly unet: UNetConfig;
  readonly textEncoder: ClipConfig;
  readonly textEncoder2: ClipConfig;
  readonly vae: VaeConfig;
}

export interface AestheticScores {
  readonly positive: number;
  readonly negative: number;
}

/** All of an SDXL but its weights. */
export interface SdxlParts {
  readonly family: Family;
  readonly name: string;
  readonly configs: SdxlConfigs;
  readonly tokenizer: ClipTokenizer;
  readonly tokenizer2: ClipTokenizer;
  readonly scheduler: SchedulerConfig;
  /** What its scheduler_config.json asks for. */
  readonly sampler: SamplerName;
  readonly notes: readonly string[];
  /** See Checkpoint. */
  readonly absent: ReadonlyMap<string, string>;
  /** A refiner's network is told scores of what it draws in place of the size that is wanted. */
  readonly scores?: AestheticScores;
  /** model_index.json's force_zeros_for_empty_prompt. */
  readonly zerosForAbsentPrompt: boolean;
}

/** Weights of a network from elsewhere than its folder. */
export interface GivenWeights {
  /** By diffusers' names, or an older export's. */
  readonly table: TensorTable;
  /** For messages. */
  readonly subject: string;
}
