/** @file SDXL base 1.0 as data. */
import { JsonConfig } from "../../checkpoint/json-config.ts";
import type { LatentColours } from "../../image/latent-preview.ts";
import { unscaledLatent, type VaeConfig } from "../autoencoder.ts";
import { baseFile } from "./base-files.ts";
import { clipConfig, unetConfig, vaeConfig } from "./network-config.ts";

const config = (file: Parameters<typeof baseFile>[0]) => new JsonConfig(file, baseFile(file));

export const SDXL_BASE_UNET = unetConfig(config("unet/config.json"));
export const SDXL_BASE_CLIP_L = clipConfig(config("text_encoder/config.json"));
export const SDXL_BASE_CLIP_BIG_G = clipConfig(config("text_encoder_2/config.json"));
export const SDXL_BASE_VAE = vaeConfig(config("vae/config.json"));

/** What its latents look like, as the diffusers documentation has it (using-diffusers/callback, `latents_to_rgb`). */
export const SDXL_LATENT_COLOURS: LatentColours = {
  factors: [
    [60, -60, 25, -70],
    [60, -5, 15, -50],
    [60, 10, -5, -35],
  ],
  bias: [150, 140, 130],
};

/** The same colours, of latents that are normalised before they are scaled (AutoencoderKL's latents_mean and latents_std). */
export function normalisedColours(
  { factors, bias }: LatentColours,
  { mean, std }: NonNullable<VaeConfig["latentStatistics"]>,
  scalingFactor: number,
): LatentColours {
  const scale = SDXL_BASE_VAE.scalingFactor;
  return {
    factors: factors.map((row) => row.map((factor, channel) => (factor * std[channel]! * scale) / scalingFactor)),
    bias: bias.map((level, colour) =>
      factors[colour]!.reduce((sum, factor, channel) => sum + factor * mean[channel]! * scale, level),
    ),
  };
}

/** Such a latent as SDXL base has it. A new array. */
export function sdxlLatent(latent: Float32Array, vae: VaeConfig): Float32Array {
  const plain = unscaledLatent(latent, vae);
  for (let at = 0; at < plain.length; at++) plain[at]! *= SDXL_BASE_VAE.scalingFactor;
  return plain;
}
