/**
 * @file torch's randn on a CUDA device: Philox 4x32-10 (Salmon et al., SC 2011) and Box-Muller, as A1111's web UI draws it on the CPU
 * (modules/rng_philox.py): the counter's first word counts draws, its third the values of a draw.
 */
import type { NoiseSource } from "./sampler.ts";

const ROUNDS = 10;
const MULTIPLIERS = [0xd2511f53, 0xcd9e8d57] as const;
const WEYL = [0x9e3779b9, 0xbb67ae85] as const;
/** cuRAND's 2^-32 and 2^-32 * 2 pi, both in fp32. */
const SCALE = Math.fround(2.3283064e-10);
const ANGLE_SCALE = Math.fround(2.3283064e-10 * 6.2831855);

/** Successive `torch.randn(count, device="cuda")` of one seed, each by its number; draws don't depend on the sizes of those before. */
export function philoxNoise(seed: number | string): NoiseSource {
  const bits = BigInt.asUintN(64, BigInt(seed));
  const key = [Number(bits & 0xffffffffn), Number(bits >> 32n)] as const;
  return {
    normal: (place, count) => Float32Array.from({ length: count }, (_, at) => normalAt(key, place, at)),
  };
}

function normalAt(key: readonly [number, number], place: number, at: number): number {
  let [c0, c1, c2, c3] = [place >>> 0, 0, at >>> 0, 0];
  let [k0, k1] = key;
  for (let round = 0; round < ROUNDS; round++) {
    const [high0, low0] = [multiplyHigh(c0, MULTIPLIERS[0]), Math.imul(c0, MULTIPLIERS[0])];
    const [high1, low1] = [multiplyHigh(c2, MULTIPLIERS[1]), Math.imul(c2, MULTIPLIERS[1])];
    [c0, c1, c2, c3] = [(high1 ^ c1 ^ k0) >>> 0, low1 >>> 0, (high0 ^ c3 ^ k1) >>> 0, low0 >>> 0];
    [k0, k1] = [(k0 + WEYL[0]) >>> 0, (k1 + WEYL[1]) >>> 0];
  }
  const radius = Math.sqrt(-2 * Math.log(c0 * SCALE + SCALE / 2));
  return radius * Math.sin(c1 * ANGLE_SCALE + ANGLE_SCALE / 2);
}

/** The upper 32 of the 64 bits of a product of two unsigned words. */
function multiplyHigh(a: number, b: number): number {
  const [aHigh, aLow, bHigh, bLow] = [a >>> 16, a & 0xffff, b >>> 16, b & 0xffff];
  const cross = aHigh * bLow + ((aLow * bLow) >>> 16);
  const other = aLow * bHigh + (cross % 0x10000);
  return (aHigh * bHigh + Math.floor(cross / 0x10000) + Math.floor(other / 0x10000)) >>> 0;
}
