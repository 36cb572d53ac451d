/**
 * @file DEIS in several steps (arXiv 2204.13902, log-rho; diffusers' DEISMultistepScheduler): the noise that the model saw at the last levels,
 * as a polynomial of the level's logarithm, is integrated over the level. The history holds derivatives, which are that noise.
 */
import type { Sampler } from "../sampler.ts";
import type { SolverSettings } from "../solver.ts";
import { multistepOrder } from "./dpm-multistep.ts";
import { landed, weighted } from "./weighted.ts";

export function deis(settings: SolverSettings): Sampler {
  const { solverOrder = 2 } = settings;
  return {
    historyLength: solverOrder - 1,
    heldLength: 0,
    levels: ({ sigmas }, step) => [sigmas[step]!],
    draws: () => 0,
    async step({ step, x, history }, schedule, denoise) {
      const { sigmas, landings } = schedule;
      const sigma = sigmas[step]!;
      const denoised = await denoise(x, sigma);
      const derivatives = [...history, weighted([1 / sigma, x], [-1 / sigma, denoised])];
      const order = Math.min(multistepOrder(settings, schedule, step), derivatives.length);
      const newestFirst = derivatives.toReversed().slice(0, order);
      const levels = newestFirst.map((_, back) => sigmas[step - back]!);
      const weights = weightsOf(levels, landings[step]!);
      const next = weighted([1, x], ...newestFirst.map((derivative, i) => [weights[i]!, derivative] as const));
      return {
        step: step + 1,
        x: landed(next, schedule, step),
        history: solverOrder === 1 ? [] : derivatives.slice(1 - solverOrder),
      };
    },
  };
}

/** Integrals, from the first level to `next`, of the polynomials in log rho that are 1 at one of the levels and 0 at the others. */
function weightsOf(levels: readonly number[], next: number): readonly number[] {
  const [from] = levels as [number];
  // Of t = rho / from: products of logarithms near 0 lose nothing.
  const logs = levels.map((level) => Math.log(level / from));
  const end = next / from;
  const log = Math.log(end);
  // The integrals from 1 to `end` of 1, log t and (log t)^2.
  const powers = [end - 1, end * log - (end - 1), end * log ** 2 - 2 * (end * log - (end - 1))] as const;
  return logs.map((own, at) => {
    const others = logs.filter((_, i) => i !== at);
    const [a = 0, b = 0] = others;
    const scale = others.reduce((product, other) => product * (own - other), 1);
    const [one, first, second] = powers;
    const integral =
      others.length === 0 ? one : others.length === 1 ? first - a * one : second - (a + b) * first + a * b * one;
    return (from * integral) / scale;
  });
}
