/** @file Ops that only move elements: embedding, reshape, tokens and images, upsampling, concat, slice. */
import { elementCount } from "../../tensor/dtype.ts";
import { floats, integers, type Kernel, shapeOf } from "./tensor.ts";

/** table [V, C], ids [...] i32 -> [..., C]. Throws RangeError on an id outside of the table. */
export const embedding: Kernel<"embedding"> = (inputs) => {
  const table = floats(inputs, 0);
  const ids = integers(inputs, 1);
  const [rows, channels] = shapeOf(inputs, 0) as [number, number];
  const out = new Float32Array(ids.length * channels);
  ids.forEach((id, i) => {
    if (id < 0 || id >= rows) throw new RangeError(`embedding: id ${id} in a table of ${rows} rows`);
    out.set(table.subarray(id * channels, (id + 1) * channels), i * channels);
  });
  return out;
};

/** Same data, another shape. */
export const reshape: Kernel<"reshape"> = (inputs) => floats(inputs, 0);

/** Each of `batch` matrices [rows, columns] -> [columns, rows]. */
function transpose(x: Float32Array, batch: number, rows: number, columns: number): Float32Array {
  const out = new Float32Array(x.length);
  for (let b = 0, at = 0; b < batch; b++) {
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) out[(b * columns + column) * rows + row] = x[at++]!;
    }
  }
  return out;
}

/** x [B, C, H, W] -> [B, H W, C]. */
export const toTokens: Kernel<"toTokens"> = (inputs, _attrs, [batch, tokens, channels]) =>
  transpose(floats(inputs, 0), batch!, channels!, tokens!);

/** x [B, H W, C] -> [B, C, H, W]. */
export const toImage: Kernel<"toImage"> = (inputs, { height, width }, [batch, channels]) =>
  transpose(floats(inputs, 0), batch!, height * width, channels!);

/** x [B, C, H, W] -> [B, C, height, width]: source index floor(i * in / out). */
export const upsampleNearest: Kernel<"upsampleNearest"> = (inputs, { height, width }, shape) => {
  const x = floats(inputs, 0);
  const [, , inHeight, inWidth] = shapeOf(inputs, 0) as [number, number, number, number];
  const planes = shape[0]! * shape[1]!;
  const out = new Float32Array(elementCount(shape));
  const columns = Array.from({ length: width }, (_, i) => Math.floor((i * inWidth) / width));
  for (let plane = 0, at = 0; plane < planes; plane++) {
    for (let y = 0; y < height; y++) {
      const row = (plane * inHeight + Math.floor((y * inHeight) / height)) * inWidth;
      for (let i = 0; i < width; i++) out[at++] = x[row + columns[i]!]!;
    }
  }
  return out;
};

/** a [.., A, ..], b [.., B, ..] -> [.., A+B, ..] on `axis`. */
export const concat: Kernel<"concat"> = (inputs, { axis }, shape) => {
  const a = floats(inputs, 0);
  const b = floats(inputs, 1);
  const aRun = elementCount(shapeOf(inputs, 0).slice(axis));
  const bRun = elementCount(shapeOf(inputs, 1).slice(axis));
  const out = new Float32Array(elementCount(shape));
  const runs = elementCount(shape.slice(0, axis));
  for (let i = 0; i < runs; i++) {
    out.set(a.subarray(i * aRun, (i + 1) * aRun), i * (aRun + bRun));
    out.set(b.subarray(i * bRun, (i + 1) * bRun), i * (aRun + bRun) + aRun);
  }
  return out;
};

/** x [.., A, ..] -> [.., to-from, ..] of `axis`. */
export const slice: Kernel<"slice"> = (inputs, { axis, from, to }, shape) => {
  const x = floats(inputs, 0);
  const inner = elementCount(shape.slice(axis + 1));
  const stride = shapeOf(inputs, 0)[axis]! * inner;
  const run = (to - from) * inner;
  const out = new Float32Array(elementCount(shape));
  for (let i = 0; i * run < out.length; i++) {
    const start = i * stride + from * inner;
    out.set(x.subarray(start, start + run), i * run);
  }
  return out;
};
