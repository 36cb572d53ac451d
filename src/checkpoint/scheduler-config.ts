/** @file scheduler_config.json of a diffusers folder, checked: the fields from which noise levels follow, and those of its sampler. */
import { ArtifactError, UsageError } from "../errors.ts";
import type { SamplerName } from "../sampler/samplers.ts";
import type { SolverSettings } from "../sampler/solver.ts";
import { largestSigma, type SchedulerConfig, trainingSigmas } from "../sampler/training.ts";
import { JsonFields, parseJsonObject } from "../source/json-fields.ts";
import { ALLOWED_CLASSES, type SchedulerClass, schedulerClass } from "./scheduler-classes.ts";

/** Ten times any published schedule; each training step costs a few floats. */
const MAX_TRAIN_TIMESTEPS = 10_000;
const SPACINGS = ["karras", "exponential", "beta"] as const;
const SDE_ALGORITHM = "sde-dpmsolver++";

/**
 * Reads scheduler_config.json.
 * @param json the file's text
 * @param name the file, for messages
 * @param pipelineClass the scheduler that model_index.json names, which diffusers would run whatever the file says
 * @returns the configuration, and the sampler that it asks for
 * @throws ArtifactError `E_SCHEDULER` where the file is malformed; UsageError `E_SCHEDULER` where it asks for what is
 * not supported
 */
export function parseSchedulerConfig(
  json: string,
  name = "scheduler_config.json",
  pipelineClass?: string,
): { config: SchedulerConfig; sampler: SamplerName } {
  const refuse = (problem: string) => malformed(name, problem, "correct the field, or use another model");
  const damaged = (problem: string, cause?: unknown) =>
    malformed(name, problem, "fetch the scheduler folder again from where the model comes from", cause);
  const fields = new JsonFields(parseJsonObject(json, damaged), (field, found, allowed) =>
    refuse(`${field} is not usable (found ${found}, allowed ${allowed})`),
  );
  const className = pipelineClass ?? fields.string("_class_name", "EulerDiscreteScheduler");
  const entry = schedulerClass(className);
  if (!entry) throw unsupported(name, `the scheduler ${className} is not supported (allowed ${ALLOWED_CLASSES})`);
  const knows = (field: string) => entry.knows.includes(field);
  const isSet = (field: string) => knows(field) && fields.bool(field, false);
  for (const field of ["use_flow_sigmas", "use_lu_lambdas", "thresholding"]) {
    if (isSet(field)) throw unsupported(name, `${field} is not supported`);
  }
  const spaced = SPACINGS.filter((spacing) => isSet(`use_${spacing}_sigmas`));
  if (spaced.length > 1) throw refuse(`both ${spaced.map((spacing) => `use_${spacing}_sigmas`).join(" and ")} are set`);
  const trainedBetas = trainedBetasOf(fields, refuse);
  const choice = <T extends string>(field: string, [first, ...others]: readonly [T, ...T[]]): T =>
    knows(field) ? fields.choice(field, [first, ...others]) : first;
  const betaSchedules = ["linear", "scaled_linear", "squaredcos_cap_v2"] as const;
  const spacings = ["linspace", "leading", "trailing"] as const;
  const solver = solverOf(fields, { name, className, entry });
  const config: SchedulerConfig = {
    numTrainTimesteps: trainedBetas?.length ?? fields.int("num_train_timesteps", 2, MAX_TRAIN_TIMESTEPS, 1000),
    betaStart: between(fields, "beta_start", entry.betaStart, 0, 1),
    betaEnd: between(fields, "beta_end", entry.betaEnd, 0, 1),
    betaSchedule: fields.choice("beta_schedule", firstOf(betaSchedules, entry.betaSchedule)),
    trainedBetas,
    predictionType: fields.choice("prediction_type", ["epsilon", "v_prediction", "sample"]),
    interpolationType: choice("interpolation_type", ["linear", "log_linear"]),
    sigmaSpacing: spaced[0] ?? "timesteps",
    sigmaMin: knows("sigma_min") ? positive(fields, "sigma_min") : undefined,
    sigmaMax: knows("sigma_max") ? positive(fields, "sigma_max") : undefined,
    timestepSpacing: entry.spacesTimesteps
      ? fields.choice("timestep_spacing", firstOf(spacings, entry.timestepSpacing))
      : entry.timestepSpacing,
    timestepType: choice("timestep_type", ["discrete", "continuous"]),
    stepsOffset: fields.int("steps_offset", 0, MAX_TRAIN_TIMESTEPS, 0),
    rescaleBetasZeroSnr: isSet("rescale_betas_zero_snr"),
    finalSigmasType: choice("final_sigmas_type", ["zero", "sigma_min"]),
    solver,
    ...(entry.isEdm && edmConfig(fields, refuse)),
  };
  if (!trainingSigmas(config).every((sigma) => sigma > 0 && Number.isFinite(sigma))) {
    throw refuse("its betas and sigmas come to noise levels that are no numbers above 0");
  }
  if (knows("lambda_min_clipped")) requireAllLevels(fields, config, name);
  if (className === "UniPCMultistepScheduler" && config.finalSigmasType === "sigma_min" && spaced.length > 0) {
    throw unsupported(name, `final_sigmas_type sigma_min with use_${spaced[0]}_sigmas goes nowhere in the last step`);
  }
  // In single steps, the equation is a setting of one sampler.
  const sampler = entry.sampler === "dpmpp-2m" && solver.stochastic ? "dpmpp-2m-sde" : entry.sampler;
  return { config, sampler };
}

/** Far above any published (80, 120), and its square is a number in fp32. */
const MAX_EDM_SIGMA = 1e6;

/** What the classes for models of EDM training have instead of betas, with their defaults. */
function edmConfig(fields: JsonFields, refuse: (problem: string) => Error): Partial<SchedulerConfig> {
  const sigmaMin = between(fields, "sigma_min", 0.002, 0, MAX_EDM_SIGMA);
  const sigmaMax = between(fields, "sigma_max", 80, 0, MAX_EDM_SIGMA);
  if (sigmaMin >= sigmaMax) throw refuse(`sigma_min ${sigmaMin} is not below sigma_max ${sigmaMax}`);
  return {
    predictionType: fields.choice("prediction_type", ["epsilon", "v_prediction"]),
    sigmaSpacing: fields.choice("sigma_schedule", ["karras", "exponential"]),
    sigmaMin,
    sigmaMax,
    edm: {
      sigmaData: between(fields, "sigma_data", 0.5, 0, MAX_EDM_SIGMA),
      rho: between(fields, "rho", 7, 0, 100),
    },
  };
}

/** The same choices with the one first that stands where a file is silent. */
function firstOf<T extends string>(all: readonly T[], first: T): readonly [T, ...T[]] {
  return [first, ...all.filter((other) => other !== first)];
}

/** What a file says of its sampler; refuses what would be drawn otherwise. */
function solverOf(
  fields: JsonFields,
  { name, className, entry }: { readonly name: string; readonly className: string; readonly entry: SchedulerClass },
): SolverSettings {
  const knows = (field: string) => entry.knows.includes(field);
  const isUniPc = className === "UniPCMultistepScheduler";
  const allowed = (field: string, values: readonly string[], fallback: string): string => {
    const value = fields.string(field, fallback);
    if (values.includes(value)) return value;
    throw unsupported(name, `${field} is not supported (found ${value}, allowed ${values.join(", ")})`);
  };
  const isSde =
    knows("algorithm_type") &&
    allowed("algorithm_type", ["dpmsolver++", SDE_ALGORITHM, "deis"], "dpmsolver++") === SDE_ALGORITHM;
  const variance = knows("variance_type")
    ? allowed("variance_type", ["fixed_small", "fixed_small_log", "fixed_large"], "fixed_small")
    : "fixed_small";
  if (knows("predict_x0") && !fields.bool("predict_x0", true))
    throw unsupported(name, "predict_x0 false is not supported");
  if (knows("solver_p") && fields.has("solver_p")) throw unsupported(name, "solver_p is not supported");
  if (knows("skip_prk_steps") && !fields.bool("skip_prk_steps", false)) {
    throw unsupported(name, "skip_prk_steps false is not supported");
  }
  const solverType = knows("solver_order")
    ? allowed("solver_type", ["midpoint", "heun", "logrho", "bh1", "bh2"], isUniPc ? "bh2" : "midpoint")
    : "midpoint";
  const clips = knows("clip_sample") && className !== "TCDScheduler" && fields.bool("clip_sample", entry.clipsSample);
  const lowerOrderFinal = !knows("lower_order_final") || fields.bool("lower_order_final", entry.lowersFinalOrder);
  if (isUniPc && !lowerOrderFinal && fields.string("final_sigmas_type", "zero") === "zero") {
    throw unsupported(name, "lower_order_final false with final_sigmas_type zero has no last step");
  }
  return {
    ...(fields.has("set_alpha_to_one") && { setAlphaToOne: fields.bool("set_alpha_to_one", true) }),
    ...(isSde && { stochastic: true }),
    ...(variance === "fixed_large" && { largeVariance: true }),
    ...(clips && { clipRange: between(fields, "clip_sample_range", 1, 0, Number.POSITIVE_INFINITY) }),
    ...(knows("solver_order") && {
      solverOrder: fields.int("solver_order", 1, 3, 2) as 1 | 2 | 3,
      // As diffusers takes other solvers' types.
      solverType: isUniPc ? (solverType === "bh1" ? "bh1" : "bh2") : solverType === "heun" ? "heun" : "midpoint",
      lowerOrderFinal,
    }),
    ...(knows("euler_at_final") && { eulerAtFinal: fields.bool("euler_at_final", false) }),
    ...(knows("disable_corrector") && { disableCorrector: stepsOf(fields, "disable_corrector") }),
    ...(knows("original_inference_steps") && {
      originalInferenceSteps: fields.int("original_inference_steps", 1, 1000, 50),
      timestepScaling: between(fields, "timestep_scaling", 10, 0, Number.POSITIVE_INFINITY),
    }),
  };
}

/** A list of numbers of steps; none where a file is silent. */
function stepsOf(fields: JsonFields, field: string): readonly number[] {
  const value = fields.value(field) ?? [];
  const fits = (step: unknown): step is number => typeof step === "number" && Number.isInteger(step) && step >= 0;
  if (Array.isArray(value) && value.length <= MAX_TRAIN_TIMESTEPS && value.every(fits)) return value;
  throw fields.wrong(field, value, "a list of steps");
}

/** The name that A1111's web UI gives to such a spacing of noise levels ("Schedule type" in its infotexts). */
export function scheduleTypeName(config: SchedulerConfig): string {
  if (config.sigmaSpacing === "karras") return "Karras";
  if (config.sigmaSpacing === "exponential") return "Exponential";
  if (config.sigmaSpacing === "beta") return "Beta";
  return { linspace: "Uniform", leading: "DDIM", trailing: "SGM Uniform" }[config.timestepSpacing];
}

function malformed(name: string, problem: string, next: string, cause?: unknown): ArtifactError {
  return new ArtifactError({ code: "E_SCHEDULER", subject: name, problem, next, cause });
}

function unsupported(name: string, problem: string): UsageError {
  const next = `use a model folder whose scheduler is one of ${ALLOWED_CLASSES}`;
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
