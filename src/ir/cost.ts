/** @file Arithmetic of the IR: floating-point operations by op, a multiply-add counted as two. */
import { elementCount } from "../tensor/dtype.ts";
import type { AnyNode, Graph, Segment } from "./graph.ts";

/** Operations of one node in products and sums of products; element-wise work, which memory bounds, counts as none. */
function nodeFlops(graph: Graph, node: AnyNode): number {
  const shape = (i: number) => graph.values[node.inputs[i]!]!.shape;
  const outputs = elementCount(graph.values[node.output]!.shape);
  switch (node.op) {
    case "conv2d":
      return 2 * outputs * elementCount(shape(1).slice(1));
    case "linear":
      return 2 * outputs * shape(1)[1]!;
    case "attention":
      // Scores and their weighted sum: [T, S] by C each.
      return 4 * outputs * shape(1)[1]!;
    default:
      return 0;
  }
}

export function segmentFlops(graph: Graph, segment: Segment): number {
  return segment.nodes.reduce((sum, node) => sum + nodeFlops(graph, node), 0);
}

export function graphFlops(graph: Graph): number {
  return graph.segments.reduce((sum, segment) => sum + segmentFlops(graph, segment), 0);
}
