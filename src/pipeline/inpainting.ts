/**
 * @file Painting part of a picture anew (diffusers StableDiffusionXLInpaintPipeline). A network for text alone: after each step, what the mask
 * spares becomes the picture's own latent again, at the next noise level. A network for inpainting reads mask and masked picture itself.
 */

import type { Sampler } from "../sampler/sampler.ts";
import type { NoiseSchedule } from "../sampler/schedule.ts";
import type { JobPictures } from "./job-pictures.ts";

const f32 = Math.fround;

/** A latent's [1, C, H, W]. */
type LatentShape = readonly number[];

/** The mask by latent cell, [H, W] in 0..1: that of the cell's first pixel (torch's interpolate to the nearest). */
export function latentMask({ width, height, mask }: JobPictures, shape: LatentShape): Float32Array<ArrayBuffer> {
  const [, , rows, columns] = shape as [number, number, number, number];
  const places = (cells: number, pixels: number) =>
    Array.from({ length: cells }, (_, at) => Math.min(Math.floor(f32(at * f32(pixels / cells))), pixels - 1));
  const across = places(columns, width);
  return Float32Array.from(places(rows, height).flatMap((y) => across.map((x) => mask![y * width + x]! / 255)));
}

/** The noisy latent: `latent` with unit noise times the level. */
export function noisyLatent(latent: Float32Array, noise: Float32Array, sigma: number): Float32Array<ArrayBuffer> {
  return Float32Array.from(latent, (value, i) => value + f32(noise[i]! * sigma));
}

export interface Spared {
  /** Of the picture, [1, C, H, W]. */
  readonly latent: Float32Array;
  /** Unit noise that lies over it, as much as each level says. */
  readonly noise: Float32Array;
  /** [H, W], 1 where the picture is painted anew. */
  readonly mask: Float32Array;
}

/** `sampler`, but each step ends with the picture's own latent where the mask spares it. `endStep`: with no noise over it there. */
export function sparing(sampler: Sampler, { latent, noise, mask }: Spared, endStep: number): Sampler {
  return {
    ...sampler,
    async step(state, schedule, denoise, draw) {
      const next = await sampler.step(state, schedule, denoise, draw);
      const sigma = next.step < endStep ? levelAt(schedule, next.step) : 0;
      const own = sigma === 0 ? latent : noisyLatent(latent, noise, sigma);
      return { ...next, x: blended(own, next.x, mask) };
    },
  };
}

function levelAt({ sigmas }: NoiseSchedule, step: number): number {
  return sigmas[step]!;
}

/** (1 - mask) * own + mask * drawn, channel by channel. */
function blended(own: Float32Array, drawn: Float32Array, mask: Float32Array): Float32Array<ArrayBuffer> {
  return Float32Array.from(own, (value, i) => {
    const share = mask[i % mask.length]!;
    return f32(f32(1 - share) * value) + f32(share * drawn[i]!);
  });
}

/** The picture with mid grey where it is to be painted anew: what a network for inpainting is shown. Masks count as black and white. */
export function maskedDecoded(decoded: Float32Array, { mask }: JobPictures): Float32Array<ArrayBuffer> {
  const plane = mask!.length;
  return Float32Array.from(decoded, (value, i) => (mask![i % plane]! < HALF ? value : 0));
}

/** The mask in black and white, as networks for inpainting know it. */
export function hardMask(pictures: JobPictures): JobPictures {
  return { ...pictures, mask: pictures.mask!.map((value) => (value < HALF ? 0 : 255)) };
}

/** Half of 255, rounded up: diffusers cuts at 0.5. */
const HALF = 128;

/** What the network reads beside the latent: the mask and the masked picture's latent, [1, 1 + C, H, W]. */
export function besideLatent(mask: Float32Array, masked: Float32Array): Float32Array<ArrayBuffer> {
  const beside = new Float32Array(mask.length + masked.length);
  beside.set(mask);
  beside.set(masked, mask.length);
  return beside;
}
