/**
 * @file What lowering keeps in mind of one segment: where its values lie, copies of them in other forms, and the list of
 * dispatches so far. Pure.
 */
import type { Graph, Segment, ValueId } from "../../../ir/graph.ts";
import { elementCount } from "../../../tensor/dtype.ts";
import type { StoredWeight } from "../../device.ts";
import { chooseTile } from "../kernels/gemm-tiles.ts";
import { COPY_ITEMS, copyKernel } from "../kernels/movement.ts";
import type { StorageType } from "../kernels/wgsl.ts";
import { BYTE_COST, DispatchBuilder, type Window } from "./dispatches.ts";
import { BASELINE, fp32Paths, type KernelPaths } from "./paths.ts";
import type { TileChoice } from "./products.ts";
import {
  activationBytes,
  isRowMajor,
  physicalStrides,
  rowMajorStrides,
  weightBytes,
  weightStorage,
} from "./tensor-layout.ts";

export interface LoweringLimits {
  /** The adapter's limit on one storage binding. */
  readonly bindingBytes: number;
  /** The adapter's limit on workgroup memory. */
  readonly workgroupBytes: number;
}

export interface LoweringOptions {
  readonly limits: LoweringLimits;
  readonly chooseTile?: TileChoice;
  /** Default: what every adapter can do. */
  readonly paths?: KernelPaths;
}

/** Where the elements of a value lie, and stored how. */
export interface Place {
  readonly storage: number;
  readonly type: StorageType;
}

export class LoweringScope {
  readonly graph: Graph;
  readonly builder: DispatchBuilder;
  readonly #segment: Segment;
  readonly #options: LoweringOptions;
  readonly #places = new Map<ValueId, Place>();
  readonly #outputs: ReadonlySet<ValueId>;
  readonly #asFloats = new Map<ValueId, number>();
  readonly #asRows = new Map<ValueId, number>();

  constructor(graph: Graph, segment: Segment, weights: readonly StoredWeight[], options: LoweringOptions) {
    this.graph = graph;
    this.#segment = segment;
    this.#options = options;
    this.builder = new DispatchBuilder(options.limits.bindingBytes);
    this.#outputs = new Set(segment.outputs);
    segment.inputs.forEach((id, index) => {
      const storage = this.builder.storage({ kind: "input", index, bytes: activationBytes(graph, id) });
      this.#places.set(id, { storage, type: "f32" });
    });
    segment.weights.forEach((id, index) => {
      const storage = this.builder.storage({ kind: "weight", index, bytes: weightBytes(weights[index]!) });
      this.#places.set(id, { storage, type: weightStorage(weights[index]!.dtype) });
    });
    segment.outputs.forEach((id, index) => {
      const storage = this.builder.storage({ kind: "output", index, bytes: activationBytes(graph, id) });
      this.#places.set(id, { storage, type: "f32" });
    });
  }

  get chooseTile(): TileChoice {
    return this.#options.chooseTile ?? chooseTile;
  }

  /** Kernels for this graph. */
  get paths(): KernelPaths {
    const paths = this.#options.paths ?? BASELINE;
    return this.graph.fp32 ? fp32Paths(paths) : paths;
  }

  get limits(): LoweringLimits {
    return this.#options.limits;
  }

  shape(id: ValueId): readonly number[] {
    return this.graph.values[id]!.shape;
  }

  label(id: ValueId): string {
    return `${this.#segment.name}: ${this.graph.values[id]!.name}`;
  }

  /** The elements as they are stored. */
  place(id: ValueId): Place {
    const place = this.#places.get(id);
    if (!place) throw new Error(`${this.label(id)} is read before it is computed`);
    return place;
  }

  /** The elements as fp32: a weight of 16 bits is converted once. */
  floats(id: ValueId): number {
    const { storage, type } = this.place(id);
    if (type === "f32") return storage;
    const known = this.#asFloats.get(id);
    if (known !== undefined) return known;
    const converted = this.builder.scratch(activationBytes(this.graph, id));
    this.#asFloats.set(id, converted);
    const shape = [elementCount(this.shape(id))];
    this.copy(this.label(id), { storage, type }, converted, shape, [1], [1]);
    return converted;
  }

  /** The elements as fp32 in logical order. */
  rows(id: ValueId): number {
    const shape = this.shape(id);
    const storage = this.floats(id);
    if (isRowMajor(shape)) return storage;
    const known = this.#asRows.get(id);
    if (known !== undefined) return known;
    const ordered = this.builder.scratch(activationBytes(this.graph, id));
    this.#asRows.set(id, ordered);
    this.copy(this.label(id), { storage, type: "f32" }, ordered, shape, physicalStrides(shape), rowMajorStrides(shape));
    return ordered;
  }

  /** Where `id`, about to be computed, goes. */
  target(id: ValueId): number {
    const known = this.#places.get(id);
    if (known) return known.storage;
    const storage = this.builder.scratch(activationBytes(this.graph, id));
    this.#places.set(id, { storage, type: "f32" });
    return storage;
  }

  /** Where `id` goes in logical order; `done` brings it into the device's order. */
  targetRows(id: ValueId): { readonly storage: number; readonly done: () => void } {
    const shape = this.shape(id);
    if (isRowMajor(shape)) return { storage: this.target(id), done: () => undefined };
    const storage = this.builder.scratch(activationBytes(this.graph, id));
    const done = () => {
      const from: Place = { storage, type: "f32" };
      this.copy(this.label(id), from, this.target(id), shape, rowMajorStrides(shape), physicalStrides(shape));
    };
    return { storage, done };
  }

  /** Copies elements in the order of `shape`'s axes (at most four), from and to places with strides and starts. */
  copy(
    label: string,
    from: Place,
    to: number,
    shape: readonly number[],
    fromStrides: readonly number[],
    toStrides: readonly number[],
    starts: { readonly from?: number; readonly to?: number } = {},
  ): void {
    const { from: fromStart = 0, to: toStart = 0 } = starts;
    if (shape.length > 4) throw new Error(`${label}: a copy of ${shape.length} axes`);
    const four = <T>(items: readonly T[], fill: T) => [...new Array<T>(4 - items.length).fill(fill), ...items];
    const sizes = four(shape, 1);
    const [f, t] = [four(fromStrides, 0), four(toStrides, 0)];
    const items = elementCount(shape);
    const named = (prefix: string, sizes: readonly number[]) =>
      Object.fromEntries(sizes.map((value, axis) => [`${prefix}${axis}`, value]));
    const params = {
      items,
      ...named("size", sizes),
      source: fromStart,
      place: toStart,
      ...named("source", f),
      ...named("place", t),
    };
    this.builder.add({
      label,
      operands: [
        {
          name: "x",
          storage: from.storage,
          window: slowAxisWindow(items, COPY_ITEMS, sizes, f, fromStart, from.type === "f32" ? 4 : 2),
        },
        { name: "out", storage: to, window: slowAxisWindow(items, COPY_ITEMS, sizes, t, toStart, 4) },
      ],
      kernel: () => copyKernel(from.type),
      workgroups: Math.ceil(items / COPY_ITEMS),
      params,
      costPerWorkgroup: COPY_ITEMS * 8 * BYTE_COST,
    });
  }

  /** `output` names the storage of `x`, unless both have spans of their own: then it is copied. */
  alias(x: ValueId, output: ValueId): void {
    const from = this.place(x);
    if (!this.#outputs.has(output)) {
      this.#places.set(output, from);
      return;
    }
    const count = [elementCount(this.shape(output))];
    this.copy(this.label(output), from, this.target(output), count, [1], [1]);
  }
}

/** Window of a strided copy: exact where the slowest axis of the copy is the slowest of the operand, else the whole. */
function slowAxisWindow(
  items: number,
  perWorkgroup: number,
  sizes: readonly number[],
  strides: readonly number[],
  start: number,
  bytesPerElement: number,
): Window | undefined {
  const axis = sizes.findIndex((size) => size > 1);
  if (axis < 0) return undefined;
  const inner = elementCount(sizes.slice(axis + 1));
  const reach = sizes.reduce((sum, size, i) => (i > axis ? sum + (size - 1) * strides[i]! : sum), 1);
  if (strides[axis]! < reach) return undefined;
  return (first, last) => {
    const from = Math.floor((first * perWorkgroup) / inner);
    const to = Math.ceil(Math.min(items, last * perWorkgroup) / inner) - 1;
    return [(start + from * strides[axis]!) * bytesPerElement, (start + to * strides[axis]! + reach) * bytesPerElement];
  };
}

/** Window of a tensor of which each workgroup has an equal share. */
export function shareWindow(bytesPerWorkgroup: number, bytes: number): Window {
  return (first, last) => [first * bytesPerWorkgroup, Math.min(last * bytesPerWorkgroup, bytes)];
}
