/**
 * @file The noise levels and timesteps of a run: what a model was trained at, spaced as a schedule and a kind of sampler say, equal
 * to diffusers' schedulers. N training steps, n inference steps.
 */
import { UsageError } from "../errors.ts";
import { roundHalfEven } from "../tensor/rounding.ts";
import type { PredictionType } from "./prediction.ts";
import {
  betaLevels,
  exponentialLevels,
  karrasLevels,
  SCHEDULES,
  type ScheduleEntry,
  type ScheduleName,
} from "./schedules.ts";
import { interpolate, linspace32 } from "./sequences.ts";
import { addsNoise, type Placement, requireSteps, spacedTimesteps } from "./spacing.ts";
import { continuousTimestep, interpolatedTimestep } from "./timesteps.ts";
import { LEAST_ALPHA, NO_ALPHA, type SchedulerConfig, trainingSigmas } from "./training.ts";

/** What a run needs of its schedule. */
export interface NoiseSchedule {
  /** [n] what the model is told at each of the levels but the last, fp32, falling. */
  readonly timesteps: Float32Array;
  /** [n + 1] noise levels, fp32, falling; step i goes from sigmas[i] to sigmas[i + 1]. */
  readonly sigmas: Float32Array;
  /** [n] what variance-preserving samplers compute step i to, where diffusers' is another level than the next one. */
  readonly landings: Float32Array;
  /** The first latent is unit noise times this. */
  readonly initNoiseSigma: number;
  readonly predictionType: PredictionType;
  /**
   * What the model is told at a noise level that step `step` asks at: that step's timestep or the next one's at their own levels, an
   * interpolated one elsewhere. (Levels don't tell timesteps apart: a schedule's last ones may be equal.)
   */
  readonly timestepOf: (sigma: number, step: number) => number;
  /** The noise level of a training step. */
  readonly levelAt: (timestep: number) => number;
}

export interface ScheduleRequest {
  readonly schedule?: ScheduleName | undefined;
  /** Of the sampler. */
  readonly placement?: Placement;
  /** Of the sampler: a variance-preserving one goes to no noise at all at the end. DDIM's and PNDM's settings may say otherwise. */
  readonly endsAtZero?: boolean;
}

const f32 = Math.fround;
/** More levels than these say nothing new; each costs a few floats. */
const MAX_LEVELS = 10_000;
const SPACED = { karras: karrasLevels, exponential: exponentialLevels, beta: betaLevels };

/** Timesteps, and the levels that belong to them; the level that the run ends at is the last. */
interface Placed {
  readonly timesteps: Float32Array;
  readonly sigmas: Float32Array;
}

interface Trained {
  readonly config: SchedulerConfig;
  readonly training: Float32Array;
  readonly logs: Float32Array;
}

/**
 * The schedule for `steps` inference steps. A few settings of diffusers give one step more than asked for, as there.
 * @throws UsageError `E_STEPS` where that many steps can't be placed
 */
export function noiseSchedule(
  model: SchedulerConfig,
  steps: number,
  { schedule = "default", placement: asked = "k", endsAtZero = true }: ScheduleRequest = {},
): NoiseSchedule {
  const entry: ScheduleEntry = SCHEDULES[schedule];
  const config = { ...model, ...settingsOf(entry) };
  const placement = model.edm ? continuousPlacement(asked) : asked;
  const keepsZero = placement === "ddim" || placement === "lcm";
  if (keepsZero && config.rescaleBetasZeroSnr && config.predictionType === "epsilon") throw noSignal();
  const training = trainingSigmas(config, keepsZero ? NO_ALPHA : LEAST_ALPHA);
  const trained: Trained = { config, training, logs: training.map(Math.log) };
  const placed = entry.levels
    ? placedLevels(trained, entry.levels, steps)
    : placement === "lcm" && schedule === "default"
      ? distilled(trained, steps)
      : addsNoise(placement)
        ? placedBetween(trained, placement, steps)
        : placedWhole(trained, placement, steps);
  const continuous =
    config.edm !== undefined || (config.timestepType === "continuous" && config.predictionType === "v_prediction");
  const ofLevel = continuous ? continuousTimestep : (sigma: number) => interpolatedTimestep(sigma, trained.logs);
  const timesteps = continuous ? placed.sigmas.slice(0, -1).map(ofLevel) : placed.timesteps;
  const sigmas = placed.sigmas.slice(0, timesteps.length + 1);
  if (![...sigmas, ...timesteps].every(Number.isFinite)) throw noNumbers();
  return {
    timesteps,
    sigmas,
    landings: landingsOf(
      trained,
      { sigmas, timesteps },
      { steps, placement, endsAtZero, spacesLevels: spacesLevels(entry, config) },
    ),
    initNoiseSigma: firstScale(sigmas, placement, entry, config),
    predictionType: config.predictionType,
    timestepOf(sigma, step) {
      // An ancestral step's middle is the next level, and yet told by itself.
      const own = (placement === "kdpm2" ? [step] : [step, step + 1]).find(
        (at) => at < timesteps.length && sigmas[at] === sigma,
      );
      return own === undefined ? ofLevel(sigma) : timesteps[own]!;
    },
    levelAt: (timestep) => interpolate(training, timestep),
  };
}

/** Whether the schedule of such a name is the very one that the model's own settings make for such a sampler. */
export function isModelsOwn(model: SchedulerConfig, schedule: ScheduleName, placement: Placement): boolean {
  if (schedule === "default") return true;
  const entry: ScheduleEntry = SCHEDULES[schedule];
  // What was distilled has timesteps of its own.
  if (entry.levels || placement === "lcm") return false;
  const settings = Object.entries(settingsOf(entry)) as [keyof SchedulerConfig, unknown][];
  return settings.every(([name, value]) => model[name] === value);
}

/** Of a model that was trained on noise levels: its latents are clean ones plus noise for every sampler. */
function continuousPlacement(placement: Placement): Placement {
  if (placement === "kdpm2") return placement;
  if (placement !== "lcm") return "k";
  throw new UsageError({
    code: "E_SCHEDULER",
    problem: "the sampler goes by training steps, and the model was trained on noise levels themselves (EDM)",
    next: "choose another sampler, such as euler or dpmpp-2m",
  });
}

function noNumbers(): UsageError {
  return new UsageError({
    code: "E_SCHEDULER",
    problem: "the model's settings come to noise levels that are no numbers with these steps",
    next: "choose another schedule or number of steps, or correct its scheduler_config.json",
  });
}

function noSignal(): UsageError {
  return new UsageError({
    code: "E_SCHEDULER",
    problem: "the model's schedule begins with zero signal, out of which a prediction of noise (epsilon) tells nothing",
    next: "choose another sampler, such as euler",
  });
}

/** The settings of a model that a schedule takes the place of: one of levels leaves the model's training steps as they are spaced. */
function settingsOf({ timestepSpacing, sigmaSpacing }: ScheduleEntry): Partial<SchedulerConfig> {
  if (timestepSpacing) return { timestepSpacing, sigmaSpacing: "timesteps" };
  return sigmaSpacing ? { sigmaSpacing } : {};
}

function spacesLevels({ levels }: ScheduleEntry, { sigmaSpacing }: SchedulerConfig): boolean {
  return levels !== undefined || sigmaSpacing !== "timesteps";
}

/** Euler and its kin: levels are spread between those of the spaced timesteps, which may lie between training steps. */
function placedBetween({ config, training, logs }: Trained, placement: Placement, steps: number): Placed {
  let timesteps = spacedTimesteps(config, placement, steps);
  let levels: ArrayLike<number> =
    config.interpolationType === "linear"
      ? Float64Array.from(timesteps, (t) => interpolate(training, t))
      : linspace32(f32(Math.log(training.at(-1)!)), f32(Math.log(training[0]!)), steps + 1).map(Math.exp);
  if (config.sigmaSpacing !== "timesteps") {
    const low = config.sigmaMin ?? levels[levels.length - 1]!;
    const high = config.sigmaMax ?? levels[0]!;
    levels = SPACED[config.sigmaSpacing]({ low, high, rho: config.edm?.rho }, steps);
    timesteps = Float32Array.from(levels, (sigma) => interpolatedTimestep(sigma, logs));
    if (placement === "kdpm2" && config.sigmaSpacing === "karras") timesteps = timesteps.map(roundHalfEven);
  }
  const last = config.finalSigmasType === "zero" ? 0 : training[0]!;
  return { timesteps, sigmas: Float32Array.of(...Array.from(levels), last) };
}

/** DPM-Solver, UniPC, DDIM: whole timesteps, and levels spread over all that were trained. */
function placedWhole({ config, training, logs }: Trained, placement: Placement, steps: number): Placed {
  const { sigmaSpacing } = config;
  const spaced = spacedTimesteps(config, placement, steps);
  if (sigmaSpacing === "timesteps") {
    return { timesteps: spaced, sigmas: Float32Array.of(...spaced.map((t) => interpolate(training, t)), 0) };
  }
  const low = config.sigmaMin ?? training[0]!;
  const high = config.sigmaMax ?? training.at(-1)!;
  const levels = SPACED[sigmaSpacing]({ low, high }, steps);
  const rounds = sigmaSpacing === "karras" && config.betaSchedule !== "squaredcos_cap_v2";
  const whole = rounds ? roundHalfEven : Math.trunc;
  return {
    timesteps: Float32Array.from(levels, (sigma) => whole(interpolatedTimestep(sigma, logs))),
    sigmas: Float32Array.of(...levels, 0),
  };
}

/** LCM, TCD: out of the timesteps that the model was distilled at. */
function distilled({ config, training }: Trained, steps: number): Placed {
  const { originalInferenceSteps: original = 50 } = config.solver;
  requireSteps(steps, original);
  const stride = Math.floor(training.length / original);
  const timesteps = Float32Array.from(
    { length: steps },
    (_, at) => (original - Math.floor(at * (original / steps))) * stride - 1,
  );
  return { timesteps, sigmas: Float32Array.of(...timesteps.map((t) => training[t]!), 0) };
}

/** Schedules that only A1111 has: fractional timesteps, whatever the sampler. */
function placedLevels(
  { training, logs }: Trained,
  levelsOf: NonNullable<ScheduleEntry["levels"]>,
  steps: number,
): Placed {
  requireSteps(steps, MAX_LEVELS);
  const range = { low: training[0]!, high: training.at(-1)! };
  const levels = Float32Array.from(levelsOf({ ...range, training, logs }, steps));
  const sigmas = levels.length > steps ? levels : Float32Array.of(...levels, 0);
  return { timesteps: sigmas.slice(0, -1).map((sigma) => interpolatedTimestep(sigma, logs)), sigmas };
}

/** See NoiseSchedule. DDIM and PNDM go a fixed number of training steps on, wherever the next timestep is. */
function landingsOf(
  { config, training }: Trained,
  { timesteps, sigmas }: Placed,
  how: Required<Pick<ScheduleRequest, "placement" | "endsAtZero">> & {
    readonly steps: number;
    readonly spacesLevels: boolean;
  },
): Float32Array {
  const landings = sigmas.slice(1);
  const last = landings.length - 1;
  const { setAlphaToOne = how.endsAtZero } = config.solver;
  const endsLow = config.finalSigmasType === "sigma_min" || !how.endsAtZero;
  if (how.placement === "dpm" && endsLow) landings[last] ||= training[0]!;
  if (how.placement !== "ddim" || landings[last] !== 0) return landings;
  const end = setAlphaToOne ? 0 : training[0]!;
  landings[last] = end;
  if (how.spacesLevels) return landings;
  const stride = Math.floor(training.length / how.steps);
  return Float32Array.from(timesteps, (timestep) => training[timestep - stride] ?? end);
}

/** What unit noise is scaled by at the start. */
function firstScale(sigmas: Float32Array, placement: Placement, entry: ScheduleEntry, config: SchedulerConfig): number {
  const largest = sigmas.reduce((a, b) => Math.max(a, b));
  const isPreserving = addsNoise(placement) ? config.edm || config.timestepSpacing === "leading" : true;
  if (entry.levels || !isPreserving) return largest;
  return f32(Math.sqrt(f32(f32(largest * largest) + 1)));
}
