/** @file A segment as a list of dispatches: fused steps, each with its storages. Pure: shapes and stored dtypes in, data out. */
import type { Graph, Segment } from "../../ir/graph.ts";
import type { StoredWeight } from "../device.ts";
import type { DispatchList } from "./dispatches.ts";
import { fuseSegment, type ProductStep, type Step } from "./fusion.ts";
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
  for (const step of fuseSegment(graph, segment)) addStep(scope, step);
  return scope.builder.build();
}

function addStep(l: LoweringScope, step: Step): void {
  switch (step.kind) {
    case "product":
      addProductStep(l, step);
      break;
    case "groupNorm":
      addGroupNorm(l, step);
      break;
    case "alias":
      l.alias(step.x, step.output);
      break;
    case "plain":
      addPlain(l, step.node);
      break;
  }
}

function addProductStep(l: LoweringScope, step: ProductStep): void {
  const { rows, columns, depth, image, geglu, activation, factor, channels, residual } = step;
  const b = l.numbers(step.w);
  const bias = step.bias === undefined ? undefined : l.numbers(step.bias);
  const [first, second] = step.x;
  const joined = second === undefined ? {} : { joined: { storage: l.floats(second), first: l.shape(first!)[1]! } };
  addProduct(
    l.builder,
    {
      label: l.label(step.output),
      a: { storage: l.floats(first!) },
      ...joined,
      ...(image ? { image } : {}),
      b: { storage: b.storage, numbers: b.type },
      ...(bias ? { bias: { storage: bias.storage, numbers: bias.type } } : {}),
      ...(channels ? { channels: { storage: l.floats(channels.value), pixels: channels.pixels } } : {}),
      ...(residual === undefined ? {} : { residual: l.floats(residual) }),
      out: { storage: l.target(step.output) },
      rows,
      columns: geglu ? columns / 2 : columns,
      depth,
      geglu,
      ...(activation ? { activation } : {}),
      ...(factor === undefined ? {} : { factor }),
    },
    l.chooseTile,
    l.paths,
  );
}
