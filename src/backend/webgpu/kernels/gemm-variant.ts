/** @file What products differ in, whatever computes them (gemm.ts, gemm-matrix.ts): operands, how they lie, parameters, name. */
import type { TileName } from "./gemm-tiles.ts";
import type { KernelText, ParamFields } from "./kernel.ts";
import { type Activation, type Arithmetic, quadView, type StorageType, scalarView } from "./wgsl.ts";

/** Slots of the operands that a variant has. Equal slots: the same tensor. */
export interface GemmSlots {
  readonly a: number;
  /** Second half of the channels of a concatenated image. */
  readonly a2?: number;
  readonly b: number;
  readonly bias?: number;
  readonly channels?: number;
  readonly residual?: number;
  readonly out: number;
}

export interface GemmVariant {
  readonly tile: TileName;
  readonly slots: GemmSlots;
  readonly bStorage: StorageType;
  readonly biasStorage?: StorageType;
  /** Patches of an image instead of rows. `upsample`: of an image upsampled by nearest neighbours, which is never made. */
  readonly conv?: { readonly upsample: boolean };
  /** K, strides and offsets are multiples of 4: operands are read four values at once. */
  readonly quadK: boolean;
  /** The same of N: results, bias and residual. */
  readonly quadN: boolean;
  readonly geglu: boolean;
  readonly activation?: Activation;
  /** Default "f32". "f16": operands rounded to it, sums of 32 K in it, those sums added in fp32. Needs `shader-f16`. */
  readonly arithmetic?: Arithmetic;
}

const PARAMS = {
  m: "u32",
  n: "u32",
  k: "u32",
  lda: "u32",
  ldb: "u32",
  ldc: "u32",
  aStart: "u32",
  bStart: "u32",
  cStart: "u32",
  tilesM: "u32",
  tilesN: "u32",
  group: "u32",
  factor: "f32",
} as const satisfies ParamFields;

const CONV_PARAMS = {
  inHeight: "i32",
  inWidth: "i32",
  channelsIn: "u32",
  channelsFirst: "u32",
  kernelWidth: "u32",
  outHeight: "u32",
  outWidth: "u32",
  stride: "i32",
  padTop: "i32",
  padLeft: "i32",
  gridHeight: "i32",
  gridWidth: "i32",
} as const satisfies ParamFields;

const PIXELS = { pixels: "u32" } as const satisfies ParamFields;

/** Values of the parameters that a variant reads, besides workgroups and windows. */
export type GemmParams = Readonly<Record<keyof typeof PARAMS, number>> &
  Partial<Readonly<Record<keyof typeof CONV_PARAMS | keyof typeof PIXELS, number>>>;

/** Tiles of rows that are walked before the next tile of columns, so that both operands stay in cache. */
export const TILE_GROUP = 8;

/** First row `m0` and column `n0` of the output of a workgroup whose tile is `rows` by `columns`: tiles in groups of rows. */
export function tileOrigin(rows: number, columns: number): string {
  return `  let perGroup = P.group * P.tilesN;
  let groupFirst = (wg / perGroup) * P.group;
  let groupRows = min(P.group, P.tilesM - groupFirst);
  let inGroup = wg % perGroup;
  let m0 = (groupFirst + inGroup % groupRows) * ${rows}u;
  let n0 = (inGroup / groupRows) * ${columns}u;`;
}

/** Operands, parameters and name of a product, for whatever computes it. */
export function productText(
  v: GemmVariant,
  core: Pick<KernelText, "name" | "enables" | "diagnosticsOff" | "workgroupSize" | "subgroupSize" | "text">,
): KernelText {
  const { slots } = v;
  const aView = v.quadK ? quadView("f32") : scalarView("f32");
  const nView = v.quadN ? quadView("f32") : scalarView("f32");
  const operands = [
    { name: "a", slot: slots.a, view: aView },
    ...(slots.a2 === undefined ? [] : [{ name: "a2", slot: slots.a2, view: aView }]),
    { name: "b", slot: slots.b, view: v.quadK ? quadView(v.bStorage) : scalarView(v.bStorage) },
    ...(slots.bias === undefined ? [] : [{ name: "bias", slot: slots.bias, view: biasView(v) }]),
    ...(slots.channels === undefined ? [] : [{ name: "channels", slot: slots.channels, view: nView }]),
    ...(slots.residual === undefined ? [] : [{ name: "residual", slot: slots.residual, view: nView }]),
    { name: "out", slot: slots.out, view: nView },
  ];
  const conv = v.conv ? `conv${v.conv.upsample ? "Up" : ""}` : "rows";
  const types = `${v.bStorage}-${v.biasStorage ?? "none"}`;
  const flags = `${v.quadK ? "k4" : "k1"}${v.quadN ? "n4" : "n1"}${v.geglu ? "-geglu" : ""}-${v.activation ?? "plain"}`;
  return {
    ...core,
    variant: `${conv}-${v.tile}-${types}-${flags}`,
    operands,
    params: { ...PARAMS, ...(v.conv ? CONV_PARAMS : {}), ...(slots.channels === undefined ? {} : PIXELS) },
  };
}

function biasView(v: GemmVariant) {
  const storage = v.biasStorage ?? "f32";
  return v.quadN ? quadView(storage) : scalarView(storage);
}
