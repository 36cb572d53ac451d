/**
 * @file DPM-Solver++ in single steps (arXiv 2211.01095), as an ODE and as an SDE: diffusers' DPMSolverSinglestepScheduler with "dpmsolver++"
 * and "sde-dpmsolver++". Steps go in groups of orders 1, 2, 3, each from where its group began. The history holds that latent, and after
 * it the clean latents seen since.
 */
import type { Sampler } from "../sampler.ts";
import type { NoiseSchedule } from "../schedule.ts";
import type { SolverSettings } from "../solver.ts";
import { landed, type Term, weighted } from "./weighted.ts";

export function dpmSinglestep(settings: SolverSettings): Sampler {
  const { solverOrder = 2, solverType = "midpoint", stochastic: isSde = false } = settings;
  return {
    historyLength: solverOrder === 1 ? 0 : solverOrder,
    heldLength: 0,
    levels: ({ sigmas }, step) => [sigmas[step]!],
    draws: () => (isSde ? 1 : 0),
    async step({ step, x, history }, schedule, denoise, noise) {
      const orders = ordersOf(settings, schedule);
      const denoised = await denoise(x, schedule.sigmas[step]!);
      // A run that begins within a group begins with order 1.
      const order = Math.min(orders[step]!, Math.max(history.length, 1));
      const start = order === 1 ? x : history[0]!;
      const clean = order === 1 ? [denoised] : [...history.slice(1), denoised];
      const from = schedule.sigmas[step + 1 - order]!;
      const next = schedule.landings[step]!;
      const h = Math.log(from / next);
      const decay = isSde ? Math.exp(-2 * h) : Math.exp(-h);
      const terms: Term[] = [
        [isSde ? (next / from) * Math.exp(-h) : next / from, start],
        [1 - decay, clean[0]!],
        ...corrections(clean, schedule.sigmas.subarray(step + 1 - order), { h, isSde, solverType }),
      ];
      const spread = isSde ? next * Math.sqrt(1 - decay) : 0;
      if (spread > 0) terms.push([spread, noise(0)]);
      const isLast = (orders[step + 1] ?? 1) === 1;
      return {
        step: step + 1,
        x: landed(weighted(...terms), schedule, step),
        history: isLast ? [] : [start, ...clean],
      };
    },
  };
}

/** The orders of all steps, as diffusers' get_order_list has them. */
function ordersOf(
  { solverOrder = 2, lowerOrderFinal = false }: SolverSettings,
  { landings }: NoiseSchedule,
): readonly number[] {
  const count = landings.length;
  const endsClean = landings[count - 1] === 0;
  const orders = Array.from({ length: count }, (_, step) => (step % solverOrder) + 1);
  // What a number of steps that no whole groups make leaves over stays as it is.
  const isWhole = count % solverOrder === 0;
  if (endsClean || (lowerOrderFinal && isWhole)) orders[count - 1] = 1;
  return orders;
}

interface Group {
  readonly h: number;
  readonly isSde: boolean;
  readonly solverType: SolverSettings["solverType"];
}

/** The terms of second and third order, from how the clean latents differ from the group's first. `sigmas`: from the group's first on. */
function corrections(clean: readonly Float32Array[], sigmas: Float32Array, { h, isSde, solverType }: Group): Term[] {
  const [first, second, third] = clean as [Float32Array, Float32Array?, Float32Array?];
  if (!second) return [];
  const e = isSde ? 2 * h : h;
  const decay = Math.exp(-e);
  const slope = (decay - 1) / e + 1;
  const r1 = Math.log(sigmas[0]! / sigmas[1]!) / h;
  const isHeun = solverType === "heun";
  if (!third) {
    const weight = (isHeun ? slope : (1 - decay) / 2) / r1;
    return [
      [weight, second],
      [-weight, first],
    ];
  }
  const r0 = Math.log(sigmas[0]! / sigmas[2]!) / h;
  // Weights of (second - first) / r1 and (third - first) / r0; the midpoint solver knows only the latter.
  let [a, b] = [0, slope];
  if (isHeun) {
    // As in several steps, diffusers' SDE takes away the half that its ODE adds.
    const bend = (decay - 1 + e) / e ** 2 + (isSde ? 0.5 : -0.5);
    [a, b] = [(slope * r0 + 2 * bend) / (r0 - r1), -(slope * r1 + 2 * bend) / (r0 - r1)];
  }
  const [ofSecond, ofThird] = [a / r1, b / r0];
  return [
    [ofSecond, second],
    [ofThird, third],
    [-ofSecond - ofThird, first],
  ];
}
