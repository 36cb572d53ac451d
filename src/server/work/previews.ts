/** @file What running jobs look like at the moment, in memory alone: gone with the process, and with the job. */
import { encodePng, type RgbImage } from "../../image/png.ts";
import { resample } from "../../image/resample.ts";

export interface Preview extends RgbImage {
  readonly step: number;
  readonly steps: number;
}

export class Previews {
  readonly #previews = new Map<string, Preview>();

  set(job: string, preview: Preview): void {
    this.#previews.set(job, preview);
  }

  get(job: string): Preview | undefined {
    return this.#previews.get(job);
  }

  remove(job: string): void {
    this.#previews.delete(job);
  }
}

/** As a PNG of `scale` times its size, which is one pixel a cell of the latent. */
export async function previewPng({ width, height, rgb }: RgbImage, scale: number): Promise<Uint8Array> {
  const size = { width: width * scale, height: height * scale };
  const larger = resample({ width, height, channels: 3, bytes: Uint8Array.from(rgb) }, size, "bilinear");
  return await encodePng({ ...size, rgb: larger });
}
