/** @file scheduler_config.json of a diffusers folder, checked: the fields from which noise levels follow. */
import { ArtifactError, UsageError } from "../errors.ts";
import { DEFAULT_SAMPLER, SAMPLERS, type SamplerName, samplerOf } from "../sampler/samplers.ts";
import { largestSigma, type SchedulerConfig } from "../sampler/training.ts";
import { JsonFields, parseJsonObject } from "../source/json-fields.ts";

/** Ten times any published schedule; each training step costs a few floats. */
const MAX_TRAIN_TIMESTEPS = 10_000;

/** Where a file is silent, the betas that a class trains with; the others' are Euler's. */
interface ClassDefaults {
  readonly betaStart: number;
  readonly betaEnd: number;
}

const EULER: ClassDefaults = { betaStart: 0.0001, betaEnd: 0.02 };
const K_DIFFUSION: ClassDefaults = { betaStart: 0.00085, betaEnd: 0.012 };

/**
 * Schedulers without a sampler of ours, whose configuration diffusers also accepts for Euler (`EulerDiscreteScheduler.from_config`):
 * same betas, same predictions. Of their fields in diffusers 0.42 that Euler hasn't, these change the levels and are looked at here:
 * use_flow_sigmas (with it flow_shift, use_dynamic_shifting, time_shift_type, shift_terminal), use_lu_lambdas, lambda_min_clipped.
 * The others change only how those solvers go from level to level, and are ignored with them: algorithm_type, solver_order,
 * solver_type, solver_p, lower_order_final, euler_at_final, predict_x0, disable_corrector, skip_prk_steps, set_alpha_to_one,
 * clip_sample, clip_sample_range, thresholding, dynamic_thresholding_ratio, sample_max_value, variance_type, noise_sampler_seed.
 */
const RELATED: ReadonlyMap<string, ClassDefaults> = new Map([
  ["DDIMScheduler", EULER],
  ["DDPMScheduler", EULER],
  ["PNDMScheduler", EULER],
  ["LMSDiscreteScheduler", EULER],
  ["HeunDiscreteScheduler", K_DIFFUSION],
  ["EulerAncestralDiscreteScheduler", EULER],
  ["DPMSolverMultistepScheduler", EULER],
  ["DPMSolverSinglestepScheduler", EULER],
  ["DPMSolverSDEScheduler", K_DIFFUSION],
  ["KDPM2DiscreteScheduler", K_DIFFUSION],
  ["KDPM2AncestralDiscreteScheduler", K_DIFFUSION],
  ["DEISMultistepScheduler", EULER],
  ["UniPCMultistepScheduler", EULER],
]);

/** The schedulers that know a field; others pass over it, as diffusers does. */
const FLOW = [
  "DPMSolverMultistepScheduler",
  "DPMSolverSinglestepScheduler",
  "DEISMultistepScheduler",
  "UniPCMultistepScheduler",
];
const LU = ["DPMSolverMultistepScheduler"];
const LAMBDA = ["DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler"];

const ALLOWED = Object.values(SAMPLERS)
  .flatMap(({ diffusers }) => diffusers)
  .join(", ");

/**
 * Reads scheduler_config.json.
 * @param json the file's text
 * @param name the file, for messages
 * @param pipelineClass the scheduler that model_index.json names, which diffusers would run whatever the file says
 * @returns the configuration, the sampler that it asks for, and a note for the user where another one stands in for it
 * @throws ArtifactError `E_SCHEDULER` where the file is malformed; UsageError `E_SCHEDULER` where it asks for what is
 * not supported
 */
export function parseSchedulerConfig(
  json: string,
  name = "scheduler_config.json",
  pipelineClass?: string,
): { config: SchedulerConfig; sampler: SamplerName; note: string | undefined } {
  const refuse = (problem: string) => malformed(name, problem, "correct the field, or use another model");
  const damaged = (problem: string, cause?: unknown) =>
    malformed(name, problem, "fetch the scheduler folder again from where the model comes from", cause);
  const fields = new JsonFields(parseJsonObject(json, damaged), (field, found, allowed) =>
    refuse(`${field} is not usable (found ${found}, allowed ${allowed})`),
  );
  const className = pipelineClass ?? fields.string("_class_name", "EulerDiscreteScheduler");
  const asked = samplerOf(className);
  if (asked === undefined && !RELATED.has(className)) {
    throw unsupported(name, `the scheduler ${className} is not supported (allowed ${ALLOWED})`);
  }
  if (fields.bool("use_beta_sigmas", false)) throw unsupported(name, "use_beta_sigmas is not supported");
  for (const [field, classes] of [
    ["use_flow_sigmas", FLOW],
    ["use_lu_lambdas", LU],
  ] as const) {
    if (classes.includes(className) && fields.bool(field, false)) throw unsupported(name, `${field} is not supported`);
  }
  const karras = fields.bool("use_karras_sigmas", false);
  const exponential = fields.bool("use_exponential_sigmas", false);
  if (karras && exponential) throw refuse("both use_karras_sigmas and use_exponential_sigmas are set");
  const trainedBetas = trainedBetasOf(fields, refuse);
  const { betaStart, betaEnd } = RELATED.get(className) ?? EULER;
  const config: SchedulerConfig = {
    numTrainTimesteps: trainedBetas?.length ?? fields.int("num_train_timesteps", 2, MAX_TRAIN_TIMESTEPS, 1000),
    betaStart: between(fields, "beta_start", betaStart, 0, 1),
    betaEnd: between(fields, "beta_end", betaEnd, 0, 1),
    betaSchedule: fields.choice("beta_schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"]),
    trainedBetas,
    predictionType: fields.choice("prediction_type", ["epsilon", "v_prediction", "sample"]),
    interpolationType: fields.choice("interpolation_type", ["linear", "log_linear"]),
    sigmaSpacing: karras ? "karras" : exponential ? "exponential" : "timesteps",
    sigmaMin: positive(fields, "sigma_min"),
    sigmaMax: positive(fields, "sigma_max"),
    timestepSpacing: fields.choice("timestep_spacing", ["linspace", "leading", "trailing"]),
    timestepType: fields.choice("timestep_type", ["discrete", "continuous"]),
    stepsOffset: fields.int("steps_offset", 0, MAX_TRAIN_TIMESTEPS, 0),
    rescaleBetasZeroSnr: fields.bool("rescale_betas_zero_snr", false),
    finalSigmasType: fields.choice("final_sigmas_type", ["zero", "sigma_min"]),
    solver: {},
  };
  if (LAMBDA.includes(className)) requireAllLevels(fields, config, name);
  const sampler = asked ?? DEFAULT_SAMPLER;
  const standIn = `the model's scheduler is ${className}; ${SAMPLERS[sampler].title} runs instead`;
  return { config, sampler, note: asked === undefined ? standIn : undefined };
}

/** The name that A1111's web UI gives to such a spacing of noise levels ("Schedule type" in its infotexts). */
export function scheduleTypeName(config: SchedulerConfig): string {
  if (config.sigmaSpacing === "karras") return "Karras";
  if (config.sigmaSpacing === "exponential") return "Exponential";
  return { linspace: "Uniform", leading: "DDIM", trailing: "SGM Uniform" }[config.timestepSpacing];
}

function malformed(name: string, problem: string, next: string, cause?: unknown): ArtifactError {
  return new ArtifactError({ code: "E_SCHEDULER", subject: name, problem, next, cause });
}

function unsupported(name: string, problem: string): UsageError {
  const next = `use a model folder whose scheduler is one of ${ALLOWED}`;
  return new UsageError({ code: "E_SCHEDULER", subject: name, problem, next });
}

/** Refuses a lambda_min_clipped, the least logarithm of the signal-to-noise ratio's root, that would cut levels off. */
function requireAllLevels(fields: JsonFields, config: SchedulerConfig, name: string): void {
  const least = fields.value("lambda_min_clipped") ?? Number.NEGATIVE_INFINITY;
  if (typeof least !== "number" || Number.isNaN(least)) throw fields.wrong("lambda_min_clipped", least, "a number");
  if (least <= -Math.log(largestSigma(config))) return;
  throw unsupported(name, `lambda_min_clipped ${least} cuts off the highest noise levels, which is not supported`);
}

/** A number strictly between `low` and `high`. */
function between(fields: JsonFields, field: string, fallback: number, low: number, high: number): number {
  const value = fields.number(field, fallback);
  if (value > low && value < high) return value;
  throw fields.wrong(field, value, `a number between ${low} and ${high}`);
}

/** A positive number, or nothing. */
function positive(fields: JsonFields, field: string): number | undefined {
  return fields.has(field) ? between(fields, field, 0, 0, Number.POSITIVE_INFINITY) : undefined;
}

function trainedBetasOf(fields: JsonFields, refuse: (problem: string) => Error): readonly number[] | undefined {
  const value = fields.value("trained_betas");
  if (value === undefined) return undefined;
  const usable = (beta: unknown): beta is number => typeof beta === "number" && beta > 0 && beta < 1;
  if (Array.isArray(value) && value.length >= 2 && value.length <= MAX_TRAIN_TIMESTEPS && value.every(usable)) {
    return value;
  }
  throw refuse(`trained_betas is not a list of 2..${MAX_TRAIN_TIMESTEPS} numbers between 0 and 1`);
}
