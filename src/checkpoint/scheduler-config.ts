/** @file scheduler_config.json of a diffusers folder, checked: the fields from which an Euler schedule follows. */
import { ArtifactError, UsageError } from "../errors.ts";

export type PredictionType = "epsilon" | "v_prediction" | "sample";

/** What diffusers' EulerDiscreteScheduler is made from, with its names and defaults. */
export interface SchedulerConfig {
  readonly numTrainTimesteps: number;
  readonly betaStart: number;
  readonly betaEnd: number;
  readonly betaSchedule: "linear" | "scaled_linear" | "squaredcos_cap_v2";
  readonly trainedBetas: readonly number[] | undefined;
  readonly predictionType: PredictionType;
  readonly interpolationType: "linear" | "log_linear";
  readonly sigmaSpacing: "timesteps" | "karras" | "exponential";
  readonly sigmaMin: number | undefined;
  readonly sigmaMax: number | undefined;
  readonly timestepSpacing: "linspace" | "leading" | "trailing";
  readonly timestepType: "discrete" | "continuous";
  readonly stepsOffset: number;
  readonly rescaleBetasZeroSnr: boolean;
  readonly finalSigmasType: "zero" | "sigma_min";
}

/** Ten times any published schedule; each training step costs a few floats. */
const MAX_TRAIN_TIMESTEPS = 10_000;

/** Schedulers whose configuration diffusers also accepts for Euler: same betas, same predictions. */
const RELATED = new Set([
  "DDIMScheduler",
  "DDPMScheduler",
  "PNDMScheduler",
  "LMSDiscreteScheduler",
  "HeunDiscreteScheduler",
  "EulerAncestralDiscreteScheduler",
  "DPMSolverMultistepScheduler",
  "DPMSolverSinglestepScheduler",
  "DPMSolverSDEScheduler",
  "KDPM2DiscreteScheduler",
  "KDPM2AncestralDiscreteScheduler",
  "DEISMultistepScheduler",
  "UniPCMultistepScheduler",
]);

/**
 * Reads scheduler_config.json.
 * @param json the file's text
 * @param name the file, for messages
 * @param pipelineClass the scheduler that model_index.json names, which diffusers would run whatever the file says
 * @returns the configuration, and a note for the user where the file names another sampler than the one that will run
 * @throws ArtifactError `E_SCHEDULER` where the file is malformed; UsageError `E_SCHEDULER` where it asks for what is
 * not supported
 */
export function parseSchedulerConfig(
  json: string,
  name = "scheduler_config.json",
  pipelineClass?: string,
): { config: SchedulerConfig; note: string | undefined } {
  const fields = new Fields(json, name);
  const className = pipelineClass ?? fields.text("_class_name", "EulerDiscreteScheduler");
  if (className !== "EulerDiscreteScheduler" && !RELATED.has(className)) {
    throw unsupported(name, `the scheduler ${className} is not supported (allowed EulerDiscreteScheduler)`);
  }
  if (fields.flag("use_beta_sigmas")) throw unsupported(name, "use_beta_sigmas is not supported");
  const karras = fields.flag("use_karras_sigmas");
  const exponential = fields.flag("use_exponential_sigmas");
  if (karras && exponential) throw fields.wrong("both use_karras_sigmas and use_exponential_sigmas are set");
  const trainedBetas = fields.numbers("trained_betas");
  const config: SchedulerConfig = {
    numTrainTimesteps: trainedBetas?.length ?? fields.integer("num_train_timesteps", 1000, 2, MAX_TRAIN_TIMESTEPS),
    betaStart: fields.number("beta_start", 0.0001, 0, 1),
    betaEnd: fields.number("beta_end", 0.02, 0, 1),
    betaSchedule: fields.choice("beta_schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"]),
    trainedBetas,
    predictionType: fields.choice("prediction_type", ["epsilon", "v_prediction", "sample"]),
    interpolationType: fields.choice("interpolation_type", ["linear", "log_linear"]),
    sigmaSpacing: karras ? "karras" : exponential ? "exponential" : "timesteps",
    sigmaMin: fields.optional("sigma_min"),
    sigmaMax: fields.optional("sigma_max"),
    timestepSpacing: fields.choice("timestep_spacing", ["linspace", "leading", "trailing"]),
    timestepType: fields.choice("timestep_type", ["discrete", "continuous"]),
    stepsOffset: fields.integer("steps_offset", 0, 0, MAX_TRAIN_TIMESTEPS),
    rescaleBetasZeroSnr: fields.flag("rescale_betas_zero_snr"),
    finalSigmasType: fields.choice("final_sigmas_type", ["zero", "sigma_min"]),
  };
  const note =
    className === "EulerDiscreteScheduler" ? undefined : `the model's scheduler is ${className}; Euler runs instead`;
  return { config, note };
}

/** The name that A1111's web UI gives to such a spacing of noise levels ("Schedule type" in its infotexts). */
export function scheduleTypeName(config: SchedulerConfig): string {
  if (config.sigmaSpacing === "karras") return "Karras";
  if (config.sigmaSpacing === "exponential") return "Exponential";
  return { linspace: "Uniform", leading: "DDIM", trailing: "SGM Uniform" }[config.timestepSpacing];
}

function unsupported(name: string, problem: string): UsageError {
  const next = "use a model folder whose scheduler is EulerDiscreteScheduler";
  return new UsageError({ code: "E_SCHEDULER", subject: name, problem, next });
}

/** Typed access to the fields of a JSON object; null counts as absent. */
class Fields {
  readonly #values: Readonly<Record<string, unknown>>;
  readonly #file: string;

  constructor(json: string, file: string) {
    this.#file = file;
    let root: unknown;
    try {
      root = JSON.parse(json);
    } catch (cause) {
      throw this.wrong(`not JSON (${cause instanceof Error ? cause.message : "unreadable"})`);
    }
    if (typeof root !== "object" || root === null || Array.isArray(root)) {
      throw this.wrong("the root is not a JSON object");
    }
    this.#values = root as Record<string, unknown>;
  }

  wrong(problem: string): ArtifactError {
    const next = "fetch the scheduler folder again from where the model comes from";
    return new ArtifactError({ code: "E_SCHEDULER", subject: this.#file, problem, next });
  }

  text(name: string, fallback: string): string {
    const value = this.#values[name] ?? fallback;
    if (typeof value !== "string") throw this.#bad(name, value, "a text");
    return value;
  }

  flag(name: string): boolean {
    const value = this.#values[name] ?? false;
    if (typeof value !== "boolean") throw this.#bad(name, value, "true or false");
    return value;
  }

  /** The first choice is the default. */
  choice<T extends string>(name: string, choices: readonly [T, ...T[]]): T {
    const value = this.#values[name] ?? choices[0];
    const found = choices.find((choice) => choice === value);
    if (found === undefined) throw this.#bad(name, value, choices.join(", "));
    return found;
  }

  /** A number strictly between `low` and `high`. */
  number(name: string, fallback: number, low: number, high: number): number {
    const value = this.#values[name] ?? fallback;
    if (typeof value !== "number" || !(value > low && value < high)) {
      throw this.#bad(name, value, `a number between ${low} and ${high}`);
    }
    return value;
  }

  /** An integer in `low`..`high`. */
  integer(name: string, fallback: number, low: number, high: number): number {
    const value = this.#values[name] ?? fallback;
    if (typeof value !== "number" || !Number.isInteger(value) || value < low || value > high) {
      throw this.#bad(name, value, `an integer in ${low}..${high}`);
    }
    return value;
  }

  /** A positive number, or nothing. */
  optional(name: string): number | undefined {
    const value = this.#values[name] ?? undefined;
    if (value === undefined) return undefined;
    return this.number(name, 0, 0, Number.POSITIVE_INFINITY);
  }

  numbers(name: string): number[] | undefined {
    const value = this.#values[name] ?? undefined;
    if (value === undefined) return undefined;
    const usable = (beta: unknown): beta is number => typeof beta === "number" && beta > 0 && beta < 1;
    if (!Array.isArray(value) || value.length < 2 || value.length > MAX_TRAIN_TIMESTEPS || !value.every(usable)) {
      throw this.wrong(`${name} is not a list of 2..${MAX_TRAIN_TIMESTEPS} numbers between 0 and 1`);
    }
    return value;
  }

  #bad(name: string, value: unknown, allowed: string): ArtifactError {
    return this.wrong(`${name} is not usable (found ${JSON.stringify(value)?.slice(0, 60)}, allowed ${allowed})`);
  }
}
