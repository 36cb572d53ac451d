/** @file What a token's weight does to its embedding: the web UI's "Original" emphasis. S tokens, C channels. */

/** Multiplies `states` [S, C] by each token's weight, in place, and scales all of it back to the mean it had. fp32, as there. */
export function emphasise(states: Float32Array, weights: readonly number[]): void {
  const channels = states.length / weights.length;
  const before = mean(states);
  for (let i = 0; i < states.length; i++) states[i]! *= weights[Math.floor(i / channels)]!;
  const factor = Math.fround(before / mean(states));
  for (let i = 0; i < states.length; i++) states[i]! *= factor;
}

function mean(values: Float32Array): number {
  let sum = 0;
  for (const value of values) sum += value;
  return Math.fround(sum / values.length);
}
