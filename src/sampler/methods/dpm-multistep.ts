/**
 * @file DPM-Solver++ in several steps (arXiv 2211.01095), as an ODE and as an SDE: diffusers' DPMSolverMultistepScheduler with
 * "dpmsolver++" and "sde-dpmsolver++". The history holds clean latents. The SDE draws plain normals, one a step, as diffusers does;
 * k-diffusion's Brownian tree has no order of its draws.
 */
import type { Sampler } from "../sampler.ts";
import type { NoiseSchedule } from "../schedule.ts";
import type { SolverSettings } from "../solver.ts";
import { landed, type Term, weighted } from "./weighted.ts";

/** Below so many steps the last ones are of lower order. */
const FEW_STEPS = 15;

export function dpmMultistep(isSde: boolean, settings: SolverSettings): Sampler {
  const { solverOrder = 2, solverType = "midpoint" } = settings;
  return {
    historyLength: solverOrder - 1,
    heldLength: 0,
    levels: ({ sigmas }, step) => [sigmas[step]!],
    draws: () => (isSde ? 1 : 0),
    async step({ step, x, history }, schedule, denoise, noise) {
      const { sigmas, landings } = schedule;
      const sigma = sigmas[step]!;
      const next = landings[step]!;
      const clean = [...history, await denoise(x, sigma)];
      const order = Math.min(multistepOrder(settings, schedule, step), clean.length);
      const h = Math.log(sigma / next);
      const decay = isSde ? Math.exp(-2 * h) : Math.exp(-h);
      const terms: Term[] = [
        [isSde ? (next / sigma) * Math.exp(-h) : next / sigma, x],
        [1 - decay, clean.at(-1)!],
        ...corrections(clean, { sigmas, step, h, order, isSde, isMidpoint: solverType === "midpoint" }),
      ];
      const spread = isSde ? next * Math.sqrt(1 - decay) : 0;
      if (spread > 0) terms.push([spread, noise(0)]);
      return {
        step: step + 1,
        x: landed(weighted(...terms), schedule, step),
        history: solverOrder === 1 ? [] : clean.slice(1 - solverOrder),
      };
    },
  };
}

/** The order that a step may have; the last ones fall back to lower ones. */
export function multistepOrder(settings: SolverSettings, { landings }: NoiseSchedule, step: number): number {
  const { solverOrder = 2, lowerOrderFinal = true, eulerAtFinal = false } = settings;
  const count = landings.length;
  const lower = lowerOrderFinal && count < FEW_STEPS;
  if (step === count - 1 && (eulerAtFinal || lower || landings[step] === 0)) return 1;
  return step === count - 2 && lower ? Math.min(solverOrder, 2) : solverOrder;
}

interface Place {
  readonly sigmas: Float32Array;
  readonly step: number;
  readonly h: number;
  readonly order: number;
  readonly isSde: boolean;
  readonly isMidpoint: boolean;
}

/** The terms of second and third order, from the differences of the last clean latents. */
function corrections(
  clean: readonly Float32Array[],
  { sigmas, step, h, order, isSde, isMidpoint }: Place,
): readonly Term[] {
  if (order === 1) return [];
  const [m0, m1, m2] = clean.toReversed() as [Float32Array, Float32Array, Float32Array];
  const r0 = Math.log(sigmas[step - 1]! / sigmas[step]!) / h;
  const e = isSde ? 2 * h : h;
  const decay = Math.exp(-e);
  const first = (decay - 1) / e + 1;
  if (order === 2) {
    const weight = (isMidpoint ? (1 - decay) / 2 : first) / r0;
    return [
      [weight, m0],
      [-weight, m1],
    ];
  }
  const r1 = Math.log(sigmas[step - 2]! / sigmas[step - 1]!) / h;
  // diffusers' SDE adds the half that its ODE (and k-diffusion's SDE) takes away.
  const second = (decay - 1 + e) / e ** 2 + (isSde ? 0.5 : -0.5);
  // D1 = d10 + r0 / (r0 + r1) (d10 - d11) and D2 = (d10 - d11) / (r0 + r1), of d10 = (m0 - m1) / r0 and d11 = (m1 - m2) / r1.
  const mixed = (first * r0 - second) / (r0 + r1);
  const [a, b] = [(first + mixed) / r0, mixed / r1];
  return [
    [a, m0],
    [-a - b, m1],
    [b, m2],
  ];
}
