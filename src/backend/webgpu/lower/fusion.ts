/**
 * @file Which nodes of a segment become one dispatch: a pure function from nodes to fused nodes. A product takes what follows
 * it (bias, per-channel sums, an activation, a factor, the gate, a residual) and what precedes a convolution (nearest
 * upsampling, the concatenation of two images); group normalization takes silu. Only values that nothing else reads disappear.
 */
import type { AnyNode, Graph, Segment, ValueId } from "../../../ir/graph.ts";
import type { OpName } from "../../../ir/ops.ts";
import { elementCount } from "../../../tensor/dtype.ts";
import type { FusedNode, FusedProduct, ImageSource } from "./fused-nodes.ts";
import { isRowMajor } from "./tensor-layout.ts";

/** Ops that read two images as one. */
const READS_TWO_IMAGES: ReadonlySet<string> = new Set<OpName>(["conv2d", "groupNorm", "groupNormApply"]);

export function fuseSegment(graph: Graph, segment: Segment): readonly FusedNode[] {
  return new Fusion(graph, segment).run();
}

class Fusion {
  readonly #graph: Graph;
  readonly #segment: Segment;
  readonly #outputs: ReadonlySet<ValueId>;
  readonly #uses = new Map<ValueId, AnyNode[]>();
  /** In order of computing; each one's output is its key. */
  readonly #fused = new Map<ValueId, FusedNode>();

  constructor(graph: Graph, segment: Segment) {
    this.#graph = graph;
    this.#segment = segment;
    this.#outputs = new Set(segment.outputs);
    for (const node of segment.nodes) {
      for (const id of node.inputs) this.#uses.set(id, [...(this.#uses.get(id) ?? []), node]);
    }
  }

  run(): readonly FusedNode[] {
    for (const node of this.#segment.nodes) {
      const fused = this.#absorb(node) ?? this.#begin(node);
      if (fused) this.#fused.set(fused.output, fused);
    }
    return [...this.#fused.values()];
  }

  #shape(id: ValueId): readonly number[] {
    return this.#graph.values[id]!.shape;
  }

  /** True if only the one reader would miss this value. */
  #private(id: ValueId): boolean {
    return this.#uses.get(id)?.length === 1 && !this.#outputs.has(id);
  }

  /** What gives `id`, if it may still change because nothing else reads `id`. */
  #open(id: ValueId): FusedNode | undefined {
    return this.#private(id) ? this.#fused.get(id) : undefined;
  }

  /** The same, now giving `output`, at the end of the order: all it reads is there by then. */
  #extend<S extends FusedNode>(fused: S, output: ValueId): S {
    this.#fused.delete(fused.output);
    fused.output = output;
    return fused;
  }

  #absorb(node: AnyNode): FusedNode | undefined {
    const x = this.#open(node.inputs[0]!);
    switch (node.op) {
      case "silu":
      case "gelu":
      case "quickGelu":
        if (node.op === "silu" && x?.kind === "groupNorm" && !x.silu) {
          x.silu = true;
          return this.#extend(x, node.output);
        }
        if (x?.kind !== "product" || x.geglu || x.activation || x.factor !== undefined || x.residual !== undefined)
          return undefined;
        x.activation = node.op;
        return this.#extend(x, node.output);
      case "scale":
        if (x?.kind !== "product" || x.factor !== undefined || x.residual !== undefined) return undefined;
        x.factor = node.attrs.factor;
        return this.#extend(x, node.output);
      case "geglu":
        if (x?.kind !== "product" || !isPlainProduct(x) || !isRowMajor(this.#shape(node.output))) return undefined;
        x.geglu = true;
        return this.#extend(x, node.output);
      case "addChannels": {
        if (x?.kind !== "product" || !isPlainProduct(x) || !isActivation(this.#graph, node.inputs[1]!))
          return undefined;
        const [, , height, width] = this.#shape(node.output) as [number, number, number, number];
        x.channels = { value: node.inputs[1]!, pixels: height * width };
        return this.#extend(x, node.output);
      }
      case "add":
        return this.#absorbSum(node.inputs as [ValueId, ValueId], node.output);
      case "toTokens":
      case "toImage":
        if (x && x.kind !== "plain") return this.#extend(x, node.output);
        return { kind: "alias", x: node.inputs[0]!, output: node.output };
      case "reshape":
        if (!isRowMajor(this.#shape(node.inputs[0]!)) || !isRowMajor(this.#shape(node.output))) return undefined;
        if (x && x.kind !== "plain") return this.#extend(x, node.output);
        return { kind: "alias", x: node.inputs[0]!, output: node.output };
      default:
        return undefined;
    }
  }

  /** a + b, where one is a product that ends here: the later one, so that the other is there by then. */
  #absorbSum([a, b]: readonly [ValueId, ValueId], output: ValueId): FusedNode | undefined {
    if (a === b || this.#shape(a).join() !== this.#shape(b).join()) return undefined;
    const order = [...this.#fused.keys()];
    const candidates = [a, b]
      .map((id) => this.#open(id))
      .filter((fused) => fused?.kind === "product" && fused.residual === undefined) as FusedProduct[];
    const fused = candidates.sort((p, q) => order.indexOf(q.output) - order.indexOf(p.output))[0];
    if (!fused) return undefined;
    const residual = fused.output === a ? b : a;
    if (!isActivation(this.#graph, residual)) return undefined;
    fused.residual = residual;
    return this.#extend(fused, output);
  }

  #begin(node: AnyNode): FusedNode | undefined {
    switch (node.op) {
      case "linear": {
        const shape = this.#shape(node.inputs[0]!);
        if (!isRowMajor(shape) || !isRowMajor(this.#shape(node.output))) break;
        const [columns, depth] = this.#shape(node.inputs[1]!) as [number, number];
        const rows = elementCount(shape) / depth;
        return product(node, { x: [node.inputs[0]!], rows, columns, depth });
      }
      case "conv2d":
        return this.#convolution(node);
      case "groupNorm":
      case "groupNormApply": {
        const shape = this.#shape(node.inputs[0]!);
        if (shape.length !== 4) break;
        const [batch, channels, height, width] = shape as [number, number, number, number];
        const outside = node.op === "groupNormApply";
        const [x, w, b] = (outside ? node.inputs.toSpliced(1, 1) : node.inputs) as [ValueId, ValueId, ValueId];
        const pixels = height * width;
        const sources = this.#concatenated(x) ?? [x];
        const { groups, eps } = node.attrs;
        const sizes = { groups, eps, batch, pixels, channels };
        const statistics = outside ? node.inputs[1] : undefined;
        return { kind: "groupNorm", x: sources, statistics, w, b, ...sizes, silu: false, output: node.output };
      }
      case "concat":
        // Made only for those who can't read two images as one.
        if (this.#everyReaderTakesTwo(node.output)) return undefined;
        break;
      case "upsampleNearest": {
        const reader = this.#uses.get(node.output)?.[0];
        if (this.#private(node.output) && reader?.op === "conv2d" && reader.inputs[0] === node.output) return undefined;
        break;
      }
      default:
        break;
    }
    return { kind: "plain", node, output: node.output };
  }

  #convolution(node: AnyNode & { op: "conv2d" }): FusedProduct {
    const [, , outHeight, outWidth] = this.#shape(node.output) as [number, number, number, number];
    const [batch, channels, gridHeight, gridWidth] = this.#shape(node.inputs[0]!) as [number, number, number, number];
    const [columns, , kernelHeight, kernelWidth] = this.#shape(node.inputs[1]!) as [number, number, number, number];
    const { stride, pad } = node.attrs;
    const smaller = this.#upsampled(node.inputs[0]!);
    const x = smaller === undefined ? (this.#concatenated(node.inputs[0]!) ?? [node.inputs[0]!]) : [smaller];
    const [, , inHeight, inWidth] = this.#shape(x[0]!) as [number, number, number, number];
    const rows = batch * outHeight * outWidth;
    const depth = channels * kernelHeight * kernelWidth;
    const sliding = kernelHeight * kernelWidth > 1 || stride > 1 || pad.some((side) => side !== 0);
    if (!sliding && x.length === 1 && smaller === undefined) return product(node, { x, rows, columns, depth });
    const image: ImageSource = {
      inHeight,
      inWidth,
      gridHeight,
      gridWidth,
      outHeight,
      outWidth,
      kernelHeight,
      kernelWidth,
      stride,
      padTop: pad[0],
      padLeft: pad[1],
    };
    return { ...product(node, { x, rows, columns, depth }), image };
  }

  /** The two images that `id` concatenates, if it was left out for its readers' sake. */
  #concatenated(id: ValueId): readonly [ValueId, ValueId] | undefined {
    const node = this.#segment.nodes.find((candidate) => candidate.output === id);
    return node?.op === "concat" && !this.#fused.has(id) ? (node.inputs as [ValueId, ValueId]) : undefined;
  }

  /** The image that `id` upsamples, if it was left out for its reader's sake. */
  #upsampled(id: ValueId): ValueId | undefined {
    const node = this.#segment.nodes.find((candidate) => candidate.output === id);
    return node?.op === "upsampleNearest" && !this.#fused.has(id) ? node.inputs[0] : undefined;
  }

  #everyReaderTakesTwo(id: ValueId): boolean {
    const node = this.#segment.nodes.find((candidate) => candidate.output === id)!;
    const shape = this.#shape(id);
    if (this.#outputs.has(id) || node.op !== "concat" || node.attrs.axis !== 1 || shape.length !== 4) return false;
    const [a, b] = node.inputs as [ValueId, ValueId];
    if (a === b || ![a, b].every((half) => this.#shape(half)[1]! % 4 === 0 && isActivation(this.#graph, half)))
      return false;
    const readers = this.#uses.get(id) ?? [];
    return readers.every(
      ({ op, inputs }) => READS_TWO_IMAGES.has(op) && inputs[0] === id && inputs.lastIndexOf(id) === 0,
    );
  }
}

/** True unless it is a weight, which may be stored in 16 bits. */
function isActivation(graph: Graph, id: ValueId): boolean {
  return graph.values[id]!.kind !== "weight";
}

/** Nothing after the bias yet. */
function isPlainProduct(fused: FusedProduct): boolean {
  const { geglu, activation, channels, factor, residual } = fused;
  return !geglu && ![activation, channels, factor, residual].some((part) => part !== undefined);
}

function product(node: AnyNode, sizes: Pick<FusedProduct, "x" | "rows" | "columns" | "depth">): FusedProduct {
  return {
    kind: "product",
    ...sizes,
    w: node.inputs[1]!,
    bias: node.inputs[2],
    geglu: false,
    output: node.output,
  };
}
