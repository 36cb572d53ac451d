/** @file What a scheduler_config.json says of how a sampler goes from level to level, with diffusers' names; undefined where it is silent. */

export interface SolverSettings {
  /** DDIM, PNDM: the last step goes to no noise at all, and not to the first training step's. */
  readonly setAlphaToOne?: boolean;
  /** The clean latent is cut to plus and minus this. */
  readonly clipRange?: number;
}
