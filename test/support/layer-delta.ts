/** @file What an adapter's changes make of a layer, as whole matrices in fp64: the plain meaning of src/adapters/layer-change.ts. */
import type { LayerChange, LowRankChange, MagnitudeChange, RotationChange } from "../../src/adapters/layer-change.ts";
import type { TensorEntry } from "../../src/container/table.ts";
import { elementCount, toFloat32 } from "../../src/tensor/dtype.ts";

/** W' - W and bias' - bias. */
export interface LayerDelta {
  readonly weight: Float64Array;
  readonly bias: Float64Array | undefined;
}

/** `weight` of `shape` [out, in, ...]. */
export async function layerDelta(
  changes: readonly LayerChange[],
  weight: Float32Array,
  shape: readonly number[],
  strength = 1,
): Promise<LayerDelta> {
  const sum = new Float64Array(weight.length);
  let bias: Float64Array | undefined;
  for (const change of changes) {
    if (change.kind === "bias") bias = add(bias, await valuesOf(change.bias), strength);
    else add(sum, await weightDelta(change, weight, shape), strength);
  }
  return { weight: sum, bias };
}

function add(into: Float64Array | undefined, values: ArrayLike<number>, factor: number): Float64Array {
  const sum = into ?? new Float64Array(values.length);
  for (let i = 0; i < sum.length; i++) sum[i] = sum[i]! + factor * values[i]!;
  return sum;
}

export async function valuesOf(entry: TensorEntry): Promise<Float32Array> {
  const bytes = new Uint8Array(entry.endByte - entry.startByte);
  await entry.source.read(entry.startByte, bytes);
  const values = toFloat32(entry.dtype, bytes);
  if (values.length !== elementCount(entry.shape)) throw new Error(`${entry.name}: ${values.length} values`);
  return values;
}

async function weightDelta(
  change: Exclude<LayerChange, { kind: "bias" }>,
  weight: Float32Array,
  shape: readonly number[],
): Promise<ArrayLike<number>> {
  const [outputs, inputs, ...kernel] = shape as [number, number, ...number[]];
  const taps = elementCount(kernel);
  switch (change.kind) {
    case "difference":
      return await valuesOf(change.weight);
    case "low-rank":
      return await lowRank(change, outputs, inputs, taps);
    case "input-low-rank": {
      const rank = change.down.shape[0]!;
      const mixed = product(await valuesOf(change.up), await valuesOf(change.down), inputs, rank, inputs);
      return fromRight(weight, mixed, outputs, inputs, taps).map((value) => change.scale * value);
    }
    case "scale": {
      const values = await valuesOf(change.values);
      return Float64Array.from(weight, (value, i) => value * values[place(i, inputs, taps, change.onInput)]!);
    }
    case "rotation":
      return await rotated(change, weight, outputs, inputs, taps);
    case "magnitude":
      return await magnified(change, weight, shape);
  }
}

/** Of a weight's value: its output, or its input. */
function place(index: number, inputs: number, taps: number, onInput: boolean): number {
  return onInput ? Math.floor(index / taps) % inputs : Math.floor(index / (inputs * taps));
}

/** dW[o, i, t] = scale sum_r up[o, r] down[r, i, t], or with a core scale sum_r,q up[o, r] mid[r, q, t] down[q, i]. */
async function lowRank(change: LowRankChange, outputs: number, inputs: number, taps: number): Promise<Float64Array> {
  const rank = change.down.shape[0]!;
  const down = await valuesOf(change.down);
  let inner: ArrayLike<number> = down; // [rank, in, taps]
  if (change.mid) {
    const mid = await valuesOf(change.mid);
    const mixed = new Float64Array(rank * inputs * taps);
    for (let r = 0; r < rank; r++)
      for (let q = 0; q < rank; q++)
        for (let i = 0; i < inputs; i++)
          for (let t = 0; t < taps; t++) {
            const at = (r * inputs + i) * taps + t;
            mixed[at] = mixed[at]! + mid[(r * rank + q) * taps + t]! * down[q * inputs + i]!;
          }
    inner = mixed;
  }
  const whole = product(await valuesOf(change.up), inner, outputs, rank, inputs * taps);
  return whole.map((value) => change.scale * value);
}

function product(a: ArrayLike<number>, b: ArrayLike<number>, m: number, k: number, n: number): Float64Array {
  const out = new Float64Array(m * n);
  for (let i = 0; i < m; i++)
    for (let r = 0; r < k; r++)
      for (let j = 0; j < n; j++) out[i * n + j] = out[i * n + j]! + a[i * k + r]! * b[r * n + j]!;
  return out;
}

/** W M for M [in, in]: sum_i W[o, i, t] M[i, j]. */
function fromRight(
  weight: ArrayLike<number>,
  m: ArrayLike<number>,
  outputs: number,
  inputs: number,
  taps: number,
): Float64Array {
  const out = new Float64Array(weight.length);
  for (let o = 0; o < outputs; o++)
    for (let i = 0; i < inputs; i++)
      for (let j = 0; j < inputs; j++)
        for (let t = 0; t < taps; t++) {
          const at = (o * inputs + j) * taps + t;
          out[at] = out[at]! + weight[(o * inputs + i) * taps + t]! * m[i * inputs + j]!;
        }
  return out;
}

async function rotated(
  change: RotationChange,
  weight: Float32Array,
  outputs: number,
  inputs: number,
  taps: number,
): Promise<Float64Array> {
  const channels = change.onInput ? inputs : outputs;
  let matrix = new Float64Array(channels * channels).map((_, i) => (i % (channels + 1) === 0 ? 1 : 0));
  for (const { blocks, stride } of change.factors) {
    const [count, side] = blocks.shape as [number, number, number];
    const values = await valuesOf(blocks);
    // Where channel `c` of the order that blocks are applied in lies.
    const at = (c: number) => {
      const group = Math.floor(c / (2 * stride)) * 2 * stride;
      return stride === 1 ? c : group + (c % 2) * stride + (Math.floor(c / 2) % stride);
    };
    const factor = new Float64Array(channels * channels);
    for (let block = 0; block < count; block++)
      for (let i = 0; i < side; i++)
        for (let j = 0; j < side; j++)
          factor[at(block * side + i) * channels + at(block * side + j)] = values[(block * side + i) * side + j]!;
    matrix = product(factor, matrix, channels, channels, channels) as Float64Array<ArrayBuffer>;
  }
  const turned = change.onInput
    ? fromRight(weight, matrix, outputs, inputs, taps)
    : product(matrix, weight, outputs, outputs, inputs * taps);
  const rescale = change.rescale && (await valuesOf(change.rescale));
  return turned.map((value, i) => value * (rescale?.[place(i, inputs, taps, false)] ?? 1) - weight[i]!);
}

async function magnified(
  { change, magnitude, onInput }: MagnitudeChange,
  weight: Float32Array,
  shape: readonly number[],
): Promise<Float64Array> {
  const [, inputs, ...kernel] = shape as [number, number, ...number[]];
  const taps = elementCount(kernel);
  const delta = await weightDelta(change, weight, shape);
  const directed = Float64Array.from(weight, (value, i) => value + delta[i]!);
  const values = await valuesOf(magnitude);
  const squares = new Float64Array(values.length);
  directed.forEach((value, i) => {
    const at = place(i, inputs, taps, onInput);
    squares[at] = squares[at]! + value * value;
  });
  return directed.map((value, i) => {
    const at = place(i, inputs, taps, onInput);
    return (value * values[at]!) / Math.sqrt(squares[at]!) - weight[i]!;
  });
}
