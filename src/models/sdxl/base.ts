/** @file SDXL base 1.0 as data. */
import type { LatentColours } from "../../image/latent-preview.ts";
import type { VaeConfig } from "../autoencoder.ts";
import type { ClipConfig } from "../clip.ts";
import type { UNetConfig } from "./config.ts";

/** The UNet of stabilityai/stable-diffusion-xl-base-1.0 (its config.json): 2,567,463,684 parameters. */
export const SDXL_BASE_UNET: UNetConfig = {
  inChannels: 4,
  outChannels: 4,
  sampleSize: 128,
  levels: [
    { channels: 320, layers: 2, heads: 5, crossAttention: false, transformerLayers: [] },
    { channels: 640, layers: 2, heads: 10, crossAttention: true, transformerLayers: [2, 2] },
    { channels: 1280, layers: 2, heads: 20, crossAttention: true, transformerLayers: [10, 10] },
  ],
  upLevels: [
    { crossAttention: true, transformerLayers: [10, 10, 10] },
    { crossAttention: true, transformerLayers: [2, 2, 2] },
    { crossAttention: false, transformerLayers: [] },
  ],
  mid: { crossAttention: true, transformerLayers: 10, heads: 20 },
  crossAttentionDim: 2048,
  groups: 32,
  normEps: 1e-5,
  linearProjection: true,
  flipSinToCos: true,
  freqShift: 0,
  additionTimeEmbedDim: 256,
  additionInputDim: 2816,
  downsamplePadding: 1,
};

/** What both text encoders have in common. */
const CLIP = { layers: 12, vocabSize: 49408, maxPositions: 77, eps: 1e-5, eosTokenId: 49407 };

/** text_encoder/config.json. */
export const SDXL_BASE_CLIP_L: ClipConfig = {
  ...CLIP,
  hiddenSize: 768,
  intermediateSize: 3072,
  heads: 12,
  activation: "quickGelu",
  projectionDim: 768,
};

/** text_encoder_2/config.json. */
export const SDXL_BASE_CLIP_BIG_G: ClipConfig = {
  ...CLIP,
  layers: 32,
  hiddenSize: 1280,
  intermediateSize: 5120,
  heads: 20,
  activation: "gelu",
  projectionDim: 1280,
};

/** What its latents look like, as the diffusers documentation has it (using-diffusers/callback, `latents_to_rgb`). */
export const SDXL_LATENT_COLOURS: LatentColours = {
  factors: [
    [60, -60, 25, -70],
    [60, -5, 15, -50],
    [60, 10, -5, -35],
  ],
  bias: [150, 140, 130],
};

/** vae/config.json. */
export const SDXL_BASE_VAE: VaeConfig = {
  latentChannels: 4,
  outChannels: 3,
  blockChannels: [128, 256, 512, 512],
  layersPerBlock: 2,
  groups: 32,
  midAttention: true,
  quantConv: true,
  postQuantConv: true,
  scalingFactor: 0.13025,
};
