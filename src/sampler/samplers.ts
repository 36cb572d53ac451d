/** @file The samplers there are: one row each. */
import { ddim } from "./methods/ddim.ts";
import { ddpm } from "./methods/ddpm.ts";
import { deis } from "./methods/deis.ts";
import { dpmMultistep } from "./methods/dpm-multistep.ts";
import { dpmSinglestep } from "./methods/dpm-singlestep.ts";
import { dpm2, dpm2Ancestral } from "./methods/dpm2.ts";
import { dpmpp2sAncestral } from "./methods/dpmpp-2s-ancestral.ts";
import { dpmpp3mSde } from "./methods/dpmpp-3m-sde.ts";
import { dpmppSde } from "./methods/dpmpp-sde.ts";
import { euler } from "./methods/euler.ts";
import { eulerAncestral } from "./methods/euler-ancestral.ts";
import { heun } from "./methods/heun.ts";
import { lcm } from "./methods/lcm.ts";
import { lms } from "./methods/lms.ts";
import { pndm } from "./methods/pndm.ts";
import { tcd } from "./methods/tcd.ts";
import { unipc } from "./methods/unipc.ts";
import type { Sampler } from "./sampler.ts";
import type { SolverSettings } from "./solver.ts";
import type { Placement } from "./spacing.ts";

export interface SamplerEntry {
  /** With what a model's scheduler_config.json says of it. */
  readonly make: (settings: SolverSettings) => Sampler;
  readonly placement: Placement;
  /** See ScheduleRequest. Default: true. */
  readonly endsAtZero?: boolean;
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
    diffusers: ["EulerDiscreteScheduler", "EDMEulerScheduler"],
    aliases: [],
  },
  "euler-a": {
    make: () => eulerAncestral,
    placement: "k",
    title: "Euler a",
    diffusers: ["EulerAncestralDiscreteScheduler"],
    aliases: ["euler_ancestral"],
  },
  heun: {
    make: heun,
    placement: "k",
    title: "Heun",
    diffusers: ["HeunDiscreteScheduler"],
    aliases: [],
  },
  dpm2: {
    make: () => dpm2,
    placement: "kdpm2",
    title: "DPM2",
    diffusers: ["KDPM2DiscreteScheduler"],
    aliases: ["dpm_2"],
  },
  "dpm2-a": {
    make: () => dpm2Ancestral,
    placement: "kdpm2",
    title: "DPM2 a",
    diffusers: ["KDPM2AncestralDiscreteScheduler"],
    aliases: ["dpm_2_ancestral"],
  },
  "dpmpp-2m": {
    make: (settings) => dpmMultistep(false, settings),
    placement: "dpm",
    title: "DPM++ 2M",
    diffusers: ["DPMSolverMultistepScheduler", "EDMDPMSolverMultistepScheduler"],
    aliases: [],
  },
  "dpmpp-2m-sde": {
    make: (settings) => dpmMultistep(true, settings),
    placement: "dpm",
    title: "DPM++ 2M SDE",
    diffusers: [],
    aliases: ["dpmpp_2m_sde_gpu"],
  },
  "dpmpp-sde": {
    make: () => dpmppSde,
    placement: "k",
    title: "DPM++ SDE",
    diffusers: ["DPMSolverSDEScheduler"],
    aliases: ["dpmpp_sde_gpu"],
  },
  "dpmpp-2s-a": {
    make: () => dpmpp2sAncestral,
    placement: "k",
    title: "DPM++ 2S a",
    diffusers: [],
    aliases: ["dpmpp_2s_ancestral"],
  },
  "dpmpp-3m-sde": {
    make: () => dpmpp3mSde,
    placement: "k",
    title: "DPM++ 3M SDE",
    diffusers: [],
    aliases: ["dpmpp_3m_sde_gpu"],
  },
  "dpmpp-singlestep": {
    make: dpmSinglestep,
    placement: "dpm",
    title: "DPM++ 2S",
    diffusers: ["DPMSolverSinglestepScheduler"],
    aliases: ["dpmpp_1s", "dpmpp_3s"],
  },
  lms: {
    make: () => lms,
    placement: "k",
    title: "LMS",
    diffusers: ["LMSDiscreteScheduler"],
    aliases: [],
  },
  ddim: {
    make: ddim,
    placement: "ddim",
    title: "DDIM",
    diffusers: ["DDIMScheduler"],
    aliases: [],
  },
  ddpm: {
    make: ddpm,
    placement: "ddim",
    title: "DDPM",
    diffusers: ["DDPMScheduler"],
    aliases: [],
  },
  pndm: {
    make: () => pndm,
    placement: "ddim",
    endsAtZero: false,
    title: "PLMS",
    diffusers: ["PNDMScheduler"],
    aliases: ["plms"],
  },
  deis: {
    make: deis,
    placement: "dpm",
    endsAtZero: false,
    title: "DEIS",
    diffusers: ["DEISMultistepScheduler"],
    aliases: ["deis_multistep"],
  },
  unipc: {
    make: unipc,
    placement: "dpm",
    title: "UniPC",
    diffusers: ["UniPCMultistepScheduler"],
    aliases: ["uni_pc", "uni_pc_bh2"],
  },
  lcm: {
    make: lcm,
    placement: "lcm",
    title: "LCM",
    diffusers: ["LCMScheduler"],
    aliases: [],
  },
  tcd: {
    make: () => tcd,
    placement: "lcm",
    title: "TCD",
    diffusers: ["TCDScheduler"],
    aliases: [],
  },
} as const satisfies Readonly<Record<string, SamplerEntry>>;

export type SamplerName = keyof typeof SAMPLERS;

/** The sampler that a scheduler class of diffusers is. */
export function samplerOf(diffusersClass: string): SamplerName | undefined {
  const entries = Object.entries(SAMPLERS) as [SamplerName, SamplerEntry][];
  return entries.find(([, { diffusers }]) => diffusers.includes(diffusersClass))?.[0];
}
