/**
 * @file How logical tensors lie in device memory. Tensors of four axes (images, convolution weights) have axis 1 last:
 * [B, C, H, W] -> [B, H, W, C], [Co, Ci, kh, kw] -> [Co, kh, kw, Ci]. All others are row-major.
 */
import type { Graph, ValueId } from "../../../ir/graph.ts";
import { alignUp } from "../../../tensor/align.ts";
import { type DType, elementCount } from "../../../tensor/dtype.ts";
import type { HostData, StoredWeight } from "../../device.ts";
import { STORAGE_BYTES, type StorageType } from "../kernels/wgsl.ts";

/** Spans start and end at multiples of this (WebGPU's default offset alignment of bindings). */
export const ALIGNMENT_BYTES = 256;

/** True where the order in memory is the logical one. */
export function isRowMajor(shape: readonly number[]): boolean {
  return shape.length !== 4 || shape[1] === 1 || shape[2]! * shape[3]! === 1;
}

/** The axes in memory order. */
export function physicalShape(shape: readonly number[]): readonly number[] {
  if (shape.length !== 4) return shape;
  const [batch, channels, height, width] = shape as [number, number, number, number];
  return [batch, height, width, channels];
}

/** Element strides in memory of each logical axis. */
export function physicalStrides(shape: readonly number[]): readonly number[] {
  if (shape.length !== 4) return rowMajorStrides(shape);
  const [, channels, height, width] = shape as [number, number, number, number];
  return [channels * height * width, 1, width * channels, channels];
}

export function rowMajorStrides(shape: readonly number[]): readonly number[] {
  const strides = new Array<number>(shape.length).fill(1);
  for (let axis = shape.length - 2; axis >= 0; axis--) strides[axis] = strides[axis + 1]! * shape[axis + 1]!;
  return strides;
}

export function activationBytes(graph: Graph, id: ValueId): number {
  return alignUp(elementCount(graph.values[id]!.shape) * 4, ALIGNMENT_BYTES);
}

/** How a stored weight is kept. Every dtype keeps its exact values, but f64, which is rounded to f32. */
export function weightStorage(dtype: DType): StorageType {
  switch (dtype) {
    case "f16":
    case "bf16":
    case "f32":
      return dtype;
    case "f64":
      return "f32";
    default:
      throw new TypeError(`weights of dtype ${dtype} can't be computed with`);
  }
}

export function weightBytes({ dtype, shape }: StoredWeight): number {
  return alignUp(elementCount(shape) * STORAGE_BYTES[weightStorage(dtype)], ALIGNMENT_BYTES);
}

/** Fills `part` with what memory holds from its element `first` on, of a tensor in host order (row-major, logical). */
export function gatherToDevice(shape: readonly number[], first: number, part: HostData, host: HostData): void {
  move(shape, first, part.length, (deviceAt, hostAt) => {
    part[deviceAt] = host[hostAt]!;
  });
}

/** Puts what memory holds from its element `first` on to its places in host order. */
export function scatterFromDevice(shape: readonly number[], first: number, part: HostData, host: HostData): void {
  if (isRowMajor(shape)) host.set(part, first);
  else
    move(shape, first, part.length, (deviceAt, hostAt) => {
      host[hostAt] = part[deviceAt]!;
    });
}

/** Calls `each` for `count` elements from `first` on, in memory's order, which is [B, pixels, C] of [B, C, pixels]. */
function move(
  shape: readonly number[],
  first: number,
  count: number,
  each: (deviceAt: number, hostAt: number) => void,
): void {
  const [, channels, height, width] = shape as [number, number, number, number];
  const pixels = height * width;
  let channel = first % channels;
  let pixel = Math.floor(first / channels) % pixels;
  let image = Math.floor(first / (channels * pixels)) * channels * pixels;
  for (let i = 0; i < count; i++) {
    each(i, image + channel * pixels + pixel);
    channel++;
    if (channel < channels) continue;
    channel = 0;
    pixel++;
    if (pixel < pixels) continue;
    pixel = 0;
    image += channels * pixels;
  }
}
