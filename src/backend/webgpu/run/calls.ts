/**
 * @file Segments made ready for a device: dispatches compiled once per signature, bound once per set of spans, so that the step
 * loop makes nothing.
 */

import type { Graph, Segment } from "../../../ir/graph.ts";
import type { SegmentCall, StoredWeight } from "../../device.ts";
import type { DispatchList } from "../lower/dispatches.ts";
import type { WebGpuSizes } from "../lower/sizes.ts";
import { bindDispatch, compileList } from "./bindings.ts";
import { USAGE } from "./gpu-flags.ts";
import type { DeviceMemory, GpuArena } from "./memory.ts";
import type { PipelineCache } from "./pipelines.ts";

/** Bound calls kept at most: a plan has one per segment and set of spans. */
const MAX_BOUND_CALLS = 4096;

export interface Compiled {
  readonly list: DispatchList;
  readonly pipelines: readonly GPUComputePipeline[];
  readonly records: GPUBuffer | undefined;
  readonly number: number;
}

/** Bind groups of each part of each dispatch. */
export type BoundCall = readonly (readonly GPUBindGroup[])[];

export class CallCache {
  readonly #device: GPUDevice;
  readonly #memory: DeviceMemory;
  readonly #pipelines: PipelineCache;
  readonly #sizes: WebGpuSizes;
  readonly #compiled = new Map<string, Promise<Compiled>>();
  readonly #bound = new Map<string, { readonly groups: BoundCall; readonly arenas: ReadonlySet<GpuArena> }>();
  #made = 0;

  constructor(
    device: GPUDevice,
    parts: { readonly memory: DeviceMemory; readonly pipelines: PipelineCache; readonly sizes: WebGpuSizes },
  ) {
    this.#device = device;
    this.#memory = parts.memory;
    this.#pipelines = parts.pipelines;
    this.#sizes = parts.sizes;
  }

  compile(graph: Graph, segment: Segment, weights: readonly StoredWeight[]): Promise<Compiled> {
    const { signature, list } = this.#sizes.list(graph, segment, weights);
    let compiled = this.#compiled.get(signature);
    if (!compiled) {
      compiled = this.#compileList(list);
      compiled.catch(() => this.#compiled.delete(signature));
      this.#compiled.set(signature, compiled);
    }
    return compiled;
  }

  async #compileList(list: DispatchList): Promise<Compiled> {
    const pipelines = await compileList(this.#pipelines, list);
    const number = ++this.#made;
    if (list.records.length === 0) return { list, pipelines, records: undefined, number };
    const records = this.#device.createBuffer({
      label: "parameters",
      size: list.records.length,
      usage: USAGE.uniform | USAGE.copyTarget,
    });
    this.#device.queue.writeBuffer(records, 0, list.records);
    return { list, pipelines, records, number };
  }

  /** `scratch`: at least `scratchBytes` of the list. */
  bind(
    { segment, inputs, weights, outputs }: SegmentCall,
    compiled: Compiled,
    scratch: GpuArena | undefined,
  ): BoundCall {
    const { list, records, number } = compiled;
    const spans = {
      input: segment.inputs.map((id) => inputs.get(id)!),
      weight: segment.weights.map((id) => weights.get(id)!.span),
      output: segment.outputs.map((id) => outputs.get(id)!),
    };
    const places = list.storages.map(({ kind, index }, i) => {
      if (kind === "scratch") return { arena: scratch!, offsetBytes: list.scratchOffsets[i]! };
      const span = spans[kind][index!]!;
      return { arena: this.#memory.arenaOf(span), offsetBytes: span.offsetBytes };
    });
    const key = `${number}@${places.map(({ arena, offsetBytes }) => `${arena.number}:${offsetBytes}`)}`;
    const known = this.#bound.get(key);
    if (known) return known.groups;
    const placeOf = (storage: number) => {
      const { arena, offsetBytes } = places[storage]!;
      return { buffer: arena.buffer, offsetBytes };
    };
    const groups = list.dispatches.map((dispatch) =>
      bindDispatch(this.#device, this.#pipelines, dispatch, placeOf, records!),
    );
    if (this.#bound.size >= MAX_BOUND_CALLS) this.#bound.delete(this.#bound.keys().next().value!);
    this.#bound.set(key, { groups, arenas: new Set(places.map(({ arena }) => arena)) });
    return groups;
  }

  /** Number of calls that are kept bound. */
  get boundCount(): number {
    return this.#bound.size;
  }

  /** Forgets what is bound to an arena that is gone: its number never comes again. */
  forget(arena: GpuArena): void {
    for (const [key, { arenas }] of this.#bound) if (arenas.has(arena)) this.#bound.delete(key);
  }

  /** Forgets everything; queued work that still uses it ends before its memory goes. */
  async release(): Promise<void> {
    const held = [...this.#compiled.values()];
    this.#compiled.clear();
    this.#bound.clear();
    for (const compiled of await Promise.allSettled(held))
      if (compiled.status === "fulfilled") compiled.value.records?.destroy();
  }
}
