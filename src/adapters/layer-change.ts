/**
 * @file What an adapter's file asks of a model's layers: the seam between those who read such files and those who compute with them.
 * Layouts and formats end here: factors are oriented as a layer's own weights, alphas are part of `scale`, packed rotations are matrices.
 */
import type { TensorEntry } from "../container/table.ts";

/**
 * A tensor that may be computed while it is read: from factors in the file, in bounded memory (`source.readingBytes`). Its bytes are
 * `source`'s from `startByte`, as any entry's.
 */
export type MadeTensor = TensorEntry;

/**
 * W [out, in, ...] is the layer's weight without the adapter, x its input, s the user's strength. Each change by itself adds to the layer what its line
 * says; a layer's changes add up, each made from the unchanged W.
 */
export type LayerChange =
  | LowRankChange
  | InputLowRankChange
  | DifferenceChange
  | BiasChange
  | ScaleChange
  | RotationChange
  | MagnitudeChange;

/** y += s * scale * up(mid(down(x))). */
export interface LowRankChange {
  readonly kind: "low-rank";
  /** [rank, in], or a convolution [rank, in, kh, kw] with the layer's stride and padding; 1x1 where `mid` is there. */
  readonly down: TensorEntry;
  /** [rank, rank, kh, kw], with the layer's stride and padding. */
  readonly mid?: TensorEntry;
  /** [out, rank], or a convolution [out, rank, 1, 1]. */
  readonly up: TensorEntry;
  readonly scale: number;
}

/** y += s * scale * W(up(down(x))), without the layer's bias. GLoRA's first half. */
export interface InputLowRankChange {
  readonly kind: "input-low-rank";
  /** [rank, in], or [rank, in, 1, 1]. */
  readonly down: TensorEntry;
  /** [in, rank], or [in, rank, 1, 1]. */
  readonly up: TensorEntry;
  readonly scale: number;
}

/** W += s * weight, of W's shape; also of a norm's weight [C]. */
export interface DifferenceChange {
  readonly kind: "difference";
  readonly weight: MadeTensor;
}

/** bias += s * bias; a layer that has none counts as one with zeros. */
export interface BiasChange {
  readonly kind: "bias";
  /** [out] */
  readonly bias: MadeTensor;
}

/** y += s * W(values * x) [in] where `onInput`, else y += s * values * W(x) [out], without the layer's bias. IA3. */
export interface ScaleChange {
  readonly kind: "scale";
  readonly values: MadeTensor;
  readonly onInput: boolean;
}

/**
 * R = the factors one after another (the first is applied first). y += s * (rescale * R(W(x)) - W(x)), or where `onInput` y += s * W(R(x) - x); without the
 * layer's bias. OFT, BOFT.
 */
export interface RotationChange {
  readonly kind: "rotation";
  readonly factors: readonly RotationFactor[];
  /** [out]; never with `onInput`. */
  readonly rescale?: MadeTensor;
  readonly onInput: boolean;
}

/** A block-diagonal matrix over the channels v: block i gives blocks[i] v[i k .. (i + 1) k]. */
export interface RotationFactor {
  /** [b, k, k], b * k channels. */
  readonly blocks: MadeTensor;
  /**
   * Of BOFT's butterflies: channels are taken in another order first, and put back afterwards. v as [n, 2, stride] is read as
   * [n, stride, 2]. 1: their own order.
   */
  readonly stride: number;
}

/**
 * V = W + `change`'s whole part at s = 1; y += s * (magnitude * V / norm(V) - W)(x), with the norm over all other axes than the magnitude's. DoRA.
 */
export interface MagnitudeChange {
  readonly kind: "magnitude";
  readonly change: LowRankChange | DifferenceChange;
  /** [out], or [in] where `onInput`. */
  readonly magnitude: MadeTensor;
  readonly onInput: boolean;
}

/** An adapter as a model's layers see it. */
export interface Adapter {
  /** Another one where the content is another; the same for a file that was not changed, whatever it is called. */
  readonly id: string;
  /** Component's id -> module's diffusers name, without ".weight" -> what changes. Only layers that the model has. */
  readonly layers: ReadonlyMap<string, ReadonlyMap<string, readonly LayerChange[]>>;
}
