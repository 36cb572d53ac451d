/**
 * @file Any Device as a Backend, for the shared tests: each run gets an arena for its activations and one for its weights,
 * which pass through `upload` as a block does: one after the other, not aligned to anything.
 */
import type { Backend, SegmentRun } from "../../src/backend/backend.ts";
import type { Arena, BlockTensor, Device, DeviceWeight, Span, StoredWeight } from "../../src/backend/device.ts";
import type { ValueId } from "../../src/ir/graph.ts";

/** Lays spans out one after the other. */
class Layout {
  readonly #alignment: number;
  readonly items: { readonly id: ValueId; readonly offsetBytes: number; readonly lengthBytes: number }[] = [];
  bytes = 0;

  constructor(alignment: number) {
    this.#alignment = alignment;
  }

  add(id: ValueId, lengthBytes: number): void {
    this.items.push({ id, offsetBytes: this.bytes, lengthBytes });
    this.bytes += Math.ceil(lengthBytes / this.#alignment) * this.#alignment;
  }

  spans(arena: Arena): Map<ValueId, Span> {
    return new Map(this.items.map(({ id, offsetBytes, lengthBytes }) => [id, { arena, offsetBytes, lengthBytes }]));
  }
}

/** `stray`: bytes before each weight in its block, so that none starts at a multiple of four. */
export function deviceBackend(device: Device, stray = 2): Backend {
  const run = async ({ graph, segment, inputs, weights, outputs }: SegmentRun, signal?: AbortSignal) => {
    const activations = new Layout(device.alignmentBytes);
    for (const id of [...segment.inputs, ...segment.outputs]) activations.add(id, device.activationBytes(graph, id));
    const stored = segment.weights.map((id): StoredWeight => {
      return { dtype: weights.get(id)!.dtype, shape: graph.values[id]!.shape };
    });
    const kept = new Layout(device.alignmentBytes);
    segment.weights.forEach((id, i) => {
      kept.add(id, device.weightBytes(stored[i]!));
    });
    using arena = await device.createArena(Math.max(activations.bytes, 256), "activations");
    using weightArena = await device.createArena(Math.max(kept.bytes, 256), "weights");
    using _scratch = await device.createScratch(device.scratchBytes(graph, segment, stored).sharedBytes);
    const spans = activations.spans(arena);
    const weightSpans = kept.spans(weightArena);
    const deviceWeights = new Map<ValueId, DeviceWeight>(
      segment.weights.map((id, i) => [id, { span: weightSpans.get(id)!, stored: stored[i]! }]),
    );

    let storedBytes = 0;
    const tensors = segment.weights.map((id): BlockTensor => {
      const { bytes, dtype } = weights.get(id)!;
      const size = dtype === "f32" ? 4 : 2;
      const storedOffsetBytes = Math.ceil((storedBytes + stray) / size) * size;
      storedBytes = storedOffsetBytes + bytes.length;
      return { name: graph.values[id]!.name, storedOffsetBytes, ...deviceWeights.get(id)! };
    });
    const source = new Uint8Array(storedBytes).fill(0xff);
    segment.weights.forEach((id, i) => {
      source.set(weights.get(id)!.bytes, tensors[i]!.storedOffsetBytes);
    });
    const read = async (startByte: number, into: Uint8Array) => {
      into.set(source.subarray(startByte, startByte + into.length));
    };
    signal?.throwIfAborted();
    await device.upload({ label: segment.name, storedBytes, tensors, read }, signal);
    for (const [id, data] of inputs) await device.write(graph, id, spans.get(id)!, data);
    const only = (ids: readonly ValueId[]) => new Map(ids.map((id) => [id, spans.get(id)!]));
    await device.run(
      { graph, segment, inputs: only(segment.inputs), weights: deviceWeights, outputs: only(segment.outputs) },
      signal,
    );
    for (const [id, data] of outputs) await device.read(graph, id, spans.get(id)!, data);
    await device.settle();
  };
  return {
    name: device.name,
    weightDTypes: new Set(["f16", "bf16", "f32"]),
    overheadBytes: 0,
    prepare: async () => {},
    scratchBytes: () => 0,
    run,
    release: () => device.release(),
    [Symbol.asyncDispose]: () => device[Symbol.asyncDispose](),
  };
}
