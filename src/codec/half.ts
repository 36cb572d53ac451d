/** @file fp32 bits to fp16 bits without leaving integers: overlay sections hold billions of values. */

/** Bits of an fp32 to bits of the nearest fp16, ties to even. Overflow gives infinity; NaN stays NaN (quiet, sign kept). */
export function f16FromF32Bits(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude >= 0x38800000) {
    if (magnitude >= 0x477ff000) return sign | (magnitude > 0x7f800000 ? 0x7e00 : 0x7c00);
    // The carry of a mantissa that rounds up runs into the exponent, which is what IEEE 754 wants.
    return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
  }
  if (magnitude <= 0x33000000) return sign;
  // Subnormal: the implicit one becomes a mantissa bit.
  const mantissa = (magnitude & 0x7fffff) | 0x800000;
  const shift = 126 - (magnitude >>> 23);
  const kept = mantissa >>> shift;
  const rest = mantissa & ((1 << shift) - 1);
  const half = 1 << (shift - 1);
  return sign | (kept + (rest > half || (rest === half && (kept & 1) === 1) ? 1 : 0));
}
