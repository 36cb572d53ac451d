/**
 * @file Products of matrices: linear, and conv2d as patches times weights. fp64 accumulation, fp32 results.
 * Both operands run along their rows, so every inner loop reads contiguous memory.
 */
import { elementCount } from "../../tensor/dtype.ts";
import { floats, type Kernel, shapeOf } from "./tensor.ts";

/** Where `matmulTransposed` puts entry (row, column): `offset + row * rowStride + column * columnStride`. */
interface Placement {
  readonly out: Float32Array;
  readonly offset: number;
  readonly rowStride: number;
  readonly columnStride: number;
}

/** a [M, K] times b [N, K] transposed, plus bias [N] if given. Two rows by four columns at once keep the loads few. */
function matmulTransposed(
  a: Float32Array,
  b: Float32Array,
  bias: Float32Array | undefined,
  [rows, columns, depth]: readonly [number, number, number],
  { out, offset, rowStride, columnStride }: Placement,
): void {
  const dot = (row: number, column: number) => {
    let sum = 0;
    for (let k = 0, i = row * depth, j = column * depth; k < depth; k++) sum += a[i++]! * b[j++]!;
    out[offset + row * rowStride + column * columnStride] = sum + (bias ? bias[column]! : 0);
  };
  const evenRows = rows - (rows % 2);
  const wholeColumns = columns - (columns % 4);
  for (let column = 0; column < wholeColumns; column += 4) {
    const b0 = column * depth;
    const b1 = b0 + depth;
    const b2 = b1 + depth;
    const b3 = b2 + depth;
    const c0 = bias ? bias[column]! : 0;
    const c1 = bias ? bias[column + 1]! : 0;
    const c2 = bias ? bias[column + 2]! : 0;
    const c3 = bias ? bias[column + 3]! : 0;
    for (let row = 0; row < evenRows; row += 2) {
      const a0 = row * depth;
      const a1 = a0 + depth;
      let s00 = c0;
      let s01 = c1;
      let s02 = c2;
      let s03 = c3;
      let s10 = c0;
      let s11 = c1;
      let s12 = c2;
      let s13 = c3;
      for (let k = 0; k < depth; k++) {
        const x = a[a0 + k]!;
        const y = a[a1 + k]!;
        const w0 = b[b0 + k]!;
        const w1 = b[b1 + k]!;
        const w2 = b[b2 + k]!;
        const w3 = b[b3 + k]!;
        s00 += x * w0;
        s01 += x * w1;
        s02 += x * w2;
        s03 += x * w3;
        s10 += y * w0;
        s11 += y * w1;
        s12 += y * w2;
        s13 += y * w3;
      }
      const o = offset + row * rowStride + column * columnStride;
      out[o] = s00;
      out[o + columnStride] = s01;
      out[o + 2 * columnStride] = s02;
      out[o + 3 * columnStride] = s03;
      out[o + rowStride] = s10;
      out[o + rowStride + columnStride] = s11;
      out[o + rowStride + 2 * columnStride] = s12;
      out[o + rowStride + 3 * columnStride] = s13;
    }
    for (let row = evenRows; row < rows; row++) for (let i = 0; i < 4; i++) dot(row, column + i);
  }
  for (let column = wholeColumns; column < columns; column++) for (let row = 0; row < rows; row++) dot(row, column);
}

/** x [..., K], w [N, K], bias? [N] -> [..., N]. */
export const linear: Kernel<"linear"> = (inputs, _attrs, shape) => {
  const [columns, depth] = shapeOf(inputs, 1) as [number, number];
  const out = new Float32Array(elementCount(shape));
  const rows = out.length / columns;
  const bias = inputs.length > 2 ? floats(inputs, 2) : undefined;
  const placement = { out, offset: 0, rowStride: columns, columnStride: 1 };
  matmulTransposed(floats(inputs, 0), floats(inputs, 1), bias, [rows, columns, depth], placement);
  return out;
};

/** Patches are gathered for a band of output rows at a time, about this many values, to bound the memory. */
const PATCH_ELEMENTS = 1 << 20;

/** x [B, Ci, H, W], w [Co, Ci, kh, kw], bias? [Co] -> [B, Co, H', W']. */
export const conv2d: Kernel<"conv2d"> = (inputs, { stride, pad }, shape) => {
  const x = floats(inputs, 0);
  const w = floats(inputs, 1);
  const bias = inputs.length > 2 ? floats(inputs, 2) : undefined;
  const [, inChannels, inHeight, inWidth] = shapeOf(inputs, 0) as [number, number, number, number];
  const [, , kernelHeight, kernelWidth] = shapeOf(inputs, 1) as [number, number, number, number];
  const [batch, outChannels, outHeight, outWidth] = shape as [number, number, number, number];
  const [top, left] = pad;
  const out = new Float32Array(elementCount(shape));
  const depth = inChannels * kernelHeight * kernelWidth;
  const bandRows = Math.min(outHeight, Math.max(1, Math.floor(PATCH_ELEMENTS / (depth * outWidth))));
  const patches = new Float32Array(bandRows * outWidth * depth);
  for (let image = 0; image < batch; image++) {
    for (let firstRow = 0; firstRow < outHeight; firstRow += bandRows) {
      const rows = Math.min(bandRows, outHeight - firstRow);
      let at = 0;
      for (let oy = firstRow; oy < firstRow + rows; oy++) {
        for (let ox = 0; ox < outWidth; ox++) {
          for (let channel = 0; channel < inChannels; channel++) {
            const plane = (image * inChannels + channel) * inHeight;
            for (let ky = 0; ky < kernelHeight; ky++) {
              const iy = oy * stride + ky - top;
              const rowInside = iy >= 0 && iy < inHeight;
              const rowStart = (plane + iy) * inWidth;
              for (let kx = 0; kx < kernelWidth; kx++) {
                const ix = ox * stride + kx - left;
                patches[at++] = rowInside && ix >= 0 && ix < inWidth ? x[rowStart + ix]! : 0;
              }
            }
          }
        }
      }
      const placement = {
        out,
        offset: image * outChannels * outHeight * outWidth + firstRow * outWidth,
        rowStride: 1,
        columnStride: outHeight * outWidth,
      };
      matmulTransposed(patches, w, bias, [rows * outWidth, outChannels, depth], placement);
    }
  }
  return out;
};
