/**
 * @file PyTorch's CPU `randn`: Mersenne Twister (mt19937) and Box-Muller, so that a seed gives the picture it gives
 * in diffusers. Follows ATen's core/MT19937RNGEngine.h, core/DistributionsHelper.h and native/cpu/DistributionTemplates.h.
 */

import type { NoiseSource } from "./sampler.ts";

const STATE = 624;
const SHIFT = 397;

/** The 32-bit Mersenne Twister, seeded with the low 32 bits of the seed as PyTorch does. */
class MersenneTwister {
  /** The second normal of a pair, which the next short request begins with. */
  spareNormal: number | undefined;
  readonly #state = new Uint32Array(STATE);
  #next = STATE;

  constructor(seed: number | string) {
    const state = this.#state;
    state[0] = Number(BigInt.asUintN(32, BigInt(seed)));
    for (let at = 1; at < STATE; at++) {
      const last = state[at - 1]!;
      state[at] = Math.imul(1812433253, last ^ (last >>> 30)) + at;
    }
  }

  /** 32 random bits, as an unsigned integer. */
  random(): number {
    if (this.#next === STATE) this.#renew();
    let bits = this.#state[this.#next++]!;
    bits ^= bits >>> 11;
    bits ^= (bits << 7) & 0x9d2c5680;
    bits ^= (bits << 15) & 0xefc60000;
    bits ^= bits >>> 18;
    return bits >>> 0;
  }

  #renew(): void {
    const state = this.#state;
    for (let at = 0; at < STATE; at++) {
      const mixed = (state[at]! & 0x80000000) | (state[(at + 1) % STATE]! & 0x7fffffff);
      state[at] = state[(at + SHIFT) % STATE]! ^ (mixed >>> 1) ^ (mixed & 1 ? 0x9908b0df : 0);
    }
    this.#next = 0;
  }
}

/** PyTorch computes this many normals at once, the cosine half before the sine half. */
const BLOCK = 16;
const HALF = BLOCK / 2;

/**
 * `torch.randn(count, generator=torch.Generator("cpu").manual_seed(seed))`, within 1e-6 of it.
 * @param seed 0 .. 2^64 - 1, above 2^53 - 1 as digits; PyTorch uses its low 32 bits
 * @param count how many; a shorter request is not the beginning of a longer one
 */
export function torchRandn(seed: number | string, count: number): Float32Array<ArrayBuffer> {
  return torchNoise(seed).normal(0, count);
}

/**
 * Successive `torch.randn(count, generator=g)` of one generator with this seed, each by its number. Fast where places are asked for in
 * their order; else the draws before are made again.
 * @param leading how many values the first draws have, as of a VAE's sample before the noise; all others have one size
 */
export function torchNoise(seed: number | string, leading: readonly number[] = []): NoiseSource {
  if (typeof seed === "string" ? !/^\d+$/.test(seed) : !Number.isSafeInteger(seed) || seed < 0) {
    throw new RangeError(`seed ${seed} is not in 0..2^53-1, and no digits`);
  }
  let generator = new MersenneTwister(seed);
  let nextPlace = 0;
  return {
    normal(place, count) {
      if (place < nextPlace) {
        generator = new MersenneTwister(seed);
        nextPlace = 0;
      }
      for (;;) {
        const size = leading[nextPlace] ?? count;
        const normals = size < BLOCK ? serialNormals(generator, size) : blockNormals(generator, size);
        if (nextPlace++ === place) return normals;
      }
    },
  };
}

/** Short requests: two normals of one pair of doubles, the second kept for whoever asks next, be it in another request. */
function serialNormals(generator: MersenneTwister, count: number): Float32Array<ArrayBuffer> {
  return new Float32Array(count).map(() => {
    const spare = generator.spareNormal;
    generator.spareNormal = undefined;
    if (spare !== undefined) return spare;
    const angle = 2 * Math.PI * uniformDouble(generator);
    const radius = Math.sqrt(-2 * Math.log1p(-uniformDouble(generator)));
    generator.spareNormal = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  });
}

/** Long requests: uniforms for the whole tensor, then blocks in place; a ragged end draws its last block anew. */
function blockNormals(generator: MersenneTwister, count: number): Float32Array<ArrayBuffer> {
  const values = new Float32Array(count);
  for (let at = 0; at < count; at++) values[at] = uniformFloat(generator);
  for (let at = 0; at + BLOCK <= count; at += BLOCK) normalBlock(values, at);
  if (count % BLOCK !== 0) {
    const last = count - BLOCK;
    for (let at = last; at < count; at++) values[at] = uniformFloat(generator);
    normalBlock(values, last);
  }
  return values;
}

function normalBlock(values: Float32Array, start: number): void {
  for (let at = start; at < start + HALF; at++) {
    const radius = Math.fround(Math.sqrt(Math.fround(-2 * Math.fround(Math.log(Math.fround(1 - values[at]!))))));
    const angle = Math.fround(Math.fround(2 * Math.PI) * values[at + HALF]!);
    values[at] = radius * Math.fround(Math.cos(angle));
    values[at + HALF] = radius * Math.fround(Math.sin(angle));
  }
}

/** 24 random bits in [0, 1). */
function uniformFloat(generator: MersenneTwister): number {
  return (generator.random() & 0xffffff) / 2 ** 24;
}

/** 53 random bits in [0, 1), of two draws of which the first is the high half. */
function uniformDouble(generator: MersenneTwister): number {
  const high = generator.random() & 0x1fffff;
  return (high * 2 ** 32 + generator.random()) / 2 ** 53;
}
