/**
 * @file torch's randn on a CUDA device: Philox 4x32-10 (Salmon et al., SC 2011) and Box-Muller, as A1111's web UI draws it on the CPU
 * (modules/rng_philox.py): the counter's first word counts draws, its third the values of a draw.
 */
import type { NoiseSource } from "./sampler.ts";

const ROUNDS = 10;
const [MULTIPLIER_0, MULTIPLIER_1] = [0xd2511f53, 0xcd9e8d57];
const [WEYL_0, WEYL_1] = [0x9e3779b9, 0xbb67ae85];
/** cuRAND's 2^-32 and 2^-32 * 2 pi, both in fp32. */
const SCALE = Math.fround(2.3283064e-10);
const ANGLE_SCALE = Math.fround(2.3283064e-10 * 6.2831855);

/** Successive `torch.randn(count, device="cuda")` of one seed, each by its number; draws don't depend on the sizes of those before. */
export function philoxNoise(seed: number | string): NoiseSource {
  const bits = BigInt.asUintN(64, BigInt(seed));
  const key = [Number(bits & 0xffffffffn), Number(bits >> 32n)] as const;
  return {
    normal(place, count) {
      const normals = new Float32Array(count);
      for (let at = 0; at < count; at++) normals[at] = normalAt(key, place, at);
      return normals;
    },
  };
}

function normalAt(key: readonly [number, number], place: number, at: number): number {
  let c0 = place >>> 0;
  let c1 = 0;
  let c2 = at >>> 0;
  let c3 = 0;
  let k0 = key[0];
  let k1 = key[1];
  for (let round = 0; round < ROUNDS; round++) {
    const high0 = multiplyHigh(c0, MULTIPLIER_0);
    const high1 = multiplyHigh(c2, MULTIPLIER_1);
    const low0 = Math.imul(c0, MULTIPLIER_0) >>> 0;
    const low1 = Math.imul(c2, MULTIPLIER_1) >>> 0;
    c0 = (high1 ^ c1 ^ k0) >>> 0;
    c1 = low1;
    c2 = (high0 ^ c3 ^ k1) >>> 0;
    c3 = low0;
    k0 = (k0 + WEYL_0) >>> 0;
    k1 = (k1 + WEYL_1) >>> 0;
  }
  const radius = Math.sqrt(-2 * Math.log(c0 * SCALE + SCALE / 2));
  return radius * Math.sin(c1 * ANGLE_SCALE + ANGLE_SCALE / 2);
}

/** The upper 32 of the 64 bits of a product of two unsigned words. */
function multiplyHigh(a: number, b: number): number {
  const aHigh = a >>> 16;
  const aLow = a & 0xffff;
  const bHigh = b >>> 16;
  const bLow = b & 0xffff;
  const cross = (aHigh * bLow + ((aLow * bLow) >>> 16)) >>> 0;
  const other = (aLow * bHigh + (cross & 0xffff)) >>> 0;
  return (aHigh * bHigh + (cross >>> 16) + (other >>> 16)) >>> 0;
}
