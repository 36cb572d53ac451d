/** @file What running jobs look like at the moment, and what those that were stopped looked like last: in memory alone, gone with the process. */
import { encodePng, type RgbImage } from "../../image/png.ts";
import { resample } from "../../image/resample.ts";

export interface Preview extends RgbImage {
  readonly step: number;
  readonly steps: number;
}

/** How far a job is, and what a step of it takes. */
export interface StepTimes {
  readonly step: number;
  readonly steps: number;
  readonly stepMs: number;
  /** To its last step. */
  readonly etaMs: number;
}

/** The previews of several processes. */
export interface PreviewSharing {
  put(job: string, preview: Preview): void;
  /** The job is over. */
  remove(job: string): void;
  /** What another process has told of it. */
  read(job: string): Promise<Preview | undefined>;
}

/** Of jobs that were stopped; the oldest go first. */
const MAX_STOPPED = 64;
const MAX_STOPPED_BYTES = 16 * 1024 ** 2;

export class Previews {
  readonly #previews = new Map<string, Preview>();
  readonly #times = new Map<string, StepTimes>();
  /** Of those whose jobs are over. */
  readonly #stopped = new Set<string>();
  readonly #shared: PreviewSharing | undefined;

  /** `shared`: where other processes have theirs; undefined: there are none. */
  constructor(shared?: PreviewSharing) {
    this.#shared = shared;
  }

  step(job: string, { step, steps, stepMs, etaMs }: StepTimes): void {
    this.#times.set(job, { step, steps, stepMs, etaMs });
  }

  times(job: string): StepTimes | undefined {
    return this.#times.get(job);
  }

  set(job: string, preview: Preview): void {
    this.#stopped.delete(job);
    this.#previews.set(job, preview);
    this.#shared?.put(job, preview);
  }

  /** This process's own, else what another one has told. */
  async find(job: string): Promise<Preview | undefined> {
    return this.#previews.get(job) ?? (await this.#shared?.read(job));
  }

  get(job: string): Preview | undefined {
    return this.#previews.get(job);
  }

  /** The job is over. `drawn`: there is a picture in its place; else what was seen last stays for a while. */
  end(job: string, drawn: boolean): void {
    this.#times.delete(job);
    this.#shared?.remove(job);
    if (drawn) this.#previews.delete(job);
    else if (this.#previews.has(job)) this.#stopped.add(job);
    let bytes = 0;
    for (const [at, stopped] of [...this.#stopped].reverse().entries()) {
      bytes += this.#previews.get(stopped)!.rgb.length;
      if (at < MAX_STOPPED && bytes <= MAX_STOPPED_BYTES) continue;
      this.#previews.delete(stopped);
      this.#stopped.delete(stopped);
    }
  }
}

/** A preview may be a pixel a cell of the latent, or as large as the picture: it is enlarged up to so many pixels a side, and no further. */
const MAX_SIDE = 1024;

/** As a PNG, `scale` times its size where it is small. */
export async function previewPng(
  { width, height, rgb }: RgbImage,
  scale: number,
): Promise<{ readonly png: Uint8Array<ArrayBuffer>; readonly width: number; readonly height: number }> {
  const times = Math.max(1, Math.min(scale, Math.floor(MAX_SIDE / Math.max(width, height))));
  const size = { width: width * times, height: height * times };
  const larger = resample({ width, height, channels: 3, bytes: Uint8Array.from(rgb) }, size, "bilinear");
  return { ...size, png: await encodePng({ ...size, rgb: larger }) };
}
