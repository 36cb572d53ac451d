/** @file A segment as a list of dispatches: fused nodes, each with its storages. Pure: shapes and stored dtypes in, data out. */
import type { Graph, Segment } from "../../../ir/graph.ts";
import type { StoredWeight } from "../../device.ts";
import type { DispatchList } from "./dispatches.ts";
import type { FusedNode, FusedProduct } from "./fused-nodes.ts";
import { fuseSegment } from "./fusion.ts";
import { type LoweringOptions, LoweringScope } from "./lowering-scope.ts";
import { addGroupNorm } from "./norms.ts";
import { addPlain } from "./plain-ops.ts";
import { addProduct } from "./products.ts";

/** `weights` in the order of `segment.weights`. */
export function lowerSegment(
  graph: Graph,
  segment: Segment,
  weights: readonly StoredWeight[],
  options: LoweringOptions,
): DispatchList {
  const scope = new LoweringScope(graph, segment, weights, options);
  for (const fused of fuseSegment(graph, segment)) addFused(scope, fused);
  return scope.builder.build();
}

function addFused(l: LoweringScope, fused: FusedNode): void {
  switch (fused.kind) {
    case "product":
      addFusedProduct(l, fused);
      break;
    case "groupNorm":
      addGroupNorm(l, fused);
      break;
    case "alias":
      l.alias(fused.x, fused.output);
      break;
    case "plain":
      addPlain(l, fused.node);
      break;
  }
}

function addFusedProduct(l: LoweringScope, fused: FusedProduct): void {
  const { rows, columns, depth, image, geglu, activation, factor, channels, residual } = fused;
  const b = l.place(fused.w);
  const bias = fused.bias === undefined ? undefined : l.place(fused.bias);
  const [first, second] = fused.x;
  const concatenated = second === undefined ? undefined : { storage: l.floats(second), first: l.shape(first!)[1]! };
  addProduct(
    l.builder,
    {
      label: l.label(fused.output),
      a: { storage: l.floats(first!) },
      concatenated,
      image,
      b,
      bias,
      channels: channels && { storage: l.floats(channels.value), pixels: channels.pixels },
      residual: residual === undefined ? undefined : l.floats(residual),
      out: { storage: l.target(fused.output) },
      rows,
      columns: geglu ? columns / 2 : columns,
      depth,
      geglu,
      activation,
      factor,
    },
    l.chooseTile,
    l.paths,
  );
}
