/** @file A small picture of a latent, one pixel a cell, by a linear map from its channels to colours: nothing beside a step's work. */
import type { RgbImage } from "./png.ts";

/** Colours of a latent's channels, in 0..255. */
export interface LatentColours {
  /** [3][C] of red, green and blue. */
  readonly factors: readonly (readonly number[])[];
  /** [3] */
  readonly bias: readonly number[];
}

/**
 * @param latent [1, C, height, width] as samplers have it, scaled as the model is trained; without noise it shows the picture
 * @returns [height, width, 3], rounded down as torch's byte() does
 */
export function latentPreview(
  latent: Float32Array,
  { factors, bias }: LatentColours,
  { width, height }: { readonly width: number; readonly height: number },
): RgbImage {
  const plane = width * height;
  const rgb = new Uint8Array(3 * plane);
  for (const [colour, weights] of factors.entries()) {
    for (let at = 0; at < plane; at++) {
      let sum = bias[colour]!;
      for (let channel = 0; channel < weights.length; channel++)
        sum += weights[channel]! * latent[channel * plane + at]!;
      rgb[3 * at + colour] = Math.min(255, Math.max(0, sum));
    }
  }
  return { width, height, rgb };
}
