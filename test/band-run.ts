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

/** [B, H, W, C] to [B, C, H, W]; `shape` is the latter. */
function channelsFirst([batch, channels, height, width]: readonly number[], data: Float32Array): Float32Array {
  const turned = new Float32Array(data.length);
  let at = 0;
  for (let image = 0; image < batch!; image++) {
    for (let channel = 0; channel < channels!; channel++) {
      for (let pixel = 0; pixel < height! * width!; pixel++) {
        turned[at++] = data[(image * height! * width! + pixel) * channels! + channel]!;
      }
    }
  }
  return turned;
}

/** All memory is NaN at first: what is read before it is written shows. */
export async function runInBands(
  backend: Backend,
  program: BandProgram,
  inputs: ReadonlyMap<string, ActivationData>,
  weights: Weights,
  { rowsFirst = false, ...options }: Partial<Pick<BandContext, "signal" | "onLayer" | "rowsFirst">> = {},
): Promise<Results> {
  const storage = bandStorage(program);
  const memory = {
    spilled: new Float32Array(storage.spilledBytes / 4).fill(Number.NaN),
    gathered: new Float32Array(storage.gatherBytes / 4).fill(Number.NaN),
  };
  return await runBands(program, inputs, {
    storage,
    memory,
    rowsFirst,
    ...options,
    run: async (passId, bandInputs, { into: outputs, inDeviceOrder }) => {
      const { graph } = program.passes.find(({ id }) => id === passId)!;
      const segment = graph.segments[0]!;
      const turned = (name: string, shape: readonly number[]) =>
        rowsFirst && inDeviceOrder.has(name) && shape.length === 4;
      const given = (name: string, id: ValueId) => {
        const { shape } = graph.values[id]!;
        const data = bandInputs.get(name)!;
        return turned(name, shape) ? channelsFirst(shape, data as Float32Array) : data;
      };
      await backend.run({
        graph,
        segment,
        inputs: new Map([...graph.inputs].map(([name, id]) => [id, given(name, id)])),
        weights: weightsOf(graph, segment.weights, weights),
        outputs: new Map([...graph.outputs].map(([name, id]) => [id, outputs.get(name)!])),
      });
      for (const [name, id] of graph.outputs) {
        const { shape } = graph.values[id]!;
        const [batch, channels, height, width] = shape as [number, number, number, number];
        // Turned round once more in two steps: [B, C, HW] -> [B, HW, C].
        if (turned(name, shape))
          outputs.get(name)!.set(channelsFirst([batch, height * width, channels, 1], outputs.get(name)!));
      }
    },
  });
}
