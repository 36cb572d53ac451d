/** @file Runs a graph on a backend, whole and in bands, with weights as given: what tests and benches of bands need. */
import type { ActivationData, Backend, WeightData } from "../src/backend/backend.ts";
import type { BandProgram } from "../src/bands/bands.ts";
import { type BandContext, bandStorage, runBands } from "../src/bands/run.ts";
import type { Graph, ValueId } from "../src/ir/graph.ts";
import { elementCount } from "../src/tensor/dtype.ts";

/** By parameter name. */
export type Weights = ReadonlyMap<string, WeightData>;
type Results = Map<string, Float32Array<ArrayBuffer>>;

function weightsOf(graph: Graph, ids: readonly ValueId[], weights: Weights): Map<ValueId, WeightData> {
  return new Map(ids.map((id) => [id, weights.get(graph.values[id]!.name)!]));
}

/** Segment by segment; a value is let go after its last reader. */
export async function runWhole(
  backend: Backend,
  graph: Graph,
  inputs: ReadonlyMap<string, ActivationData>,
  weights: Weights,
): Promise<Results> {
  const values = new Map<ValueId, ActivationData>([...graph.inputs].map(([name, id]) => [id, inputs.get(name)!]));
  const lastReader = new Map(
    graph.segments.flatMap(({ inputs: read }, index) => read.map((id) => [id, index] as const)),
  );
  const kept = new Set(graph.outputs.values());
  for (const [index, segment] of graph.segments.entries()) {
    const outputs = new Map(
      segment.outputs.map((id) => [id, new Float32Array(elementCount(graph.values[id]!.shape))] as const),
    );
    await backend.run({
      graph,
      segment,
      inputs: new Map(segment.inputs.map((id) => [id, values.get(id)!])),
      weights: weightsOf(graph, segment.weights, weights),
      outputs,
    });
    for (const [id, data] of outputs) values.set(id, data);
    for (const id of segment.inputs) if (lastReader.get(id) === index && !kept.has(id)) values.delete(id);
  }
  return new Map([...graph.outputs].map(([name, id]) => [name, values.get(id) as Float32Array<ArrayBuffer>]));
}

/** All memory is NaN at first: what is read before it is written shows. */
export async function runInBands(
  backend: Backend,
  program: BandProgram,
  inputs: ReadonlyMap<string, ActivationData>,
  weights: Weights,
  options: Pick<BandContext, "signal" | "onLayer"> = {},
): Promise<Results> {
  const storage = bandStorage(program);
  const memory = {
    spilled: new Float32Array(storage.spilledBytes / 4).fill(Number.NaN),
    gathered: new Float32Array(storage.gatherBytes / 4).fill(Number.NaN),
  };
  return await runBands(program, inputs, {
    storage,
    memory,
    ...options,
    run: async (passId, bandInputs, { into: outputs }) => {
      const { graph } = program.passes.find(({ id }) => id === passId)!;
      const segment = graph.segments[0]!;
      await backend.run({
        graph,
        segment,
        inputs: new Map([...graph.inputs].map(([name, id]) => [id, bandInputs.get(name)!])),
        weights: weightsOf(graph, segment.weights, weights),
        outputs: new Map([...graph.outputs].map(([name, id]) => [id, outputs.get(name)!])),
      });
    },
  });
}
