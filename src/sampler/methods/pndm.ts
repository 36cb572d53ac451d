/**
 * @file Pseudo linear multistep, PLMS (arXiv 2202.09778; diffusers' PNDMScheduler with skip_prk_steps). The first step asks twice and
 * takes the mean. The history holds the model's noise, or its velocity where it predicts that. A run that begins at a later step
 * begins with order 1.
 */
import type { Sampler } from "../sampler.ts";
import type { NoiseSchedule } from "../schedule.ts";
import { landed, type Term, weighted } from "./weighted.ts";

/** Weights of the newest predictions, newest first (Adams-Bashforth). */
const WEIGHTS: readonly (readonly number[])[] = [
  [1],
  [3 / 2, -1 / 2],
  [23 / 12, -16 / 12, 5 / 12],
  [55 / 24, -59 / 24, 37 / 24, -9 / 24],
];

export const pndm: Sampler = {
  historyLength: WEIGHTS.length - 1,
  heldLength: 2,
  levels: ({ sigmas, timesteps }, step) =>
    step === 0 && timesteps.length > 1 ? [sigmas[0]!, sigmas[1]!] : [sigmas[step]!],
  draws: () => 0,
  async step({ step, x, history }, schedule, denoise) {
    const { sigmas, timesteps } = schedule;
    const sigma = sigmas[step]!;
    const own = predictionFrom(await denoise(x, sigma), x, sigma, schedule);
    const predictions = [...history, own];
    const keep = predictions.slice(-(WEIGHTS.length - 1));
    if (step === 0 && timesteps.length > 1) {
      const next = sigmas[1]!;
      const reached = landed(moved(x, own, sigma, schedule.landings[0]!, schedule), schedule, 0);
      const other = predictionFrom(await denoise(reached, next), reached, next, schedule);
      return { step: 1, x: moved(x, weighted([0.5, own], [0.5, other]), sigma, next, schedule), history: keep };
    }
    const weights = WEIGHTS[predictions.length - 1]!;
    const mean = weighted(...predictions.toReversed().map((prediction, i): Term => [weights[i]!, prediction]));
    const next = moved(x, mean, sigma, schedule.landings[step]!, schedule);
    return { step: step + 1, x: landed(next, schedule, step), history: keep };
  },
};

/** What the model predicted: noise, or velocity where that is what it predicts. */
function predictionFrom(
  denoised: Float32Array,
  x: Float32Array,
  sigma: number,
  { predictionType }: NoiseSchedule,
): Float32Array {
  if (predictionType !== "v_prediction") return weighted([1 / sigma, x], [-1 / sigma, denoised]);
  const root = Math.sqrt(1 + sigma ** 2);
  return weighted([1 / (root * sigma), x], [-root / sigma, denoised]);
}

/** `x` moved from one level to another along a prediction. */
function moved(
  x: Float32Array,
  prediction: Float32Array,
  from: number,
  to: number,
  { predictionType }: NoiseSchedule,
): Float32Array {
  if (predictionType !== "v_prediction") return weighted([1, x], [to - from, prediction]);
  const root = Math.sqrt(1 + from ** 2);
  return weighted([1 + ((to - from) * from) / root ** 2, x], [(to - from) / root, prediction]);
}
