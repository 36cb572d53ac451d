/**
 * @file A layer's result with what adapters add to it. Its own weights stay as they are: everything else is computed beside them, from
 * tensors of the adapters and strengths that are inputs.
 */
import { type AdaptedLayer, CONSTANT, type LowRank, type Rotated, type Weighed } from "../adapters/adapted-layer.ts";
import type { GraphBuilder, Tensor } from "../ir/builder.ts";
import { elementCount } from "../tensor/dtype.ts";
import { LayerBuilder } from "./layer-builder.ts";

/** A product, or a convolution, by some weight. */
export type LayerOp = (x: Tensor, weight: Tensor, bias?: Tensor) => Tensor;

export interface LayerParts {
  readonly x: Tensor;
  readonly weight: Tensor;
  readonly bias: Tensor | undefined;
  /** With the layer's stride and padding. */
  readonly op: LayerOp;
  /** The same of one pixel, a stride of one and no padding. */
  readonly pointwise: LayerOp;
}

/** op(x, weight, bias), and what adapters add. */
export function withAdapters(g: GraphBuilder, name: string, parts: LayerParts): Tensor {
  const adapted = g instanceof LayerBuilder ? g.adapted(name) : undefined;
  if (!adapted) return parts.op(parts.x, parts.weight, parts.bias);
  return new SidePaths(g as LayerBuilder, name, parts).result(adapted);
}

/** y = norm(x) weight + bias, and what adapters add to its weight and its bias. `norm`: by those. */
export function normWithAdapters(
  g: GraphBuilder,
  name: string,
  channels: number,
  norm: (weight: Tensor, bias: Tensor) => Tensor,
): Tensor {
  const y = norm(g.weight(`${name}.weight`, [channels]), g.weight(`${name}.bias`, [channels]));
  const adapted = g instanceof LayerBuilder ? g.adapted(name) : undefined;
  if (!adapted) return y;
  const builder = g as LayerBuilder;
  const zero = builder.strengths([{ adapter: CONSTANT, scale: 0, count: channels }]);
  const terms = [
    ...adapted.differences.map(({ tensor, adapter }) => [norm(builder.adapterWeight(tensor), zero), adapter] as const),
    ...adapted.biases.map(({ tensor, adapter }) => [norm(zero, builder.adapterWeight(tensor)), adapter] as const),
  ];
  return terms.reduce((sum, [term, adapter]) => g.node("add", [sum, builder.times(term, adapter)], {}, name), y);
}

/** What moving a weight's element through memory a few times costs, in operations of a processor that computes ten in the time of a byte. */
const SUMMING_OPERATIONS = 120;

class SidePaths {
  readonly #g: LayerBuilder;
  readonly #name: string;
  readonly #parts: LayerParts;

  constructor(g: LayerBuilder, name: string, parts: LayerParts) {
    this.#g = g;
    this.#name = name;
    this.#parts = parts;
  }

  result(adapted: AdaptedLayer): Tensor {
    const g = this.#g;
    const { x, weight, bias, op } = this.#parts;
    const turnsInput = adapted.rotations.filter(({ onInput }) => onInput);
    const turnsOutput = adapted.rotations.filter(({ onInput }) => !onInput);
    // What the layer's own weight reads beside x.
    const inputs = [
      ...adapted.inputs.map((each) => this.#lowRank(x, each, true)),
      ...adapted.inputScales.map(({ tensor, adapter }) => g.times(this.#scaled(x, tensor), adapter)),
      ...turnsInput.flatMap((each) => [g.times(this.#turned(x, each), each.adapter), g.times(x, each.adapter, -1)]),
    ];
    // What is made of the layer's own result without its bias.
    const readsBare = adapted.outputScales.length + turnsOutput.length + adapted.weighed.length > 0;
    if (!readsBare) {
      // What is put before the layer meets its own weight alone.
      const summed = inputs.length > 0 ? [] : adapted.lowRank.filter((each) => this.#isCheaperSummed(each));
      const lowRank = adapted.lowRank.filter((each) => !summed.includes(each));
      const whole = op(this.#sum([x, ...inputs]), this.#summedWeight(summed), bias);
      return this.#sum([whole, ...this.#beside({ ...adapted, lowRank })]);
    }
    const bare = op(x, weight);
    const terms = [
      ...(inputs.length > 0 ? [op(this.#sum(inputs), weight)] : []),
      ...adapted.outputScales.map(({ tensor, adapter }) => g.times(this.#scaled(bare, tensor), adapter)),
      ...turnsOutput.flatMap((each) => [
        g.times(this.#turned(bare, each), each.adapter),
        g.times(bare, each.adapter, -1),
      ]),
      ...adapted.weighed.flatMap((each) => [
        g.times(this.#weighed(bare, each), each.adapter),
        g.times(bare, each.adapter, -1),
      ]),
    ];
    const own = bias ? g.node("affine", [bare, g.constant(1), bias], {}, this.#name) : bare;
    return this.#sum([own, ...terms, ...this.#beside(adapted)]);
  }

  /** Whether up times down is sooner made than x put through both: where x has many rows. Hangs on shapes alone, so that no budget moves a bit. */
  #isCheaperSummed({ down, mid, up }: LowRank): boolean {
    const g = this.#g;
    const { x, weight } = this.#parts;
    const [out, rank] = g.adapterShape(up);
    if (mid !== undefined || weight.shape.length !== 2 || g.adapterShape(down).length !== 2) return false;
    const columns = weight.shape[1]!;
    const rows = elementCount(x.shape) / columns;
    return 2 * rows * rank! * (columns + out!) > columns * out! * (2 * rank! + SUMMING_OPERATIONS);
  }

  /** W + up (strengths * down) of each, in fp32: an activation of this step, made anew in each, since nothing of the weight's size may stay. */
  #summedWeight(lowRank: readonly LowRank[]): Tensor {
    const g = this.#g;
    return lowRank.reduce((weight, { down, up, strengths }) => {
      const [rank, columns] = g.adapterShape(down) as [number, number];
      const scaled = g.node("affine", [g.adapterWeight(up), g.strengths(strengths)], {}, this.#name); // [out, rank]
      const rows = g.node("affine", [g.adapterWeight(down), g.constant(1)], {}, this.#name); // [rank, in]
      const tokens = g.node("reshape", [rows], { shape: [1, rank, columns] });
      const image = g.node("toImage", [tokens], { height: rank, width: 1 }); // [1, in, rank, 1]
      const turned = g.node("reshape", [image], { shape: [columns, rank] });
      const change = g.node("linear", [scaled, turned], {}, this.#name); // [out, in]
      return g.node("add", [change, weight], {}, this.#name);
    }, this.#parts.weight);
  }

  /** What x is put through beside the layer's own weight. */
  #beside({ lowRank, differences, biases }: AdaptedLayer): readonly Tensor[] {
    const g = this.#g;
    const { x, op } = this.#parts;
    return [
      ...lowRank.map((each) => this.#lowRank(x, each)),
      ...differences.map(({ tensor, adapter }) => g.times(op(x, g.adapterWeight(tensor)), adapter)),
      ...biases.map(({ tensor, adapter }) => g.times(g.adapterWeight(tensor), adapter)),
    ];
  }

  /** The first one has the shape of all; others may be one value a channel. */
  #sum([first, ...others]: readonly Tensor[]): Tensor {
    const g = this.#g;
    return others.reduce(
      (sum, other) =>
        other.shape.length === 1 && sum.shape.length > 1
          ? g.node("affine", [sum, g.constant(1), other], {}, this.#name)
          : g.node("add", [sum, other], {}, this.#name),
      first!,
    );
  }

  #scaled(x: Tensor, tensor: string): Tensor {
    return this.#g.node("affine", [x, this.#g.adapterWeight(tensor)], {}, this.#name);
  }

  /** `onInput`: of x's own channels and size, whatever the layer makes of it. */
  #lowRank(x: Tensor, { down, mid, up, strengths }: LowRank, onInput = false): Tensor {
    const g = this.#g;
    const { op, pointwise } = this.#parts;
    const sliding = onInput ? pointwise : op;
    const first = (mid === undefined ? sliding : pointwise)(x, g.adapterWeight(down)); // [..., rank]
    const inner = mid === undefined ? first : op(first, g.adapterWeight(mid));
    return pointwise(g.node("affine", [inner, g.strengths(strengths)], {}, this.#name), g.adapterWeight(up));
  }

  /** See Weighed, at full strength. */
  #weighed(bare: Tensor, { onInput, gain, change }: Weighed): Tensor {
    const { x, weight, op } = this.#parts;
    const read = onInput ? this.#scaled(x, gain) : x;
    const own = onInput ? op(read, weight) : bare;
    const beside = typeof change === "string" ? op(read, this.#g.adapterWeight(change)) : this.#lowRank(read, change);
    const whole = this.#sum([own, beside]);
    return onInput ? whole : this.#scaled(whole, gain);
  }

  /** v with its channels turned; images as tokens meanwhile. */
  #turned(v: Tensor, { factors, rescale }: Rotated): Tensor {
    const g = this.#g;
    const [, , height, width] = v.shape;
    const isImage = v.shape.length === 4;
    let tokens = isImage ? g.node("toTokens", [v], {}) : v; // [..., C]
    for (const { parts, stride } of factors) {
      tokens = this.#reordered(tokens, stride, false);
      tokens = this.#blockwise(tokens, parts);
      tokens = this.#reordered(tokens, stride, true);
    }
    const turned = isImage ? g.node("toImage", [tokens], { height: height!, width: width! }) : tokens;
    return rescale === undefined ? turned : this.#scaled(turned, rescale);
  }

  /** Each part of the channels by its own matrix. */
  #blockwise(tokens: Tensor, parts: readonly string[]): Tensor {
    const g = this.#g;
    const axis = tokens.shape.length - 1;
    let from = 0;
    let made = parts.map((part) => {
      const matrix = g.adapterWeight(part);
      const to = from + matrix.shape[1]!;
      const slice = parts.length === 1 ? tokens : g.node("slice", [tokens], { axis, from, to }, this.#name);
      from = to;
      return g.node("linear", [slice, matrix], {}, this.#name);
    });
    // Two by two: so each value is copied a few times only.
    while (made.length > 1) {
      made = made.flatMap((a, i) => {
        if (i % 2 === 1) return [];
        const b = made[i + 1];
        return [b ? g.node("concat", [a, b], { axis }, this.#name) : a];
      });
    }
    return made[0]!;
  }

  /** Channels [n, 2, stride] as [n, stride, 2], or back. */
  #reordered(tokens: Tensor, stride: number, back: boolean): Tensor {
    if (stride === 1) return tokens;
    const g = this.#g;
    const [rows, columns] = back ? [stride, 2] : [2, stride];
    const pairs = elementCount(tokens.shape) / (2 * stride);
    const split = g.node("reshape", [tokens], { shape: [pairs, rows, columns] });
    const turned = g.node("toImage", [split], { height: rows, width: 1 }); // [pairs, columns, rows, 1]
    return g.node("reshape", [turned], { shape: tokens.shape });
  }
}
