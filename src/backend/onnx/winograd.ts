/**
 * @file 3x3 convolutions by Winograd's minimal filtering F(4x4, 3x3) (Lavin & Gray 2015, arXiv:1509.09308), spelled in ONNX
 * ops: a quarter of the multiplications, and ONNX Runtime's fastest kernel (MatMul) for nearly all of them.
 * B batch, C channels, O output channels, T tiles, h w tile rows and columns. Measurements: docs/decisions/onnx-lowering.md.
 */
import type { ValueId } from "../../ir/graph.ts";
import type { Emitter } from "./emitter.ts";

export interface ConvShape {
  /** [B, C, H, W] */
  readonly x: readonly number[];
  /** [O, C, kh, kw] */
  readonly w: readonly number[];
  readonly stride: number;
  readonly pad: readonly number[];
}

/** Output rows and columns of a tile; the input of a tile has two more. */
const TILE = 4;
const INPUT_TILE = TILE + 2;
const POSITIONS = INPUT_TILE ** 2;

/**
 * Seconds, from measurements on two AVX2 cores: a multiply-add of a large product, an element of the transformed input or
 * output on its way through memory, a transformed weight. Only their ratios matter, and only shapes enter: the choice,
 * and with it every bit of the result, never hangs on the machine's state.
 */
const COST = { multiplyAdd: 12.5e-12, transformed: 1.5e-9, weight: 2e-9 };
/** Transformed input and output at once: bounds memory, and keeps a band near the caches. */
const BAND_BYTES = 16 * 1024 ** 2;

/** True where the transforms cost less than the multiplications they save. A function of shapes alone. */
export function winogradPays({ x, w, stride, pad }: ConvShape): boolean {
  const [outChannels, channels, kernelHeight, kernelWidth] = w as [number, number, number, number];
  if (kernelHeight !== 3 || kernelWidth !== 3 || stride !== 1) return false;
  if (pad.some((side) => side !== 0 && side !== 1)) return false;
  const { batch, height, width } = outputOf({ x, pad });
  const tiles = batch * Math.ceil(height / TILE) * Math.ceil(width / TILE);
  const pairs = channels * outChannels;
  const direct = batch * height * width * pairs * 9 * COST.multiplyAdd;
  const products = tiles * pairs * POSITIONS * COST.multiplyAdd;
  const traffic = tiles * (channels + outChannels) * POSITIONS * COST.transformed;
  return direct > products + traffic + pairs * POSITIONS * COST.weight;
}

/** Batch, rows and columns of the result. */
function outputOf({ x, pad }: Pick<ConvShape, "x" | "pad">) {
  const [batch, , height, width] = x as [number, number, number, number];
  const [top, left, bottom, right] = pad as [number, number, number, number];
  return { batch, height: height + top + bottom - 2, width: width + left + right - 2 };
}

/**
 * Most bytes of temporaries at once: transformed weights, a band's input and products twice (before and after moves), all
 * bands' results twice (in parts and joined).
 */
export function winogradScratchBytes({ x, w, pad }: Pick<ConvShape, "x" | "w" | "pad">): number {
  const { batch, height, width } = outputOf({ x, pad });
  const [outChannels, channels] = w as [number, number];
  const [tileRows, tileColumns] = [Math.ceil(height / TILE), Math.ceil(width / TILE)];
  const rowBytes = batch * tileColumns * (channels + outChannels) * POSITIONS * 4;
  const rows = Math.max(...tileBands(tileRows, rowBytes, BAND_BYTES).map(([from, to]) => to - from));
  const results = batch * outChannels * tileRows * tileColumns * TILE ** 2 * 4;
  return channels * outChannels * POSITIONS * 4 + 2 * rows * rowBytes + 2 * results;
}

/** Emits the convolution of x by w (fp32 names), each side padded by 0 or 1, into `output` [B, O, H', W']; `bandBytes` is for tests. */
export function lowerWinograd(
  e: Emitter,
  { x, w, pad }: ConvShape,
  names: { readonly x: string; readonly w: string; readonly b?: string },
  output: ValueId,
  bandBytes: number = BAND_BYTES,
): void {
  const [, channels, inHeight, inWidth] = x as [number, number, number, number];
  const [padTop, padLeft] = pad as [number, number];
  const { batch, height, width } = outputOf({ x, pad });
  const [outChannels] = w as [number];
  const [tileRows, tileColumns] = [Math.ceil(height / TILE), Math.ceil(width / TILE)];
  const matrices = winogradMatrices();
  const matrix = (rows: readonly (readonly number[])[], shape: readonly number[]) =>
    e.constant("f32", shape, rows.flat());
  const inputTransform = matrix(kronecker(matrices.input, matrices.input), [POSITIONS, 1, INPUT_TILE, INPUT_TILE]);
  const outputTransform = matrix(kronecker(matrices.output, matrices.output), [TILE ** 2, POSITIONS]);

  const kernels = e.reshape(names.w, [outChannels * channels, 9]);
  const weightTransform = matrix(kronecker(matrices.weight, matrices.weight), [POSITIONS, 9]);
  const transformed = e.temporary("Gemm", [weightTransform, kernels], { transB: 1 });
  const weights = e.reshape(transformed, [POSITIONS, outChannels, channels]);

  const planes = e.reshape(names.x, [batch * channels, 1, inHeight, inWidth]);
  const bands = tileBands(tileRows, batch * tileColumns * (channels + outChannels) * POSITIONS * 4, bandBytes);
  const parts = bands.map(([from, to]) => {
    const rows = to - from;
    const tiles = rows * tileColumns;
    // The band's input with its halo; what the picture lacks at its edges is padding.
    const [first, end] = [from * TILE - padTop, to * TILE + 2 - padTop];
    const [top, bottom] = [Math.max(0, first), Math.min(inHeight, end)];
    const band = top === 0 && bottom === inHeight ? planes : e.slice(planes, 2, top, bottom);
    const pads = [top - first, padLeft, end - bottom, tileColumns * TILE + 2 - padLeft - inWidth];
    const strides = [TILE, TILE];
    // As a convolution of single planes: one output channel for each position of the tile. [B C, 36, h, w]
    const spread = e.temporary("Conv", [band, inputTransform], {
      kernel_shape: [INPUT_TILE, INPUT_TILE],
      strides,
      pads,
    });
    const byPosition = e.temporary("Transpose", [e.reshape(spread, [batch, channels, POSITIONS, tiles])], {
      perm: [2, 1, 0, 3],
    });
    const inputs = e.reshape(byPosition, [POSITIONS, channels, batch * tiles]);
    const products = e.temporary("MatMul", [weights, inputs]); // [36, O, B T]
    const columns = outChannels * batch * tiles;
    const flat = e.reshape(products, [POSITIONS, columns]);
    const bias = names.b && e.expand(e.reshape(names.b, [outChannels, 1]), [outChannels, batch * tiles]);
    const pixels = e.temporary("Gemm", [outputTransform, flat, ...(bias ? [e.reshape(bias, [1, columns])] : [])]); // [16, O B T]
    // In two moves of one axis each, which ONNX Runtime has fast code for, instead of one of all six.
    const lines = e.temporary("Transpose", [e.reshape(pixels, [TILE, TILE, columns])], { perm: [0, 2, 1] });
    const byLine = e.reshape(lines, [TILE, columns / tileColumns, tileColumns * TILE]);
    const placed = e.temporary("Transpose", [byLine], { perm: [1, 0, 2] }); // [O B h, 4, W]
    const byImage = [outChannels, batch, rows * TILE, tileColumns * TILE];
    const whole =
      batch === 1
        ? e.reshape(placed, [1, outChannels, ...byImage.slice(2)])
        : e.temporary("Transpose", [e.reshape(placed, byImage)], { perm: [1, 0, 2, 3] });
    const narrow = tileColumns * TILE === width ? whole : e.slice(whole, 3, 0, width);
    return to * TILE <= height ? narrow : e.slice(narrow, 2, 0, height - from * TILE);
  });
  if (parts.length === 1) e.emit("Identity", parts, output);
  else e.emit("Concat", parts, output, { axis: 2 });
}

/** Rows of tiles in bands of nearly equal height, each within `bandBytes` where one row of tiles is. */
function tileBands(
  tileRows: number,
  bytesPerTileRow: number,
  bandBytes: number,
): (readonly [from: number, to: number])[] {
  const perBand = Math.max(1, Math.floor(bandBytes / bytesPerTileRow));
  const count = Math.ceil(tileRows / perBand);
  return Array.from({ length: count }, (_, i) => [
    Math.floor((i * tileRows) / count),
    Math.floor(((i + 1) * tileRows) / count),
  ]);
}

export interface WinogradMatrices {
  /** [6, 6], applied to input tiles on both sides. */
  readonly input: readonly (readonly number[])[];
  /** [6, 3], applied to kernels. */
  readonly weight: readonly (readonly number[])[];
  /** [4, 6], applied to products. */
  readonly output: readonly (readonly number[])[];
}

/**
 * The Toom-Cook matrices of the points 0, +-sqrt(1/2), +-sqrt(2) and infinity: with these fp32 rounding stays within 6 times
 * that of the direct sum (the usual 0, +-1, +-2: 12 times).
 */
export function winogradMatrices(): WinogradMatrices {
  const points = [0, Math.SQRT1_2, -Math.SQRT1_2, Math.SQRT2, -Math.SQRT2];
  const others = (i: number) => points.filter((_, j) => j !== i);
  /** Coefficients of the product of (x - p), lowest power first, over six powers. */
  const product = (roots: readonly number[]) => {
    let coefficients = [1, 0, 0, 0, 0, 0];
    for (const root of roots) coefficients = coefficients.map((c, i) => (coefficients[i - 1] ?? 0) - root * c);
    return coefficients;
  };
  const normalizer = (i: number) => others(i).reduce((value, other) => value * (points[i]! - other), 1);
  const powers = (point: number, count: number) => Array.from({ length: count }, (_, power) => point ** power);
  return {
    input: [...points.map((_, i) => product(others(i))), product(points)],
    weight: [...points.map((point, i) => powers(point, 3).map((value) => value / normalizer(i))), [0, 0, 1]],
    output: Array.from({ length: TILE }, (_, row) => [
      ...points.map((point) => point ** row),
      row === TILE - 1 ? 1 : 0,
    ]),
  };
}

/** Applying both matrices, one from each side, to a tile written as a vector. */
function kronecker(a: readonly (readonly number[])[], b: readonly (readonly number[])[]): number[][] {
  return a.flatMap((left) => b.map((right) => left.flatMap((x) => right.map((y) => x * y))));
}
