/** @file SDXL's own shapes at 1024x1024 with both halves of the guidance, as one-node graphs for any device. Pure. */
import { GraphBuilder } from "../ir/builder.ts";
import type { Graph } from "../ir/graph.ts";

export interface BenchShape {
  readonly name: string;
  readonly kind: "linear" | "geglu" | "conv" | "attention" | "groupNorm";
  /** Tokens, or pixels of all images. */
  readonly rows: number;
  /** Output channels; of the gate both halves. */
  readonly columns: number;
  /** Input channels. */
  readonly depth: number;
}

export const SDXL_SHAPES: readonly BenchShape[] = [
  { name: "feed-forward in, 32x32", kind: "geglu", rows: 2048, columns: 10240, depth: 1280 },
  { name: "feed-forward out, 32x32", kind: "linear", rows: 2048, columns: 1280, depth: 5120 },
  { name: "to_q, 32x32", kind: "linear", rows: 2048, columns: 1280, depth: 1280 },
  { name: "to_q, 64x64", kind: "linear", rows: 8192, columns: 640, depth: 640 },
  { name: "3x3, 128x128", kind: "conv", rows: 32768, columns: 320, depth: 320 },
  { name: "3x3, 64x64", kind: "conv", rows: 8192, columns: 640, depth: 640 },
  { name: "3x3, 32x32", kind: "conv", rows: 2048, columns: 1280, depth: 1280 },
  { name: "self-attention, 64x64", kind: "attention", rows: 8192, columns: 640, depth: 640 },
  { name: "self-attention, 32x32", kind: "attention", rows: 2048, columns: 1280, depth: 1280 },
  { name: "group norm, 128x128", kind: "groupNorm", rows: 32768, columns: 320, depth: 320 },
];

const LEAST_ROWS = 64;
const HEAD = 64;
const GROUPS = 32;

/** The shape with fewer rows: a CPU that plays a GPU is a thousand times slower. Still whole tiles, a square image. */
export function shrunk(shape: BenchShape, shrink: number): BenchShape {
  if (shrink === 1) return shape;
  const rows = Math.max(LEAST_ROWS, Math.round(shape.rows / shrink));
  // Images are squares, two of them: the halves of the guidance.
  const side = Math.max(4, Math.round(Math.sqrt(rows / 2)));
  return { ...shape, rows: isImage(shape) ? 2 * side * side : rows };
}

function isImage({ kind }: BenchShape): boolean {
  return kind === "conv" || kind === "groupNorm";
}

export interface BenchProblem {
  readonly graph: Graph;
  /** Floating-point operations; 0 where memory is what counts. */
  readonly operations: number;
  /** Bytes read and written in the least; fp32 activations. */
  readonly bytes: number;
}

/** Two images of side^2 pixels, or two sequences of rows / 2 tokens. */
export function benchProblem({ name, kind, rows, columns, depth }: BenchShape): BenchProblem {
  const g = new GraphBuilder(name);
  const side = Math.round(Math.sqrt(rows / 2));
  const image = kind === "conv" || kind === "groupNorm";
  const x = image ? g.input("x", [2, depth, side, side]) : g.input("x", [2, rows / 2, depth]);
  g.segment("s", () => {
    switch (kind) {
      case "attention":
        return g.output("y", g.node("attention", [x, x, x], { heads: depth / HEAD, causal: false }));
      case "groupNorm": {
        const [w, b] = [g.weight("w", [depth]), g.weight("b", [depth])];
        const y = g.node("groupNorm", [x, w, b], { groups: GROUPS, eps: 1e-5 });
        return g.output("y", g.node("silu", [y], {}));
      }
      case "conv": {
        const w = g.weight("w", [columns, depth, 3, 3]);
        return g.output("y", g.node("conv2d", [x, w], { stride: 1, pad: [1, 1, 1, 1] }));
      }
      default: {
        const y = g.node("linear", [x, g.weight("w", [columns, depth])], {});
        return g.output("y", kind === "geglu" ? g.node("geglu", [y], {}) : y);
      }
    }
  });
  const taps = kind === "conv" ? 9 : 1;
  const operations =
    { attention: 2 * rows * rows * depth, groupNorm: 0 }[kind as string] ?? 2 * rows * taps * columns * depth;
  // Group norm reads twice (statistics, then values) and writes once.
  return { graph: g.build(), operations, bytes: kind === "groupNorm" ? 3 * rows * depth * 4 : 0 };
}
