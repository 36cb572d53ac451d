/** @file Dispatches of one product: its kernel variant, parameters, and the windows of large tensors. Pure. */

import { gemmKernel } from "../kernels/gemm.ts";
import { matrixKernel } from "../kernels/gemm-matrix.ts";
import { chooseMatrixTile } from "../kernels/gemm-matrix-tiles.ts";
import { chooseTile, type ProductShape, TILES, type Tile, type TileName } from "../kernels/gemm-tiles.ts";
import { type GemmParams, type GemmSlots, TILE_GROUP } from "../kernels/gemm-variant.ts";
import type { Activation, StorageType } from "../kernels/wgsl.ts";
import { BYTE_COST, type DispatchBuilder, type OperandUse, type Window } from "./dispatches.ts";
import type { ImageSource } from "./fused-nodes.ts";
import { BASELINE, type KernelPaths } from "./paths.ts";

/** Which tile a product gets; may hang on measurements, because no tile changes a bit. */
export type TileChoice = (shape: ProductShape) => TileName;

export interface Matrix {
  readonly storage: number;
  /** Of its first element. */
  readonly start?: number;
  /** Elements from row to row. Default: as many as there are columns. */
  readonly stride?: number;
}

export interface Product {
  readonly label: string;
  readonly a: Matrix;
  /** The second half of the channels of an image, from `first` on. */
  readonly concatenated?: { readonly storage: number; readonly first: number };
  readonly image?: ImageSource;
  readonly b: Matrix & { readonly type: StorageType };
  readonly bias?: { readonly storage: number; readonly type: StorageType };
  readonly channels?: { readonly storage: number; readonly pixels: number };
  readonly residual?: number;
  readonly out: Matrix;
  readonly rows: number;
  /** Of the output. */
  readonly columns: number;
  readonly depth: number;
  readonly geglu?: boolean;
  readonly activation?: Activation;
  readonly factor?: number;
}

export function addProduct(
  builder: DispatchBuilder,
  p: Product,
  choose: TileChoice = chooseTile,
  paths: KernelPaths = BASELINE,
): void {
  const { rows, columns, depth, image } = p;
  const geglu = p.geglu ?? false;
  const shape: ProductShape = { rows, columns: geglu ? 2 * columns : columns, depth, geglu };
  const { matrix } = paths;
  const name = matrix ? chooseMatrixTile(shape, matrix) : choose(shape);
  const tile: Pick<Tile, "rows" | "columns"> = TILES[name];
  const tilesM = Math.ceil(rows / tile.rows);
  const tilesN = Math.ceil(columns / (geglu ? tile.columns / 2 : tile.columns));
  const group = Math.min(TILE_GROUP, tilesM);
  const lda = p.a.stride ?? depth;
  const ldb = p.b.stride ?? depth;
  const ldc = p.out.stride ?? columns;
  const [aStart, bStart, cStart] = [p.a.start ?? 0, p.b.start ?? 0, p.out.start ?? 0];
  const channelsIn = image ? depth / (image.kernelHeight * image.kernelWidth) : 0;
  const channelsFirst = p.concatenated?.first ?? channelsIn;
  const fours = (...counts: number[]) => counts.every((count) => count % 4 === 0);
  const quadK = image ? fours(channelsIn, channelsFirst, ldb, bStart) : fours(depth, lda, ldb, aStart, bStart);
  const quadN = fours(columns, ldc, cStart);
  // One tensor in two roles is one binding and must be read alike.
  const shared =
    (p.residual !== undefined && (p.residual === p.a.storage || p.residual === p.concatenated?.storage)) ||
    (p.channels !== undefined && p.channels.storage === p.a.storage) ||
    p.residual === p.b.storage;
  const quads = shared ? { quadK: quadK && quadN, quadN: quadK && quadN } : { quadK, quadN };

  const rowsOf = (first: number, last: number) => {
    const perGroup = group * tilesN;
    const from = Math.floor(first / perGroup) * group * tile.rows;
    const to = Math.min(rows, Math.ceil(last / perGroup) * group * tile.rows);
    return [from, to] as const;
  };
  const aWindow: Window = (first, last) => {
    const [from, to] = rowsOf(first, last);
    if (image) return imageWindow(image, from, to, channelsFirst);
    return [(aStart + from * lda) * 4, (aStart + to * lda) * 4];
  };
  const cWindow: Window = (first, last) => {
    const [from, to] = rowsOf(first, last);
    return [(cStart + from * ldc) * 4, (cStart + to * ldc) * 4];
  };
  const operands: OperandUse[] = [
    { name: "a", storage: p.a.storage, window: aWindow },
    { name: "b", storage: p.b.storage },
    { name: "out", storage: p.out.storage, window: cWindow },
  ];
  if (p.concatenated) {
    const window: Window = (first, last) => imageWindow(image!, ...rowsOf(first, last), channelsIn - channelsFirst);
    operands.push({ name: "a2", storage: p.concatenated.storage, window });
  }
  if (p.bias) operands.push({ name: "bias", storage: p.bias.storage });
  if (p.channels) operands.push({ name: "channels", storage: p.channels.storage });
  if (p.residual !== undefined) operands.push({ name: "residual", storage: p.residual, window: cWindow });

  const params: GemmParams = {
    m: rows,
    n: columns,
    k: depth,
    lda,
    ldb,
    ldc,
    aStart,
    bStart,
    cStart,
    tilesM,
    tilesN,
    group,
    factor: p.factor ?? 1,
    pixels: p.channels?.pixels,
    ...(image ? { ...imageParams(image), channelsIn, channelsFirst } : {}),
  };
  builder.add({
    label: p.label,
    operands,
    kernel: (slots) => {
      const variant = {
        slots: slots as unknown as GemmSlots,
        bStorage: p.b.type,
        biasStorage: p.bias?.type,
        conv: image && { upsample: isUpsampled(image) },
        ...quads,
        geglu,
        activation: p.activation,
      };
      return matrix
        ? matrixKernel({ ...variant, tile: chooseMatrixTile(shape, matrix) }, matrix)
        : gemmKernel({ ...variant, tile: name, arithmetic: paths.products });
    },
    workgroups: tilesM * tilesN,
    params,
    costPerWorkgroup: tile.rows * tile.columns * (2 * depth + 4 * BYTE_COST),
    cutWorkgroups: group * tilesN,
  });
}

function isUpsampled({ inHeight, inWidth, gridHeight, gridWidth }: ImageSource): boolean {
  return inHeight !== gridHeight || inWidth !== gridWidth;
}

function imageParams({ kernelHeight: _, ...image }: ImageSource) {
  return image;
}

/** Bytes of an image of `channels` that output rows (pixels) [from, to) read. */
function imageWindow(image: ImageSource, from: number, to: number, channels: number): readonly [number, number] {
  const { inHeight, inWidth, gridHeight, outHeight, outWidth, kernelHeight, stride, padTop } = image;
  const source = (grid: number) => Math.floor((Math.min(Math.max(grid, 0), gridHeight - 1) * inHeight) / gridHeight);
  const outRow = (pixel: number) => ({
    image: Math.floor(pixel / (outHeight * outWidth)),
    row: Math.floor((pixel % (outHeight * outWidth)) / outWidth),
  });
  const start = outRow(from);
  const end = outRow(to - 1);
  const first = start.image * inHeight + source(start.row * stride - padTop);
  const last = end.image * inHeight + source(end.row * stride - padTop + kernelHeight - 1);
  return [first * inWidth * channels * 4, (last + 1) * inWidth * channels * 4];
}
