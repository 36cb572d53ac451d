/** @file What DoRA multiplies a layer by: magnitude / norm(V), made from the layer's own weight once, when it is first read, a strip of rows at a time. */
import type { TensorEntry } from "../container/table.ts";
import type { ByteSource } from "../source/source.ts";
import { DTYPE_BYTES, elementCount, toFloat32 } from "../tensor/dtype.ts";
import type { DifferenceChange, LowRankChange, MadeTensor } from "./layer-change.ts";
import { PackedMatrix } from "./made/packed-matrix.ts";

/** Of V that are in memory at a time. */
const STRIP_BYTES = 1024 ** 2;

/**
 * [out], or [in] where `onInput`, in fp32. V [out, in, ...] = weight + the change at full strength; its norm is taken over all axes but the magnitude's. Where
 * V is nothing, so is the gain.
 */
export function gainTensor(
  magnitude: MadeTensor,
  weight: TensorEntry,
  change: LowRankChange | DifferenceChange,
  onInput: boolean,
): MadeTensor {
  const source = new GainSource(magnitude, weight, change, onInput);
  const shape = [source.byteLength / 4];
  return { ...magnitude, dtype: "f32", shape, source, startByte: 0, endByte: source.byteLength };
}

class GainSource implements ByteSource {
  readonly name: string;
  readonly file: ByteSource["file"];
  readonly byteLength: number;
  readonly readingBytes: number;
  /** Memory that it holds once it was read. */
  readonly keptBytes: number;
  readonly #magnitude: MadeTensor;
  readonly #weight: TensorEntry;
  readonly #change: LowRankChange | DifferenceChange;
  readonly #onInput: boolean;
  #made: Promise<Uint8Array> | undefined;

  constructor(magnitude: MadeTensor, weight: TensorEntry, change: LowRankChange | DifferenceChange, onInput: boolean) {
    this.name = magnitude.source.name;
    this.file = magnitude.source.file;
    this.byteLength = 4 * weight.shape[onInput ? 1 : 0]!;
    this.keptBytes = this.byteLength;
    const width = elementCount(weight.shape.slice(1));
    const isLow = change.kind === "low-rank";
    // Each factor as it is stored, in fp32, and one of them packed.
    const factors = isLow ? 3 * 4 * (change.down.shape[0]! * width + elementCount(change.up.shape)) : 0;
    const read = isLow ? [magnitude, weight, change.down, change.up] : [magnitude, weight, change.weight];
    const below = Math.max(...read.map(({ source }) => source.readingBytes ?? 0));
    this.readingBytes = below + factors + 4 * (STRIP_BYTES + 4 * width);
    this.#magnitude = magnitude;
    this.#weight = weight;
    this.#change = change;
    this.#onInput = onInput;
  }

  async read(startByte: number, into: Uint8Array, signal?: AbortSignal): Promise<void> {
    this.#made ??= this.#make(signal);
    const made = this.#made;
    try {
      into.set((await made).subarray(startByte, startByte + into.byteLength));
    } catch (error) {
      // A failed or stopped reading must not stand for the values.
      if (this.#made === made) this.#made = undefined;
      throw error;
    }
  }

  async #make(signal?: AbortSignal): Promise<Uint8Array> {
    const { shape } = this.#weight;
    const [rows, inputs] = shape as [number, number];
    const width = elementCount(shape.slice(1));
    const squares = new Float64Array(this.#onInput ? inputs : rows);
    const add = await this.#adding(signal);
    const taps = width / inputs;
    const atOnce = Math.max(1, Math.floor(STRIP_BYTES / 4 / width));
    for (let row = 0; row < rows; row += atOnce) {
      signal?.throwIfAborted();
      const count = Math.min(atOnce, rows - row);
      const strip = await readRows(this.#weight, row, count, signal);
      await add(strip, row, count);
      if (this.#onInput) addToInputs(squares, strip, taps);
      else for (let r = 0; r < count; r++) squares[row + r] = squaresOf(strip, r * width, width, taps);
    }
    const magnitude = await readAll(this.#magnitude, signal);
    const gain = Float32Array.from(squares, (square, i) => (square === 0 ? 0 : magnitude[i]! / Math.sqrt(square)));
    return new Uint8Array(gain.buffer);
  }

  /** What adds the change to `count` rows of the weight from `row` on. */
  async #adding(signal?: AbortSignal): Promise<(strip: Float32Array, row: number, count: number) => Promise<void>> {
    const change = this.#change;
    if (change.kind === "difference") {
      return async (strip, row, count) => {
        const more = await readRows(change.weight, row, count, signal);
        for (let i = 0; i < strip.length; i++) strip[i]! += more[i]!;
      };
    }
    const rank = change.down.shape[0]!;
    const [up, down] = [await readAll(change.up, signal), await wholeDown(change, signal)];
    const width = down.length / rank;
    const packed = new PackedMatrix(rank, width);
    for (let r = 0; r < rank; r++) packed.setRow(r, down.subarray(r * width, (r + 1) * width));
    return async (strip, row, count) => {
      const more = new Float32Array(strip.length);
      packed.multiply(up.subarray(row * rank, (row + count) * rank), count, more);
      const { scale } = change;
      for (let i = 0; i < strip.length; i++) strip[i]! += scale * more[i]!;
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

/** Of a row from `at` on: the sum of its inputs' sums. */
function squaresOf(strip: Float32Array, at: number, width: number, taps: number): number {
  let all = 0;
  for (let from = at; from < at + width; from += taps) {
    let sum = 0;
    for (let i = from; i < from + taps; i++) sum += strip[i]! * strip[i]!;
    all += sum;
  }
  return all;
}

function addToInputs(squares: Float64Array, strip: Float32Array, taps: number): void {
  for (let at = 0, input = 0; at < strip.length; input = (input + 1) % squares.length) {
    let sum = 0;
    for (const end = at + taps; at < end; at++) sum += strip[at]! * strip[at]!;
    squares[input]! += sum;
  }
}

/** mid(down) as one: [rank, in, ...], flat. */
async function wholeDown({ down, mid }: LowRankChange, signal?: AbortSignal): Promise<Float32Array> {
  const first = await readAll(down, signal);
  if (!mid) return first;
  const rank = down.shape[0]!;
  const inputs = first.length / rank;
  const middle = await readAll(mid, signal);
  const taps = elementCount(mid.shape.slice(2));
  const whole = new Float32Array(rank * inputs * taps);
  for (let r = 0; r < rank; r++) {
    for (let q = 0; q < rank; q++) {
      for (let i = 0; i < inputs; i++) {
        const value = first[q * inputs + i]!;
        for (let t = 0; t < taps; t++)
          whole[(r * inputs + i) * taps + t]! += value * middle[(r * rank + q) * taps + t]!;
      }
    }
  }
  return whole;
}

/** As fp32, in memory of its own. */
async function readRows(tensor: TensorEntry, row: number, count: number, signal?: AbortSignal): Promise<Float32Array> {
  const { dtype, shape, source, startByte } = tensor;
  const rowBytes = elementCount(shape.slice(1)) * DTYPE_BYTES[dtype];
  const bytes = new Uint8Array(count * rowBytes);
  await source.read(startByte + row * rowBytes, bytes, signal);
  return toFloat32(dtype, bytes);
}

function readAll(tensor: TensorEntry, signal?: AbortSignal): Promise<Float32Array> {
  return readRows(tensor, 0, tensor.shape[0]!, signal);
}
