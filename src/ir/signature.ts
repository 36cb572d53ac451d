/** @file What a segment is apart from its names: backends compile once for all segments of one signature. Pure. */
import type { Graph, Segment, ValueId } from "./graph.ts";

/** Equal for segments with the same ops, attributes, shapes, weight types and precision. `weightTypes` in the order of `segment.weights`. */
export function segmentSignature(graph: Graph, segment: Segment, weightTypes: readonly string[]): string {
  const local = new Map<ValueId, number>();
  const indexOf = (id: ValueId): number => {
    const known = local.get(id);
    if (known !== undefined) return known;
    local.set(id, local.size);
    return local.size - 1;
  };
  const place = (id: ValueId) => `${indexOf(id)}:${graph.values[id]!.dtype}[${graph.values[id]!.shape}]`;
  const inputs = segment.inputs.map(place);
  const weights = segment.weights.map((id, i) => `${place(id)}${weightTypes[i]}`);
  const nodes = segment.nodes.map(
    ({ op, inputs: read, output, attrs }) => `${op}(${read.map(indexOf)})${place(output)}${JSON.stringify(attrs)}`,
  );
  const precision = graph.fp32 ? ["fp32"] : [];
  return [inputs, weights, nodes, segment.outputs.map(indexOf), precision].map((part) => part.join(";")).join("|");
}
