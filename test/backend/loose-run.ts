/**
 * @file A lowered segment run by itself, each storage in a buffer of its own that goes on behind its end, bound with it: what a kernel
 * reads or writes there shows. Drivers keep kernels from what isn't bound, or don't; a card's neighbour is another tensor.
 */
import type { StoredWeight } from "../../src/backend/device.ts";
import type { OpenedGpu } from "../../src/backend/webgpu/adapter/opened-gpu.ts";
import type { DispatchList } from "../../src/backend/webgpu/lower/dispatches.ts";
import { lowerSegment } from "../../src/backend/webgpu/lower/lowering.ts";
import type { LoweringOptions } from "../../src/backend/webgpu/lower/lowering-scope.ts";
import { gatherToDevice, isRowMajor, scatterFromDevice } from "../../src/backend/webgpu/lower/tensor-layout.ts";
import { compileList, LooseList } from "../../src/backend/webgpu/run/bindings.ts";
import { DeviceHealth } from "../../src/backend/webgpu/run/device-health.ts";
import { MAP, USAGE } from "../../src/backend/webgpu/run/gpu-flags.ts";
import { PipelineCache } from "../../src/backend/webgpu/run/pipelines.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { elementCount, numberToF16 } from "../../src/tensor/dtype.ts";
import type { GraphData } from "./conformance.ts";

/** No number, whatever reads it as one. */
export const CANARY = 0x7fc5a5a5;

/** Words that a storage holds, before and after: the tensor's own, then canaries. */
export interface LooseStorage {
  readonly kind: string;
  /** Of the tensor itself; the others are canaries. For scratch memory all that was asked for. */
  readonly ownWords: number;
  readonly before: Uint32Array;
  readonly after: Uint32Array;
}

export class LooseRunner {
  readonly #device: GPUDevice;
  readonly #pipelines: PipelineCache;

  constructor({ device }: OpenedGpu) {
    this.#device = device;
    this.#pipelines = new PipelineCache(device, new DeviceHealth());
  }

  /** A segment with weights in f16. `guardBytes` follow each storage. */
  async run(graph: Graph, data: GraphData, options: LoweringOptions, guardBytes = 0) {
    const segment = graph.segments[0]!;
    const stored = segment.weights.map((id): StoredWeight => ({ dtype: "f16", shape: graph.values[id]!.shape }));
    const list = guarded(lowerSegment(graph, segment, stored, options), guardBytes);
    const storages = list.storages.map(({ kind, index, bytes }, at): Omit<LooseStorage, "after"> => {
      // Each has its own: what is made of one storage's canaries is none of another's.
      const before = new Uint32Array(bytes / 4).fill(CANARY + at);
      const id = kind === "scratch" ? undefined : segment[`${kind}s`][index!]!;
      if (id === undefined) return { kind, ownWords: (bytes - guardBytes) / 4, before };
      const elements = elementCount(graph.values[id]!.shape);
      const own = kind === "output" ? undefined : inDeviceOrder(graph.values[id]!.shape, valuesOf(data, kind, id));
      if (own && kind === "weight") new Uint16Array(before.buffer).set(Array.from(own, numberToF16));
      else if (own) new (own.constructor as Float32ArrayConstructor)(before.buffer).set(own);
      return { kind, ownWords: kind === "weight" ? Math.ceil(elements / 2) : elements, before };
    });
    const after = await this.compute(list, storages);
    const outputs = new Map(
      [...graph.outputs].map(([name, id]): [string, Float32Array] => {
        const at = list.storages.findIndex(({ kind, index }) => kind === "output" && segment.outputs[index!] === id);
        const { shape } = graph.values[id]!;
        const values = new Float32Array(elementCount(shape));
        scatterFromDevice(shape, 0, new Float32Array(after[at]!.buffer, 0, values.length), values);
        return [name, values];
      }),
    );
    return { list, outputs, storages: storages.map((item, i): LooseStorage => ({ ...item, after: after[i]! })) };
  }

  /** Words of each storage of a list when all is done. */
  async compute(list: DispatchList, storages: readonly { readonly before: Uint32Array }[]): Promise<Uint32Array[]> {
    const device = this.#device;
    const compiled = await compileList(this.#pipelines, list);
    device.pushErrorScope("validation");
    using loose = new LooseList(device, this.#pipelines, list, compiled, "loose");
    storages.forEach(({ before }, i) => {
      device.queue.writeBuffer(loose.storages[i]!, 0, before as Uint32Array<ArrayBuffer>);
    });
    const encoder = device.createCommandEncoder();
    loose.encode(encoder);
    const total = storages.reduce((sum, { before }) => sum + before.byteLength, 0);
    const target = device.createBuffer({ size: total, usage: USAGE.mapRead | USAGE.copyTarget });
    let at = 0;
    const places = storages.map(({ before }, i) => {
      encoder.copyBufferToBuffer(loose.storages[i]!, 0, target, at, before.byteLength);
      at += before.byteLength;
      return at - before.byteLength;
    });
    device.queue.submit([encoder.finish()]);
    const error = await device.popErrorScope();
    if (error) throw new Error(error.message);
    await target.mapAsync(MAP.read);
    const all = target.getMappedRange().slice(0);
    target.destroy();
    return storages.map(({ before }, i) => new Uint32Array(all.slice(places[i]!, places[i]! + before.byteLength)));
  }
}

function guarded(list: DispatchList, guardBytes: number): DispatchList {
  return {
    ...list,
    storages: list.storages.map((storage) => ({ ...storage, bytes: storage.bytes + guardBytes })),
    dispatches: list.dispatches.map((dispatch) => ({
      ...dispatch,
      parts: dispatch.parts.map(({ windows, runs }) => ({
        windows: windows.map(([from, to]) => [from, to + guardBytes] as const),
        runs,
      })),
    })),
  };
}

function valuesOf({ inputs, weights }: GraphData, kind: string, id: number): Float32Array | Int32Array {
  return kind === "weight" ? weights.get(id)! : inputs.get(id)!;
}

function inDeviceOrder(shape: readonly number[], values: Float32Array | Int32Array): Float32Array | Int32Array {
  if (isRowMajor(shape)) return values;
  const ordered = values.slice();
  gatherToDevice(shape, 0, ordered, values);
  return ordered;
}
