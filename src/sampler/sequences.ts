/** @file Sequences of numbers as torch and numpy make them, with their roundings. */

const f32 = Math.fround;

/** torch.linspace in fp32: from both ends to the middle, each value by one fused multiply-add. */
export function linspace32(start: number, end: number, count: number): Float32Array {
  const first = f32(start);
  const last = f32(end);
  const step = f32(f32(last - first) / (count - 1));
  return Float32Array.from({ length: count }, (_, at) =>
    at < Math.floor(count / 2) ? first + step * at : last - step * (count - 1 - at),
  );
}

/** numpy.linspace in fp64. */
export function linspace64(start: number, end: number, count: number): Float64Array {
  const step = count > 1 ? (end - start) / (count - 1) : 0;
  return Float64Array.from({ length: count }, (_, at) => (at > 0 && at === count - 1 ? end : start + at * step));
}

/** numpy.interp over 0..N-1. */
export function interpolate(values: Float32Array, x: number): number {
  const last = values.length - 1;
  if (x <= 0) return values[0]!;
  if (x >= last) return values[last]!;
  const at = Math.floor(x);
  return (values[at + 1]! - values[at]!) * (x - at) + values[at]!;
}
