/**
 * @file UniPC (arXiv 2302.04867; diffusers' UniPCMultistepScheduler with predict_x0): each step first corrects the latent that the step
 * before predicted. The history holds clean latents and, last, the corrected latent of the step before.
 */
import type { Sampler } from "../sampler.ts";
import type { NoiseSchedule } from "../schedule.ts";
import type { SolverSettings } from "../solver.ts";
import { landed, type Term, weighted } from "./weighted.ts";

export function unipc(settings: SolverSettings): Sampler {
  const { solverOrder = 2, disableCorrector = [] } = settings;
  return {
    historyLength: solverOrder + 1,
    heldLength: 0,
    levels: ({ sigmas }, step) => [sigmas[step]!],
    draws: () => 0,
    async step({ step, x, history }, schedule, denoise) {
      const before = history.slice(0, -1);
      const last = history.at(-1);
      const clean = await denoise(x, schedule.sigmas[step]!);
      const corrects = last !== undefined && !disableCorrector.includes(step - 1);
      const corrected = corrects ? correctedBy(clean, { settings, schedule, step, before, last }) : x;
      const outputs = [...before, clean].slice(-solverOrder);
      const order = orderOf(settings, schedule, step, before.length);
      const next = landed(predicted(corrected, { settings, schedule, step, outputs, order }), schedule, step);
      return { step: step + 1, x: next, history: [...outputs, corrected] };
    },
  };
}

/** `known`: how many clean latents there are from before. */
function orderOf(settings: SolverSettings, { landings }: NoiseSchedule, step: number, known: number): number {
  const { solverOrder = 2, lowerOrderFinal = true } = settings;
  const most = lowerOrderFinal ? Math.min(solverOrder, landings.length - step) : solverOrder;
  return Math.min(most, known + 1);
}

interface Prediction {
  readonly settings: SolverSettings;
  readonly schedule: NoiseSchedule;
  readonly step: number;
  readonly outputs: readonly Float32Array[];
  readonly order: number;
}

/** The latent at the step's landing. */
function predicted(x: Float32Array, { settings, schedule, step, outputs, order }: Prediction): Float32Array {
  const { sigmas, landings } = schedule;
  const { base, step: bh, ratios, matrix, right } = systemOf(settings, sigmas, step, landings[step]!, order);
  const [m0, ...older] = outputs.toReversed() as [Float32Array, ...Float32Array[]];
  const size = order - 1;
  const rhos =
    order === 2
      ? [0.5]
      : solved(
          matrix.slice(0, size).map((row) => row.slice(0, size)),
          right.slice(0, size),
        );
  return weighted(
    ...baseTerms(x, m0, landings[step]! / sigmas[step]!, base),
    ...differences(rhos, ratios, m0, older, -bh),
  );
}

interface Correction {
  readonly settings: SolverSettings;
  readonly schedule: NoiseSchedule;
  readonly step: number;
  readonly before: readonly Float32Array[];
  /** The corrected latent of the step before. */
  readonly last: Float32Array;
}

/** The latent at the step's own level again, now that the model's answer there is known. */
function correctedBy(clean: Float32Array, { settings, schedule, step, before, last }: Correction): Float32Array {
  const { sigmas } = schedule;
  const order = orderOf(settings, schedule, step - 1, before.length - 1);
  const { base, step: bh, ratios, matrix, right } = systemOf(settings, sigmas, step - 1, sigmas[step]!, order);
  const [m0, ...older] = before.toReversed() as [Float32Array, ...Float32Array[]];
  const rhos = order === 1 ? [0.5] : solved(matrix, right);
  const own = -bh * rhos.at(-1)!;
  return weighted(
    ...baseTerms(last, m0, sigmas[step]! / sigmas[step - 1]!, base),
    ...differences(rhos.slice(0, -1), ratios, m0, older, -bh),
    [own, clean],
    [-own, m0],
  );
}

/** The step of first order. */
function baseTerms(x: Float32Array, m0: Float32Array, ratio: number, base: number): readonly Term[] {
  return [
    [ratio, x],
    [-base, m0],
  ];
}

/** scale * sum of rho_i (m_i - m0) / r_i. */
function differences(
  rhos: readonly number[],
  ratios: readonly number[],
  m0: Float32Array,
  older: readonly Float32Array[],
  scale: number,
): readonly Term[] {
  return rhos.flatMap((rho, i): Term[] => {
    const weight = (scale * rho) / ratios[i]!;
    return [
      [weight, older[i]!],
      [-weight, m0],
    ];
  });
}

/** The equations of UniPC's coefficients from level `step` to level `to`. */
function systemOf(settings: SolverSettings, sigmas: Float32Array, step: number, to: number, order: number) {
  const h = Math.log(sigmas[step]! / to);
  const base = Math.expm1(-h);
  const bh = settings.solverType === "bh1" ? -h : base;
  const ratios = Array.from({ length: order - 1 }, (_, i) => Math.log(sigmas[step]! / sigmas[step - 1 - i]!) / h);
  const points = [...ratios, 1];
  const matrix = points.map((_, power) => points.map((point) => point ** power));
  let phi = base / -h - 1;
  let factorial = 1;
  const right = points.map((_, i) => {
    const value = (phi * factorial) / bh;
    factorial *= i + 2;
    phi = phi / -h - 1 / factorial;
    return value;
  });
  return { base, step: bh, ratios, matrix, right };
}

/** Gaussian elimination; the matrices are small and regular, as levels differ. */
function solved(matrix: readonly (readonly number[])[], right: readonly number[]): readonly number[] {
  const rows = matrix.map((row, i) => [...row, right[i]!]);
  const size = rows.length;
  for (let at = 0; at < size; at++) {
    const pivot = rows.slice(at).reduce((best, row) => (Math.abs(row[at]!) > Math.abs(best[at]!) ? row : best));
    rows[rows.indexOf(pivot)] = rows[at]!;
    rows[at] = pivot;
    for (let other = 0; other < size; other++) {
      if (other === at) continue;
      const factor = rows[other]![at]! / pivot[at]!;
      rows[other] = rows[other]!.map((value, column) => value - factor * pivot[column]!);
    }
  }
  return rows.map((row, at) => row[size]! / row[at]!);
}
