/** @file The samplers there are: one row each. */
import { euler } from "./euler.ts";
import type { Sampler } from "./sampler.ts";

export interface SamplerEntry {
  readonly sampler: Sampler;
  /** As A1111's web UI names it, in infotexts and for people. */
  readonly title: string;
  /** Classes of diffusers whose `scheduler_config.json` asks for it. */
  readonly diffusers: readonly string[];
}

export const SAMPLERS = {
  euler: { sampler: euler, title: "Euler", diffusers: ["EulerDiscreteScheduler"] },
} satisfies Readonly<Record<string, SamplerEntry>>;

export type SamplerName = keyof typeof SAMPLERS;

/** Where nothing asks for another. */
export const DEFAULT_SAMPLER: SamplerName = "euler";

/** The sampler that a scheduler class of diffusers is. */
export function samplerOf(diffusersClass: string): SamplerName | undefined {
  const entries = Object.entries(SAMPLERS) as [SamplerName, SamplerEntry][];
  return entries.find(([, { diffusers }]) => diffusers.includes(diffusersClass))?.[0];
}
