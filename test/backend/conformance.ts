/**
 * @file The shared check of a backend: every case of op-cases.ts and some whole segments, against the reference backend.
 *
 * Tolerance: a backend sums in fp32 where the reference sums in fp64. A sum of K products errs by about sqrt(K) 2^-24 of its
 * terms' size, 2e-6 at this table's largest K (1280); exp and erf approximations add some 1e-7. So 1e-5 of the result's
 * largest magnitude leaves a factor of five, and a wrong op, axis, pad or rounding to fp16 (5e-4) is far outside.
 */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { ActivationData, Backend, WeightData } from "../../src/backend/backend.ts";
import { createReferenceBackend } from "../../src/backend/reference/backend.ts";
import { GraphBuilder, type Tensor } from "../../src/ir/builder.ts";
import type { Graph, ValueId } from "../../src/ir/graph.ts";
import { INFER_SHAPE, type OpAttrs, type OpName } from "../../src/ir/ops.ts";
import { elementCount, numberToF16 } from "../../src/tensor/dtype.ts";
import { sameOutputs } from "../support/same.ts";
import { type CaseInput, OP_CASES, type OpCase } from "./op-cases.ts";
import { SEGMENT_CASES, type SegmentCase } from "./segment-cases.ts";

export type WeightType = "f16" | "bf16" | "f32";
const WEIGHT_TYPES: readonly WeightType[] = ["f16", "bf16", "f32"];
const TOLERANCE = 1e-5;
/** As the weight stream places them: in one arena, not at its start. */
const ARENA_OFFSET_BYTES = 64;

/** What a graph computes with. */
export interface GraphData {
  readonly inputs: ReadonlyMap<ValueId, ActivationData>;
  readonly weights: ReadonlyMap<ValueId, Float32Array>;
}

/**
 * Registers all tests of one backend; with `skip`, they are reported as skipped for that reason. `weightTypes`: those that every
 * case is run with (a software graphics card takes a second to compile each).
 */
export function conformanceTests(
  name: string,
  open: () => Promise<Backend>,
  skip: string | undefined,
  weightTypes: readonly WeightType[] = WEIGHT_TYPES,
): void {
  const options = skip === undefined ? {} : { skip };
  let backend: Backend;
  before(async () => {
    if (skip === undefined) backend = await open();
  });
  after(async () => {
    if (skip === undefined) await backend[Symbol.asyncDispose]();
  });

  test("there is a case for every op", () => {
    const covered = new Set<string>(OP_CASES.map(({ op }) => op));
    assert.deepEqual(
      Object.keys(INFER_SHAPE).filter((op) => !covered.has(op)),
      [],
    );
  });

  for (const item of OP_CASES) {
    test(`${name} ${item.op}: ${item.name}`, options, async () => {
      const { graph, data } = opGraph(item, 1);
      const types = data.weights.size > 0 ? weightTypes : (["f32"] as const);
      for (const type of types) await requireAgreement(backend, graph, data, type);
    });
  }

  for (const item of SEGMENT_CASES) {
    test(`${name} segment: ${item.name}`, options, async () => {
      const graph = segmentGraph(item);
      for (const type of weightTypes) await requireAgreement(backend, graph, drawData(graph, 2), type);
    });
  }

  test(`${name}: equal segments with different weights, in turn`, options, async () => {
    const graph = segmentGraph(SEGMENT_CASES[0]!);
    for (const seed of [3, 4, 3]) await requireAgreement(backend, graph, drawData(graph, seed), "f16");
  });

  test(`${name}: weights of mixed types in one segment`, options, async () => {
    const graph = segmentGraph(SEGMENT_CASES[0]!);
    const data = drawData(graph, 5);
    const types = new Map([...data.weights.keys()].map((id, i) => [id, WEIGHT_TYPES[i % 3]!]));
    await requireAgreement(backend, graph, data, types);
  });

  test(`${name}: a batch of 2 is two batches of 1`, options, async () => {
    for (const item of SEGMENT_CASES) {
      const both = segmentGraph(item, 2);
      const data = drawData(both, 6);
      const together = await computeGraph(backend, both, data, "f16");
      for (const half of [0, 1]) {
        const single = segmentGraph(item, 1);
        const inputs = [...data.inputs.values()].map((x) =>
          x.subarray((half * x.length) / 2, ((half + 1) * x.length) / 2),
        );
        const alone = await computeGraph(
          backend,
          single,
          {
            inputs: new Map([...single.inputs.values()].map((id, i) => [id, inputs[i]!])),
            weights: pair(single.segments[0]!.weights, [...data.weights.values()]),
          },
          "f16",
        );
        for (const [output, values] of alone) {
          const whole = together.get(output)!;
          requireClose(
            whole.subarray(half * values.length, (half + 1) * values.length),
            values,
            `${item.name} ${output}`,
          );
        }
      }
    }
  });

  test(`${name}: the same twice gives the same bits, and works again after release`, options, async () => {
    const graph = segmentGraph(SEGMENT_CASES[0]!);
    const data = drawData(graph, 7);
    const first = await computeGraph(backend, graph, data, "f16");
    sameOutputs(await computeGraph(backend, graph, data, "f16"), first);
    await backend.release();
    sameOutputs(await computeGraph(backend, graph, data, "f16"), first);
  });

  test(`${name}: an aborted signal stops the run with its reason`, options, async () => {
    const graph = segmentGraph(SEGMENT_CASES[0]!);
    const signal = AbortSignal.abort(new Error("enough"));
    await assert.rejects(computeGraph(backend, graph, drawData(graph, 8), "f32", signal), /^Error: enough$/);
  });
}

/** One op as a segment of its own. */
export function opGraph(item: OpCase, seed: number): { graph: Graph; data: GraphData } {
  const builder = new GraphBuilder(item.op);
  const tensors = item.inputs.map((input, i) => declare(builder, input, i));
  // Node by node the op and its attributes fit by the table's type; a union can't say so.
  const result = builder.segment("one op", () =>
    builder.node(item.op as OpName, tensors, item.attrs as OpAttrs[OpName]),
  );
  builder.output("result", result);
  const graph = builder.build();
  const inputs = new Map<ValueId, ActivationData>();
  const weights = new Map<ValueId, Float32Array>();
  item.inputs.forEach((input, i) => {
    const values = caseValues(input, seed * 100 + i);
    const { id } = tensors[i]!;
    if (input.kind === "weight") weights.set(id, values);
    else inputs.set(id, input.kind === "ids" ? Int32Array.from(values) : values);
  });
  return { graph, data: { inputs, weights } };
}

function declare(builder: GraphBuilder, { kind, shape }: CaseInput, place: number): Tensor {
  if (kind === "weight") return builder.weight(`weight ${place}`, shape);
  return builder.input(`input ${place}`, shape, kind === "ids" ? "i32" : "f32");
}

export function segmentGraph(item: SegmentCase, batch = 2): Graph {
  const builder = new GraphBuilder(item.name);
  item.build(builder, batch);
  return builder.build();
}

function caseValues({ shape, values, factor = 1, offset = 0 }: CaseInput, seed: number): Float32Array {
  if (values) return Float32Array.from(values);
  return draw(elementCount(shape), seed).map((value) => value * factor + offset);
}

/** All inputs and weights of a graph of one segment. */
export function drawData(graph: Graph, seed: number): GraphData {
  const segment = graph.segments[0]!;
  const values = (id: ValueId, i: number) => draw(elementCount(graph.values[id]!.shape), seed * 1000 + i);
  const place = (id: ValueId) => graph.values[id]!.shape.length;
  return {
    inputs: new Map([...graph.inputs.values()].map((id, i) => [id, values(id, i)])),
    // Matrices a quarter as large, so that values neither vanish nor explode along the segment.
    weights: new Map(segment.weights.map((id, i) => [id, values(id, 100 + i).map((v) => (place(id) > 1 ? v / 4 : v))])),
  };
}

/** Multiples of 1/64 in -2..2: exact in f16 and bf16. */
function draw(count: number, seed: number): Float32Array {
  let state = (seed * 2654435761 + 12345) >>> 0;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return ((state >>> 24) - 128) / 64;
  });
}

/** Throws AssertionError unless all results are the reference backend's, within the tolerance. */
export async function requireAgreement(
  backend: Backend,
  graph: Graph,
  data: GraphData,
  types: WeightType | ReadonlyMap<ValueId, WeightType>,
): Promise<void> {
  const expected = await computeGraph(createReferenceBackend(), graph, data, "f32");
  const found = await computeGraph(backend, graph, data, types);
  assert.deepEqual([...found.keys()], [...expected.keys()]);
  for (const [name, values] of expected) {
    requireClose(found.get(name)!, values, typeof types === "string" ? `${name}, weights ${types}` : name);
  }
}

function requireClose(found: Float32Array, expected: Float32Array, what: string): void {
  assert.equal(found.length, expected.length);
  const largest = expected.reduce((max, value) => Math.max(max, Math.abs(value)), 1e-3);
  expected.forEach((value, i) => {
    // Written so that NaN fails.
    const fits = Math.abs(found[i]! - value) <= TOLERANCE * largest;
    assert.ok(fits, `${what}: element ${i} is ${found[i]}, expected ${value} within ${TOLERANCE * largest}`);
  });
}

/** Outputs by name of a graph of one segment. */
export async function computeGraph(
  backend: Backend,
  graph: Graph,
  data: GraphData,
  types: WeightType | ReadonlyMap<ValueId, WeightType>,
  signal?: AbortSignal,
): Promise<Map<string, Float32Array>> {
  const segment = graph.segments[0]!;
  const typeOf = (id: ValueId) => (typeof types === "string" ? types : types.get(id)!);
  const outputs = new Map(
    segment.outputs.map((id) => [id, new Float32Array(elementCount(graph.values[id]!.shape)).fill(Number.NaN)]),
  );
  const weights = new Map([...data.weights].map(([id, values]) => [id, store(values, typeOf(id))]));
  await backend.run({ graph, segment, inputs: data.inputs, weights, outputs }, signal);
  return new Map([...graph.outputs].map(([name, id]) => [name, outputs.get(id)!]));
}

/** Values that `type` holds exactly, as its bytes. */
function store(values: Float32Array, type: WeightType): WeightData {
  const size = type === "f32" ? 4 : 2;
  const bytes = new Uint8Array(new ArrayBuffer(ARENA_OFFSET_BYTES + values.length * size), ARENA_OFFSET_BYTES);
  if (type === "f32") {
    new Float32Array(bytes.buffer, ARENA_OFFSET_BYTES).set(values);
  } else {
    const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
    const half = type === "f16" ? (_: number, i: number) => numberToF16(values[i]!) : (word: number) => word >>> 16;
    new Uint16Array(bytes.buffer, ARENA_OFFSET_BYTES).set(Array.from(words, half));
  }
  return { dtype: type, bytes };
}

function pair<Item>(ids: readonly ValueId[], items: readonly Item[]): Map<ValueId, Item> {
  return new Map(ids.map((id, i) => [id, items[i]!]));
}
