/**
 * @file DPM-Solver++(3M) as an SDE (k-diffusion sample_dpmpp_3m_sde, eta 1); diffusers has none. The history holds clean latents. One
 * plain normal is drawn a step: k-diffusion's Brownian tree has no order of its draws.
 */
import type { Sampler } from "../sampler.ts";
import { type Term, weighted } from "./weighted.ts";

const ETA = 1;

export const dpmpp3mSde: Sampler = {
  historyLength: 2,
  heldLength: 0,
  levels: ({ sigmas }, step) => [sigmas[step]!],
  draws: ({ sigmas }, step) => (sigmas[step + 1] === 0 ? 0 : 1),
  async step({ step, x, history }, { sigmas }, denoise, noise) {
    const [sigma, next] = [sigmas[step]!, sigmas[step + 1]!];
    const denoised = await denoise(x, sigma);
    const clean = [...history, denoised].slice(-2);
    if (next === 0) return { step: step + 1, x: denoised, history: clean };
    const h = Math.log(sigma / next);
    const e = h * (ETA + 1);
    const terms: Term[] = [
      [Math.exp(-e), x],
      [-Math.expm1(-e), denoised],
      [next * Math.sqrt(-Math.expm1(-2 * h * ETA)), noise(0)],
    ];
    const phi2 = Math.expm1(-e) / e + 1;
    const [before, earlier] = history.toReversed();
    if (before) {
      const r0 = Math.log(sigmas[step - 1]! / sigma) / h;
      if (earlier) {
        const r1 = Math.log(sigmas[step - 2]! / sigmas[step - 1]!) / h;
        const phi3 = phi2 / e - 0.5;
        // phi2 d1 - phi3 d2 of d1 = d10 + r0 / (r0 + r1) (d10 - d11) and d2 = (d10 - d11) / (r0 + r1).
        const mixed = (phi2 * r0 - phi3) / (r0 + r1);
        const [a, b] = [(phi2 + mixed) / r0, mixed / r1];
        terms.push([a, denoised], [-a - b, before], [b, earlier]);
      } else terms.push([phi2 / r0, denoised], [-phi2 / r0, before]);
    }
    return { step: step + 1, x: weighted(...terms), history: clean };
  },
};
