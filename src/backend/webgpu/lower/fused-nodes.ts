/** @file What nodes of a segment become when they are fused: each is one dispatch, or a few. Types only. */
import type { AnyNode, ValueId } from "../../../ir/graph.ts";
import type { Activation } from "../kernels/wgsl.ts";

/** Out [M, N] = A [M, K] B [N, K]T and an epilogue, in the order of its fields. */
export interface FusedProduct {
  readonly kind: "product";
  /** One source, or the two halves of the channels. */
  x: readonly ValueId[];
  /** Absent: x is rows of K. */
  image?: ImageSource;
  readonly w: ValueId;
  readonly bias?: ValueId;
  readonly rows: number;
  readonly columns: number;
  readonly depth: number;
  /** Added per image and column: [B, N]. */
  channels?: { readonly value: ValueId; readonly pixels: number };
  geglu: boolean;
  activation?: Activation;
  factor?: number;
  residual?: ValueId;
  output: ValueId;
}

export interface ImageSource {
  /** Of the stored image. */
  readonly inHeight: number;
  readonly inWidth: number;
  /** Of the grid that the kernel slides over: larger than the image when it is upsampled on the way. */
  readonly gridHeight: number;
  readonly gridWidth: number;
  readonly outHeight: number;
  readonly outWidth: number;
  readonly kernelHeight: number;
  readonly kernelWidth: number;
  readonly stride: number;
  readonly padTop: number;
  readonly padLeft: number;
}

export interface FusedGroupNorm {
  readonly kind: "groupNorm";
  readonly x: readonly ValueId[];
  /** Means and variances from outside; absent: of x itself. */
  readonly statistics?: ValueId;
  readonly w: ValueId;
  readonly b: ValueId;
  readonly groups: number;
  readonly eps: number;
  readonly batch: number;
  readonly pixels: number;
  readonly channels: number;
  silu: boolean;
  output: ValueId;
}

/** The same values in the same order under another shape. */
export interface Alias {
  readonly kind: "alias";
  readonly x: ValueId;
  output: ValueId;
}

/** A node by itself. */
export interface PlainNode {
  readonly kind: "plain";
  readonly node: AnyNode;
  output: ValueId;
}

export type FusedNode = FusedProduct | FusedGroupNorm | Alias | PlainNode;
