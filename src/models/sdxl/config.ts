/** @file What the networks need to know of themselves: plain data, filled from config files by checkpoint/. */

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

export type TextActivation = "quickGelu" | "gelu";

/** transformers CLIPTextModel / CLIPTextModelWithProjection. */
export interface ClipConfig {
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly vocabSize: number;
  readonly maxPositions: number;
  readonly activation: TextActivation;
  readonly eps: number;
  /** 2 is transformers' legacy value: the end-of-text token is then the highest id. */
  readonly eosTokenId: number;
  readonly projectionDim: number;
}

/** diffusers AutoencoderKL, the decoder. */
export interface VaeConfig {
  readonly latentChannels: number;
  readonly outChannels: number;
  readonly blockChannels: readonly number[];
  readonly layersPerBlock: number;
  readonly groups: number;
  readonly midAttention: boolean;
  readonly postQuantConv: boolean;
  readonly scalingFactor: number;
  readonly latentsMean?: readonly number[];
  readonly latentsStd?: readonly number[];
}

/** Pixels per latent cell. */
export function vaeScaleFactor(config: VaeConfig): number {
  return 2 ** (config.blockChannels.length - 1);
}
