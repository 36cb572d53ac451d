/** @file SDXL base 1.0 as data. */
import type { UNetConfig } from "../model/config.ts";

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
