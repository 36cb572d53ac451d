/** @file Sinusoidal embeddings of numbers (timesteps, picture sizes), equal to diffusers' `get_timestep_embedding`. */

const f32 = Math.fround;
const MAX_PERIOD = 10_000;

/** Which half comes first, and the shift of the frequency ladder. */
export interface EmbeddingOptions {
  /** Cosines before sines (SDXL: true). */
  readonly flipSinToCos: boolean;
  /** Subtracted from the number of frequencies (SDXL: 0). */
  readonly freqShift: number;
}

/**
 * Embeds each of `timesteps` in `dim` numbers; an odd `dim` ends in a zero.
 * @returns [timesteps.length, dim], fp32
 */
export function timestepEmbedding(
  timesteps: ArrayLike<number>,
  dim: number,
  { flipSinToCos, freqShift }: EmbeddingOptions,
): Float32Array<ArrayBuffer> {
  const half = Math.floor(dim / 2);
  const scale = f32(-Math.log(MAX_PERIOD));
  const embedded = new Float32Array(timesteps.length * dim);
  for (let place = 0; place < half; place++) {
    const frequency = f32(Math.exp(f32(f32(scale * place) / f32(half - freqShift))));
    for (let row = 0; row < timesteps.length; row++) {
      const angle = f32(f32(timesteps[row]!) * frequency);
      const start = row * dim + place;
      embedded[start] = flipSinToCos ? Math.cos(angle) : Math.sin(angle);
      embedded[start + half] = flipSinToCos ? Math.sin(angle) : Math.cos(angle);
    }
  }
  return embedded;
}
