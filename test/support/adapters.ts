/** @file Made-up adapters over a model's layers, and the same model with them merged into its weights, in fp64. */
import type { Adapter, LayerChange } from "../../src/adapters/layer-change.ts";
import type { TensorEntry, TensorTable } from "../../src/container/table.ts";
import type { Component } from "../../src/models/family.ts";
import { memorySource } from "../../src/source/memory.ts";
import { type DType, elementCount, numberToF16, toFloat32 } from "../../src/tensor/dtype.ts";

/** A tensor in memory; with "f16" its values are rounded. */
export function tensorOf(
  name: string,
  shape: readonly number[],
  values: ArrayLike<number>,
  dtype: "f32" | "f16" = "f32",
): TensorEntry {
  const typed = dtype === "f32" ? Float32Array.from(values) : Uint16Array.from(values, numberToF16);
  const bytes = new Uint8Array(typed.buffer);
  return { name, dtype, shape, source: memorySource(name, bytes), startByte: 0, endByte: bytes.length };
}

/** Values of a tensor in fp64. */
export async function valuesOf({ dtype, source, startByte, endByte }: TensorEntry): Promise<Float64Array> {
  const bytes = new Uint8Array(endByte - startByte);
  await source.read(startByte, bytes);
  return Float64Array.from(toFloat32(dtype as DType, bytes));
}

/** Seeded numbers about zero. */
export function drawer(seed: number): (shape: readonly number[], size: number) => number[] {
  let state = seed >>> 0 || 1;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  };
  return (shape, size) => Array.from({ length: elementCount(shape) }, () => next() * size);
}

/** A weight [out, in, ...], or a norm's [C], with one change of it at strength s merged, from the unchanged `weight`. */
async function difference(weight: Float64Array, shape: readonly number[], change: LayerChange): Promise<Float64Array> {
  const [out, inputs] = [shape[0]!, shape[1] ?? 1];
  const width = weight.length / out;
  const taps = width / inputs;
  const minus = (whole: Float64Array) => whole.map((value, i) => value - weight[i]!);
  switch (change.kind) {
    case "low-rank": {
      const rank = change.down.shape[0]!;
      let down = await valuesOf(change.down);
      if (change.mid) {
        const mid = await valuesOf(change.mid);
        const whole = new Float64Array(rank * width);
        for (let r = 0; r < rank; r++)
          for (let q = 0; q < rank; q++)
            for (let i = 0; i < width; i++)
              whole[r * width + i]! +=
                mid[(r * rank + q) * taps + (i % taps)]! * down[q * inputs + Math.floor(i / taps)]!;
        down = whole;
      }
      return product(await valuesOf(change.up), down, rank).map((value) => value * change.scale);
    }
    case "input-low-rank": {
      const mixed = product(await valuesOf(change.up), await valuesOf(change.down), change.down.shape[0]!);
      return onInputs(weight, inputs, taps, mixed).map((value) => value * change.scale);
    }
    case "difference":
      return await valuesOf(change.weight);
    case "scale": {
      const values = await valuesOf(change.values);
      return weight.map(
        (value, i) => value * values[change.onInput ? Math.floor((i % width) / taps) : Math.floor(i / width)]!,
      );
    }
    case "rotation": {
      const channels = change.onInput ? inputs : out;
      let turn = diagonal(new Float64Array(channels).fill(1));
      for (const { blocks, stride } of change.factors) {
        turn = product(await factorMatrix(blocks, stride), turn, channels);
      }
      if (change.onInput) return minus(onInputs(weight, inputs, taps, turn));
      const rescale = change.rescale ? await valuesOf(change.rescale) : new Float64Array(channels).fill(1);
      return minus(product(product(diagonal(rescale), turn, channels), weight, channels));
    }
    case "magnitude": {
      const more = await difference(weight, shape, change.change);
      const whole = weight.map((value, i) => value + more[i]!);
      const place = (i: number) => (change.onInput ? Math.floor((i % width) / taps) : Math.floor(i / width));
      const squares = new Float64Array(change.onInput ? inputs : out);
      whole.forEach((value, i) => {
        squares[place(i)]! += value * value;
      });
      const magnitude = await valuesOf(change.magnitude);
      return minus(whole.map((value, i) => (value * magnitude[place(i)]!) / Math.sqrt(squares[place(i)]!)));
    }
    case "bias":
      throw new Error("a bias is no weight");
  }
}

/** a [N, K] b [K, M] */
function product(a: Float64Array, b: Float64Array, depth: number): Float64Array {
  const [rows, columns] = [a.length / depth, b.length / depth];
  const made = new Float64Array(rows * columns);
  for (let i = 0; i < rows; i++)
    for (let k = 0; k < depth; k++)
      for (let j = 0; j < columns; j++) made[i * columns + j]! += a[i * depth + k]! * b[k * columns + j]!;
  return made;
}

/** W [out, in, taps] M [in, in], over the inputs. */
function onInputs(weight: Float64Array, inputs: number, taps: number, mixing: Float64Array): Float64Array {
  const made = new Float64Array(weight.length);
  const width = inputs * taps;
  for (let o = 0; o < weight.length / width; o++)
    for (let i = 0; i < inputs; i++)
      for (let j = 0; j < inputs; j++)
        for (let t = 0; t < taps; t++)
          made[o * width + j * taps + t]! += weight[o * width + i * taps + t]! * mixing[i * inputs + j]!;
  return made;
}

function diagonal(values: Float64Array): Float64Array {
  const made = new Float64Array(values.length ** 2);
  values.forEach((value, i) => {
    made[i * values.length + i] = value;
  });
  return made;
}

/** Blocks along the diagonal, of channels [n, 2, stride] read as [n, stride, 2]. */
async function factorMatrix(blocks: TensorEntry, stride: number): Promise<Float64Array> {
  const [count, width] = blocks.shape as [number, number, number];
  const values = await valuesOf(blocks);
  const channels = count * width;
  // The channel that stands at each place.
  const order = Array.from({ length: channels }, (_, place) => {
    if (stride === 1) return place;
    const [pair, which, of] = [Math.floor(place / 2) % stride, place % 2, Math.floor(place / (2 * stride))];
    return of * 2 * stride + which * stride + pair;
  });
  const made = new Float64Array(channels ** 2);
  for (let b = 0; b < count; b++)
    for (let i = 0; i < width; i++)
      for (let j = 0; j < width; j++)
        made[order[b * width + i]! * channels + order[b * width + j]!] = values[(b * width + i) * width + j]!;
  return made;
}

/** A table with adapters merged. `strengths`: of each adapter. */
export async function mergedTable(
  table: TensorTable,
  component: string,
  adapters: readonly Adapter[],
  strengths: readonly number[],
): Promise<TensorTable> {
  const merged = new Map<string, TensorEntry>();
  for (const [name, entry] of table) {
    const [layer, role] = [name.slice(0, name.lastIndexOf(".")), name.slice(name.lastIndexOf(".") + 1)];
    const own = await valuesOf(entry);
    const values = Float64Array.from(own);
    let changed = false;
    for (const [i, { layers }] of adapters.entries()) {
      for (const change of layers.get(component)?.get(layer) ?? []) {
        if ((change.kind === "bias") !== (role === "bias")) continue;
        const more = change.kind === "bias" ? await valuesOf(change.bias) : await difference(own, entry.shape, change);
        more.forEach((value, at) => {
          values[at]! += strengths[i]! * value;
        });
        changed = true;
      }
    }
    merged.set(name, changed ? tensorOf(name, entry.shape, values) : entry);
  }
  return merged;
}

/** A component with adapters merged. `strengths`: of each adapter. */
export async function mergedComponent(
  { table }: Component,
  id: string,
  adapters: readonly Adapter[],
  strengths: readonly number[],
): Promise<Component> {
  return { table: await mergedTable(table, id, adapters, strengths) };
}
