/** @file Runs a graph segment by segment: weights from a WeightStream, activations from a pool, compute by a backend. */
import type { ActivationData, Backend } from "../backend/backend.ts";
import type { Graph, ValueId } from "../ir/graph.ts";
import { elementCount } from "../tensor/dtype.ts";
import type { ActivationPool } from "./activations.ts";
import type { WeightStream } from "./weights.ts";

export interface ExecutionContext {
  readonly backend: Backend;
  readonly weights: WeightStream;
  readonly pool: ActivationPool;
  readonly signal?: AbortSignal;
  /** Lets messages (an abort, above all) be handled between segments. */
  readonly pause: () => Promise<void>;
}

/**
 * Feeds `inputs` by name and returns the graph's outputs by name. The outputs belong to the caller; give them back to the
 * pool when done. Throws the signal's reason on abort.
 */
export async function runGraph(
  graph: Graph,
  inputs: ReadonlyMap<string, ActivationData>,
  context: ExecutionContext,
): Promise<Map<string, Float32Array<ArrayBuffer>>> {
  const { backend, weights, pool, signal } = context;
  const live = new Map<ValueId, ActivationData>();
  const owned = new Map<ValueId, Float32Array<ArrayBuffer>>();
  for (const [name, id] of graph.inputs) {
    const data = inputs.get(name);
    const count = elementCount(graph.values[id]!.shape);
    if (data?.length !== count)
      throw new RangeError(`${graph.name} input ${name}: ${data?.length} of ${count} elements`);
    live.set(id, data);
  }
  const kept = new Set(graph.outputs.values());
  const lastReader = new Map<ValueId, number>();
  graph.segments.forEach((segment, index) => {
    for (const id of segment.inputs) lastReader.set(id, index);
  });

  for (const [index, segment] of graph.segments.entries()) {
    signal?.throwIfAborted();
    const segmentWeights = await weights.weights(graph, segment, graph.segments[index + 1]);
    const outputs = new Map<ValueId, Float32Array<ArrayBuffer>>();
    for (const id of segment.outputs) outputs.set(id, pool.take(elementCount(graph.values[id]!.shape)));
    const segmentInputs = new Map(segment.inputs.map((id) => [id, live.get(id)!]));
    await backend.run({ graph, segment, inputs: segmentInputs, weights: segmentWeights, outputs }, signal);
    await context.pause();
    for (const [id, data] of outputs) {
      live.set(id, data);
      owned.set(id, data);
    }
    for (const id of segment.inputs) {
      const data = owned.get(id);
      if (!data || kept.has(id) || lastReader.get(id) !== index) continue;
      live.delete(id);
      owned.delete(id);
      pool.give(data);
    }
  }
  return new Map([...graph.outputs].map(([name, id]) => [name, owned.get(id)!]));
}
