/** @file The scheduler classes of diffusers 0.42 whose configurations are read: which of their fields they know, and what stands where a file is silent. */
import { SAMPLERS, type SamplerName, samplerOf } from "../sampler/samplers.ts";

export interface SchedulerClass {
  readonly sampler: SamplerName;
  /** Betas as the class trains with, where a file is silent. */
  readonly betaStart: number;
  readonly betaEnd: number;
  readonly betaSchedule: "linear" | "scaled_linear";
  readonly timestepSpacing: "linspace" | "leading";
  /** Fields that not every class knows, and that this one does; others are passed over, as diffusers does. */
  readonly knows: readonly string[];
  /** The clean latent is cut unless the file says not to. */
  readonly clipsSample: boolean;
  /** The last steps of few are of lower order unless the file says not to. */
  readonly lowersFinalOrder: boolean;
  /** It heeds timestep_spacing. */
  readonly spacesTimesteps: boolean;
  /** For models that were trained on noise levels: those fields say which (edmConfig). */
  readonly isEdm: boolean;
}

const K = ["use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"];
const ZERO_SNR = "rescale_betas_zero_snr";
const MULTISTEP = [...K, "use_flow_sigmas", "solver_order", "lower_order_final", "thresholding"];
const SOLVER = [...MULTISTEP, ZERO_SNR, "final_sigmas_type"];
const EULER = [...K, ZERO_SNR, "final_sigmas_type", "sigma_min", "sigma_max", "interpolation_type", "timestep_type"];
const EDM = ["final_sigmas_type"];
const CONSISTENCY = [ZERO_SNR, "clip_sample", "thresholding", "original_inference_steps", "timestep_scaling"];

/** Name -> fields that it knows. */
const KNOWN: Readonly<Record<string, readonly string[]>> = {
  EulerDiscreteScheduler: EULER,
  EulerAncestralDiscreteScheduler: [ZERO_SNR],
  HeunDiscreteScheduler: [...K, "clip_sample"],
  KDPM2DiscreteScheduler: K,
  KDPM2AncestralDiscreteScheduler: K,
  LMSDiscreteScheduler: K,
  DPMSolverSDEScheduler: K,
  DPMSolverMultistepScheduler: [...SOLVER, "algorithm_type", "euler_at_final", "use_lu_lambdas", "lambda_min_clipped"],
  DDIMScheduler: [ZERO_SNR, "clip_sample", "thresholding"],
  PNDMScheduler: ["skip_prk_steps"],
  UniPCMultistepScheduler: [...SOLVER, "sigma_min", "sigma_max", "predict_x0", "solver_p", "disable_corrector"],
  LCMScheduler: CONSISTENCY,
  TCDScheduler: CONSISTENCY,
  DDPMScheduler: [ZERO_SNR, "clip_sample", "thresholding", "variance_type"],
  DPMSolverSinglestepScheduler: [...MULTISTEP, "final_sigmas_type", "algorithm_type", "lambda_min_clipped"],
  DEISMultistepScheduler: MULTISTEP,
  EDMEulerScheduler: EDM,
  EDMDPMSolverMultistepScheduler: [
    ...EDM,
    "solver_order",
    "lower_order_final",
    "euler_at_final",
    "algorithm_type",
    "thresholding",
  ],
};
/** Classes that train with Stable Diffusion's betas where a file is silent. */
const OWN_BETAS = ["Heun", "KDPM2", "DPMSolverSDE", "LCM", "TCD"];
const LEADING = ["DDIM", "DDPM", "PNDM", "LCM", "TCD"];

/** Names of all classes that have a sampler here. */
export const ALLOWED_CLASSES: string = Object.values(SAMPLERS)
  .flatMap(({ diffusers }) => diffusers)
  .join(", ");

/** A class by its name; undefined for one that can't be read. */
export function schedulerClass(name: string): SchedulerClass | undefined {
  const knows = Object.hasOwn(KNOWN, name) ? KNOWN[name] : undefined;
  if (!knows) return undefined;
  const is = (starts: readonly string[]) => starts.some((start) => name.startsWith(start));
  return {
    sampler: samplerOf(name)!,
    ...(is(OWN_BETAS) ? { betaStart: 0.00085, betaEnd: 0.012 } : { betaStart: 0.0001, betaEnd: 0.02 }),
    betaSchedule: is(["LCM", "TCD"]) ? "scaled_linear" : "linear",
    timestepSpacing: is(LEADING) ? "leading" : "linspace",
    knows,
    clipsSample: ["DDIMScheduler", "DDPMScheduler"].includes(name),
    lowersFinalOrder: name !== "DPMSolverSinglestepScheduler",
    spacesTimesteps: !name.startsWith("EDM") && name !== "DPMSolverSinglestepScheduler",
    isEdm: name.startsWith("EDM"),
  };
}
