/** @file What a model is told of a noise level: the (fractional) training step, by the logarithms of the levels it was trained at. */

const f32 = Math.fround;

/** What models trained on noise levels themselves are told (EDM, arXiv 2206.00364, table 1). */
export function continuousTimestep(sigma: number): number {
  return 0.25 * f32(Math.log(sigma));
}

/** The (fractional) training step of a noise level. `logs` are the logarithms of the training levels. */
export function interpolatedTimestep(sigma: number, logs: Float32Array): number {
  const log = Math.log(Math.max(sigma, 1e-10));
  const low = Math.min(
    Math.max(
      logs.findLastIndex((level) => log >= level),
      0,
    ),
    logs.length - 2,
  );
  const weight = (logs[low]! - log) / f32(logs[low]! - logs[low + 1]!);
  const clipped = Math.min(Math.max(weight, 0), 1);
  return (1 - clipped) * low + clipped * (low + 1);
}

/** The noise level of a (fractional) training step (k-diffusion DiscreteSchedule.t_to_sigma). */
export function sigmaOfTimestep(timestep: number, logs: Float32Array): number {
  const low = Math.floor(timestep);
  const high = Math.ceil(timestep);
  const weight = timestep - low;
  return Math.exp((1 - weight) * logs[low]! + weight * logs[high]!);
}
