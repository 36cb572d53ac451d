/** @file The samplers there are: one row each. */
import { euler } from "./methods/euler.ts";
import type { Sampler } from "./sampler.ts";
import type { SolverSettings } from "./solver.ts";
import type { Placement } from "./spacing.ts";

export interface SamplerEntry {
  /** With what a model's scheduler_config.json says of it. */
  readonly make: (settings: SolverSettings) => Sampler;
  readonly placement: Placement;
  /** As A1111's web UI names it, in infotexts and for people. */
  readonly title: string;
  /** Classes of diffusers whose `scheduler_config.json` asks for it. */
  readonly diffusers: readonly string[];
  /** What else other programs call it: ComfyUI, k-diffusion. */
  readonly aliases: readonly string[];
}

export const SAMPLERS = {
  euler: {
    make: () => euler,
    placement: "k",
    title: "Euler",
    diffusers: ["EulerDiscreteScheduler"],
    aliases: [],
  },
} as const satisfies Readonly<Record<string, SamplerEntry>>;

export type SamplerName = keyof typeof SAMPLERS;

/** Where nothing asks for another. */
export const DEFAULT_SAMPLER: SamplerName = "euler";

/** The sampler that a scheduler class of diffusers is. */
export function samplerOf(diffusersClass: string): SamplerName | undefined {
  const entries = Object.entries(SAMPLERS) as [SamplerName, SamplerEntry][];
  return entries.find(([, { diffusers }]) => diffusers.includes(diffusersClass))?.[0];
}
