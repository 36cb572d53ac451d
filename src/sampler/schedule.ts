/**
 * @file The noise levels and timesteps of a run: what a model was trained at, spaced as a schedule and a kind of sampler say, equal
 * to diffusers' schedulers. n inference steps.
 */
import { exponentialLevels, karrasLevels, SCHEDULES, type ScheduleEntry, type ScheduleName } from "./schedules.ts";
import { interpolate, linspace32 } from "./sequences.ts";
import { type Placement, spacedTimesteps } from "./spacing.ts";
import { continuousTimestep, interpolatedTimestep } from "./timesteps.ts";
import { type SchedulerConfig, trainingSigmas } from "./training.ts";

/** What a run needs of its schedule. */
export interface NoiseSchedule {
  /** [n] what the model is told at each of the levels but the last, fp32, falling. */
  readonly timesteps: Float32Array;
  /** [n + 1] noise levels, fp32, falling; step i goes from sigmas[i] to sigmas[i + 1]. */
  readonly sigmas: Float32Array;
  /** The first latent is unit noise times this. */
  readonly initNoiseSigma: number;
  /**
   * What the model is told at a noise level that step `step` asks at: that step's timestep or the next one's at their own levels, an
   * interpolated one elsewhere. (Levels don't tell timesteps apart: a schedule's last ones may be equal.)
   */
  readonly timestepOf: (sigma: number, step: number) => number;
}

export interface ScheduleRequest {
  readonly schedule?: ScheduleName;
  /** Of the sampler. */
  readonly placement?: Placement;
}

const f32 = Math.fround;

/**
 * The schedule for `steps` inference steps. A few settings of diffusers give one step more than asked for, as there.
 * @throws UsageError `E_STEPS` where that many steps can't be placed
 */
export function noiseSchedule(
  model: SchedulerConfig,
  steps: number,
  { schedule = "default", placement = "k" }: ScheduleRequest = {},
): NoiseSchedule {
  const config = { ...model, ...settingsOf(SCHEDULES[schedule]) };
  const training = trainingSigmas(config);
  let timesteps = spacedTimesteps(config, placement, steps);
  let levels: ArrayLike<number> =
    config.interpolationType === "linear"
      ? Float64Array.from(timesteps, (t) => interpolate(training, t))
      : linspace32(f32(Math.log(training.at(-1)!)), f32(Math.log(training[0]!)), steps + 1).map(Math.exp);
  const logs = training.map(Math.log);
  if (config.sigmaSpacing !== "timesteps") {
    const low = config.sigmaMin ?? levels[levels.length - 1]!;
    const high = config.sigmaMax ?? levels[0]!;
    levels = { karras: karrasLevels, exponential: exponentialLevels }[config.sigmaSpacing]({ low, high }, steps);
    timesteps = Float32Array.from(levels, (sigma) => interpolatedTimestep(sigma, logs));
  }
  const last = config.finalSigmasType === "zero" ? 0 : training[0]!;
  const all = Float32Array.of(...Array.from(levels), last);
  const continuous = config.timestepType === "continuous" && config.predictionType === "v_prediction";
  const ofLevel = continuous ? continuousTimestep : (sigma: number) => interpolatedTimestep(sigma, logs);
  if (continuous) timesteps = all.slice(0, -1).map(ofLevel);
  const largest = all.reduce((a, b) => Math.max(a, b));
  return {
    timesteps,
    sigmas: all.slice(0, timesteps.length + 1),
    initNoiseSigma: config.timestepSpacing === "leading" ? f32(Math.sqrt(f32(f32(largest * largest) + 1))) : largest,
    timestepOf(sigma, step) {
      const own = [step, step + 1].find((at) => at < timesteps.length && all[at] === sigma);
      return own === undefined ? ofLevel(sigma) : timesteps[own]!;
    },
  };
}

/** The settings of a model that a schedule takes the place of: one of levels leaves the model's training steps as they are spaced. */
function settingsOf({ timestepSpacing, sigmaSpacing }: ScheduleEntry): Partial<SchedulerConfig> {
  if (timestepSpacing) return { timestepSpacing, sigmaSpacing: "timesteps" };
  return sigmaSpacing ? { sigmaSpacing } : {};
}
