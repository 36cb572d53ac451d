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
  const plane = planeElements(shape);
  for (const { deviceAt, hostAt, pixels, channels } of stretchesOf(shape, first, part.length)) {
    for (let from = 0; from < pixels; from += TILE_PIXELS) {
      const to = Math.min(pixels, from + TILE_PIXELS);
      for (let channel = 0; channel < channels; channel++) {
        const source = hostAt + channel * plane;
        for (let pixel = from, at = deviceAt + from * channels + channel; pixel < to; pixel++, at += channels) {
          part[at] = host[source + pixel]!;
        }
      }
    }
  }
}

/** Puts what memory holds from its element `first` on to its places in host order. */
export function scatterFromDevice(shape: readonly number[], first: number, part: HostData, host: HostData): void {
  const plane = planeElements(shape);
  for (const { deviceAt, hostAt, pixels, channels } of stretchesOf(shape, first, part.length)) {
    for (let from = 0; from < pixels; from += TILE_PIXELS) {
      const to = Math.min(pixels, from + TILE_PIXELS);
      for (let channel = 0; channel < channels; channel++) {
        const target = hostAt + channel * plane;
        for (let pixel = from, at = deviceAt + from * channels + channel; pixel < to; pixel++, at += channels) {
          host[target + pixel] = part[at]!;
        }
      }
    }
  }
}

/** Pixels that are moved together, a channel after the other: what they take in both orders stays in a processor's nearest cache. */
const TILE_PIXELS = 64;

function planeElements([, , height, width]: readonly number[]): number {
  return height! * width!;
}

/** Pixels side by side with these of their channels: in memory from `deviceAt` of a part on, on the host from `hostAt` on. */
interface PixelStretch {
  readonly deviceAt: number;
  readonly hostAt: number;
  readonly pixels: number;
  readonly channels: number;
}

/** `count` elements from `first` on in memory's order, [B, pixels, C]: what is left of a pixel, whole pixels of one image, a beginning. */
function stretchesOf(shape: readonly number[], first: number, count: number): readonly PixelStretch[] {
  const channels = shape[1]!;
  const plane = planeElements(shape);
  const stretches: PixelStretch[] = [];
  for (let done = 0; done < count; ) {
    const at = first + done;
    const channel = at % channels;
    const pixel = Math.floor(at / channels) % plane;
    const hostAt = Math.floor(at / (channels * plane)) * channels * plane + channel * plane + pixel;
    const wholePixels = Math.min(plane - pixel, Math.floor((count - done) / channels));
    const whole = channel === 0 && wholePixels > 0;
    const taken = whole
      ? { pixels: wholePixels, channels }
      : { pixels: 1, channels: Math.min(channels - channel, count - done) };
    stretches.push({ deviceAt: done, hostAt, ...taken });
    done += taken.pixels * taken.channels;
  }
  return stretches;
}
