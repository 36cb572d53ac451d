/** @file The noise of a job: which generator of torch's draws it, and how far its first latent goes over to a variation's. */
import { type NameTable, nearestName, plainName } from "./name-table.ts";
import { torchNoise } from "./noise.ts";
import { philoxNoise } from "./philox.ts";
import type { NoiseSource } from "./sampler.ts";

interface RngEntry {
  readonly make: (seed: number | string, leading: readonly number[]) => NoiseSource;
  /** What others call it: our records, A1111's infotexts. */
  readonly aliases: readonly string[];
}

/** torch's generators, by what they run on. */
const RNGS = {
  cpu: { make: torchNoise, aliases: ["torch-cpu", "mt19937"] },
  philox: { make: philoxNoise, aliases: ["torch-cuda", "cuda", "GPU", "NV"] },
} as const satisfies Readonly<Record<string, RngEntry>>;

export type RngName = keyof typeof RNGS;

const RNG_NAMES = Object.keys(RNGS) as RngName[];

export const RNG_TABLE: NameTable = {
  names: RNG_NAMES,
  meaning(text) {
    const written = plainName(text);
    return RNG_NAMES.find((name) => [name, ...RNGS[name].aliases].some((known) => plainName(known) === written));
  },
  nearest: (text) => nearestName(RNG_NAMES, text),
};

/** What a job says of its noise. */
export interface NoiseRequest {
  readonly seed: number | string;
  /** Default: the CPU's. */
  readonly rng?: RngName | undefined;
  readonly subseed?: number | string | undefined;
  /** 0..1. Default: 0, no variation. */
  readonly subseedStrength?: number | undefined;
}

/** Which draw is the first latent's noise, and its shape, [1, C, H, W]. */
export interface FirstNoise {
  readonly place: number;
  readonly shape: readonly number[];
}

/** `leading`: how many values the first draws have, see torchNoise; `first`: what a variation changes. */
export function noiseOf(
  { seed, rng = "cpu", subseed, subseedStrength = 0 }: NoiseRequest,
  leading: readonly number[],
  { place: firstPlace, shape }: FirstNoise,
): NoiseSource {
  const { make } = RNGS[rng];
  const own = make(seed, leading);
  if (subseedStrength === 0 || subseed === undefined) return own;
  return {
    normal(place, count) {
      const noise = own.normal(place, count);
      return place === firstPlace ? varied(noise, make(subseed, []).normal(0, count), subseedStrength, shape) : noise;
    },
  };
}

/**
 * Two latents of noise, interpolated on the sphere as A1111's web UI does (modules/rng.py): each column of a channel by itself, by the
 * angle between the two. Where all are nearly one, the mix is linear, its weights exchanged, as there.
 */
function varied(
  low: Float32Array,
  high: Float32Array,
  share: number,
  shape: readonly number[],
): Float32Array<ArrayBuffer> {
  const [height, width] = shape.slice(-2) as [number, number];
  const columns = Array.from({ length: low.length / height }, (_, column) => {
    const start = Math.floor(column / width) * height * width + (column % width);
    return Array.from({ length: height }, (_, row) => start + row * width);
  });
  const cosines = columns.map((column) => {
    let [dot, lowSquares, highSquares] = [0, 0, 0];
    for (const at of column) {
      dot += low[at]! * high[at]!;
      lowSquares += low[at]! ** 2;
      highSquares += high[at]! ** 2;
    }
    return dot / Math.sqrt(lowSquares * highSquares);
  });
  const mean = cosines.reduce((sum, cosine) => sum + cosine, 0) / cosines.length;
  const mixed = new Float32Array(low.length);
  for (const [i, column] of columns.entries()) {
    const angle = Math.acos(cosines[i]!);
    const [a, b] =
      mean > 0.9995
        ? [share, 1 - share]
        : [Math.sin((1 - share) * angle) / Math.sin(angle), Math.sin(share * angle) / Math.sin(angle)];
    for (const at of column) mixed[at] = a * low[at]! + b * high[at]!;
  }
  return mixed;
}
