/** @file What a scheduler_config.json says of how a sampler goes from level to level, with diffusers' names; undefined where it is silent. */

export interface SolverSettings {
  /** DDIM, PNDM: the last step goes to no noise at all, and not to the first training step's. */
  readonly setAlphaToOne?: boolean;
  /** The clean latent is cut to plus and minus this. */
  readonly clipRange?: number;
  /** DDPM: the noise of a step has the larger of its two variances. */
  readonly largeVariance?: boolean;
  /** DPM-Solver++ in single steps: as an SDE. */
  readonly stochastic?: boolean;
  /** DPM-Solver++, UniPC, DEIS: 1..3. */
  readonly solverOrder?: 1 | 2 | 3;
  readonly solverType?: "midpoint" | "heun" | "bh1" | "bh2";
  readonly lowerOrderFinal?: boolean;
  readonly eulerAtFinal?: boolean;
  /** UniPC: steps after which nothing is corrected. */
  readonly disableCorrector?: readonly number[];
  /** LCM, TCD: steps of the schedule that the model was distilled at. */
  readonly originalInferenceSteps?: number;
  readonly timestepScaling?: number;
}
