/**
 * @file Which nodes of a segment become one dispatch: a pure function from nodes to fused steps. A product takes what follows
 * it (bias, per-channel sums, an activation, a factor, the gate, a residual) and what precedes a convolution (nearest
 * enlarging, the join of two images); group normalization takes silu. Only values that nothing else reads disappear.
 */
import type { AnyNode, Graph, Segment, ValueId } from "../../ir/graph.ts";
import type { OpName } from "../../ir/ops.ts";
import { elementCount } from "../../tensor/dtype.ts";
import { isRowMajor } from "./layout.ts";
import type { Activation } from "./wgsl.ts";

/** Out [M, N] = A [M, K] B [N, K]T and an epilogue, in the order of its fields. */
export interface ProductStep {
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
  /** Of the grid that the kernel slides over: larger than the image when it is enlarged on the way. */
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

export interface GroupNormStep {
  readonly kind: "groupNorm";
  readonly x: readonly ValueId[];
  /** Means and variances from outside; absent: of x itself. */
  readonly moments?: ValueId;
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

/** The same numbers in the same order under another shape. */
export interface AliasStep {
  readonly kind: "alias";
  readonly x: ValueId;
  output: ValueId;
}

/** A node by itself. */
export interface PlainStep {
  readonly kind: "plain";
  readonly node: AnyNode;
  output: ValueId;
}

export type Step = ProductStep | GroupNormStep | AliasStep | PlainStep;

/** Ops that read two images as one. */
const JOINING: ReadonlySet<string> = new Set<OpName>(["conv2d", "groupNorm", "groupNormApply"]);

export function fuseSegment(graph: Graph, segment: Segment): readonly Step[] {
  return new Fusion(graph, segment).run();
}

class Fusion {
  readonly #graph: Graph;
  readonly #segment: Segment;
  readonly #outputs: ReadonlySet<ValueId>;
  readonly #uses = new Map<ValueId, AnyNode[]>();
  /** In order of computing; each step's output is its key. */
  readonly #steps = new Map<ValueId, Step>();

  constructor(graph: Graph, segment: Segment) {
    this.#graph = graph;
    this.#segment = segment;
    this.#outputs = new Set(segment.outputs);
    for (const node of segment.nodes) {
      for (const id of node.inputs) this.#uses.set(id, [...(this.#uses.get(id) ?? []), node]);
    }
  }

  run(): readonly Step[] {
    for (const node of this.#segment.nodes) {
      const step = this.#absorb(node) ?? this.#begin(node);
      if (step) this.#steps.set(step.output, step);
    }
    return [...this.#steps.values()];
  }

  #shape(id: ValueId): readonly number[] {
    return this.#graph.values[id]!.shape;
  }

  /** True if only the one reader would miss this value. */
  #private(id: ValueId): boolean {
    return this.#uses.get(id)?.length === 1 && !this.#outputs.has(id);
  }

  /** The step that gives `id`, if it may still change because nothing else reads `id`. */
  #open(id: ValueId): Step | undefined {
    return this.#private(id) ? this.#steps.get(id) : undefined;
  }

  /** The step, now giving `output`, at the end of the order: all it reads is there by then. */
  #extend<S extends Step>(step: S, output: ValueId): S {
    this.#steps.delete(step.output);
    step.output = output;
    return step;
  }

  #absorb(node: AnyNode): Step | undefined {
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
        if (x?.kind !== "product" || !isPlainProduct(x) || !isNumbers(this.#graph, node.inputs[1]!)) return undefined;
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
  #absorbSum([a, b]: readonly [ValueId, ValueId], output: ValueId): Step | undefined {
    if (a === b || this.#shape(a).join() !== this.#shape(b).join()) return undefined;
    const order = [...this.#steps.keys()];
    const candidates = [a, b]
      .map((id) => this.#open(id))
      .filter((step) => step?.kind === "product" && step.residual === undefined) as ProductStep[];
    const step = candidates.sort((p, q) => order.indexOf(q.output) - order.indexOf(p.output))[0];
    if (!step) return undefined;
    const residual = step.output === a ? b : a;
    if (!isNumbers(this.#graph, residual)) return undefined;
    step.residual = residual;
    return this.#extend(step, output);
  }

  #begin(node: AnyNode): Step | undefined {
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
        const sources = this.#joined(x) ?? [x];
        const { groups, eps } = node.attrs;
        const sizes = { groups, eps, batch, pixels, channels };
        const moments = outside ? { moments: node.inputs[1]! } : {};
        return { kind: "groupNorm", x: sources, ...moments, w, b, ...sizes, silu: false, output: node.output };
      }
      case "concat":
        // Made only for those who can't read two images as one.
        if (this.#everyReaderJoins(node.output)) return undefined;
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

  #convolution(node: AnyNode & { op: "conv2d" }): ProductStep {
    const [, , outHeight, outWidth] = this.#shape(node.output) as [number, number, number, number];
    const [batch, channels, gridHeight, gridWidth] = this.#shape(node.inputs[0]!) as [number, number, number, number];
    const [columns, , kernelHeight, kernelWidth] = this.#shape(node.inputs[1]!) as [number, number, number, number];
    const { stride, pad } = node.attrs;
    const smaller = this.#enlarged(node.inputs[0]!);
    const x = smaller === undefined ? (this.#joined(node.inputs[0]!) ?? [node.inputs[0]!]) : [smaller];
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

  /** The two images that `id` joins, if it was left out for its readers' sake. */
  #joined(id: ValueId): readonly [ValueId, ValueId] | undefined {
    const node = this.#segment.nodes.find((candidate) => candidate.output === id);
    return node?.op === "concat" && !this.#steps.has(id) ? (node.inputs as [ValueId, ValueId]) : undefined;
  }

  /** The image that `id` enlarges, if it was left out for its reader's sake. */
  #enlarged(id: ValueId): ValueId | undefined {
    const node = this.#segment.nodes.find((candidate) => candidate.output === id);
    return node?.op === "upsampleNearest" && !this.#steps.has(id) ? node.inputs[0] : undefined;
  }

  #everyReaderJoins(id: ValueId): boolean {
    const node = this.#segment.nodes.find((candidate) => candidate.output === id)!;
    const shape = this.#shape(id);
    if (this.#outputs.has(id) || node.op !== "concat" || node.attrs.axis !== 1 || shape.length !== 4) return false;
    const [a, b] = node.inputs as [ValueId, ValueId];
    if (a === b || ![a, b].every((half) => this.#shape(half)[1]! % 4 === 0 && isNumbers(this.#graph, half)))
      return false;
    const readers = this.#uses.get(id) ?? [];
    return readers.every(({ op, inputs }) => JOINING.has(op) && inputs[0] === id && inputs.lastIndexOf(id) === 0);
  }
}

/** True unless it is a weight, which may be stored in 16 bits. */
function isNumbers(graph: Graph, id: ValueId): boolean {
  return graph.values[id]!.kind !== "weight";
}

/** Nothing after the bias yet. */
function isPlainProduct(step: ProductStep): boolean {
  const { geglu, activation, channels, factor, residual } = step;
  return !geglu && ![activation, channels, factor, residual].some((part) => part !== undefined);
}

function product(node: AnyNode, sizes: Pick<ProductStep, "x" | "rows" | "columns" | "depth">): ProductStep {
  const bias = node.inputs[2];
  return {
    kind: "product",
    ...sizes,
    w: node.inputs[1]!,
    ...(bias === undefined ? {} : { bias }),
    geglu: false,
    output: node.output,
  };
}
