/** @file What samplers share: weighted sums of latents, ancestral steps, and where a variance-preserving step comes down. */
import type { NoiseSchedule } from "../schedule.ts";

export type Term = readonly [weight: number, latent: Float32Array];

/** The sum of the latents times their weights, elementwise, rounded once to fp32. A new array; terms of weight 0 are left out. */
export function weighted(...terms: readonly Term[]): Float32Array {
  const used = terms.filter(([weight]) => weight !== 0);
  const sum = new Float32Array(terms[0]![1].length);
  for (let at = 0; at < sum.length; at++) {
    let value = 0;
    for (const [weight, latent] of used) value += weight * latent[at]!;
    sum[at] = value;
  }
  return sum;
}

/** Where an ancestral step from one level to another goes (`down`), and how much noise then takes it to that level (`up`). */
export function ancestralStep(from: number, to: number): { readonly down: number; readonly up: number } {
  const up = Math.min(to, Math.sqrt((to ** 2 * (from ** 2 - to ** 2)) / from ** 2));
  return { down: Math.sqrt(to ** 2 - up ** 2), up };
}

/** The level half way between two in logarithms, as fp32. */
export function middleLevel(from: number, to: number): number {
  return Math.fround(Math.sqrt(from * to));
}

/**
 * A latent that step `step` has computed to its landing, as one of the next level. A variance-preserving scheduler goes on with the
 * same latent at the next timestep, so its scale changes where the two differ (and at the end, where none is taken off).
 */
export function landed(x: Float32Array, { sigmas, landings }: NoiseSchedule, step: number): Float32Array {
  const landing = landings[step]!;
  const next = sigmas[step + 1]!;
  return landing === next ? x : weighted([Math.sqrt((1 + next ** 2) / (1 + landing ** 2)), x]);
}
