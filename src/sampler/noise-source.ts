/** @file The noise of a job: which generator of torch's draws it, and how far its first draw goes over to a variation's. */
import { type NameTable, nearestName, plainName } from "./name-table.ts";
import { torchNoise } from "./noise.ts";
import type { NoiseSource } from "./sampler.ts";

/** torch's generators by what they run on, and what others call them. */
const RNGS = {
  cpu: ["torch-cpu", "mt19937"],
} as const satisfies Readonly<Record<string, readonly string[]>>;

export type RngName = keyof typeof RNGS;

const RNG_NAMES = Object.keys(RNGS) as RngName[];

export const RNG_TABLE: NameTable = {
  names: RNG_NAMES,
  meaning: (text) =>
    RNG_NAMES.find((name) => [name, ...RNGS[name]].some((known) => plainName(known) === plainName(text))),
  nearest: (text) => nearestName(RNG_NAMES, text),
};

/** `leading`: see torchNoise. */
export function noiseOf({ seed }: { readonly seed: number | string }, leading: readonly number[] = []): NoiseSource {
  return torchNoise(seed, leading);
}
