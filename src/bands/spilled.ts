/** @file Activations that lie in host memory between the layers of a program of bands: which rows, and from when to when. */
import type { Graph, ValueId } from "../ir/graph.ts";
import { elementCount } from "../tensor/dtype.ts";
import { bandShape, type RowRange, type Rows } from "./rows.ts";

/** Rows of a spilled tensor that one band makes. Row-major: the shape is the tensor's with fewer rows. */
export interface SpilledRows {
  readonly rows: RowRange;
  readonly shape: readonly number[];
  readonly lengthBytes: number;
  /** Runs of bands, counted over all layers, that make it and read it last. */
  readonly firstBandRun: number;
  readonly lastBandRun: number;
}

/** A result of a layer that lies in host memory for later layers, or for the caller. */
export interface SpilledTensor {
  readonly value: ValueId;
  readonly name: string;
  readonly shape: readonly number[];
  readonly lengthBytes: number;
  /** In order of rows, without gaps. */
  readonly parts: readonly SpilledRows[];
}

/** What must be known of a layer. */
export interface SpillingLayer {
  readonly bands: readonly { readonly reads: readonly { readonly value: ValueId; readonly rows: RowRange }[] }[];
  /** Values that later layers or the caller read. */
  readonly keeps: readonly ValueId[];
  /** Of each band, the rows of each value it keeps. */
  readonly kept: readonly ReadonlyMap<ValueId, RowRange>[];
}

/** What each layer keeps, by the bands that make it and the runs of bands that read it. */
export function spilledTensors(
  graph: Graph,
  rows: ReadonlyMap<ValueId, Rows>,
  layers: readonly SpillingLayer[],
  firstRuns: readonly number[],
  bandRuns: number,
): ReadonlyMap<ValueId, SpilledTensor> {
  const reads = new Map<ValueId, { readonly rows: RowRange; readonly bandRun: number }[]>();
  layers.forEach(({ bands }, layer) => {
    bands.forEach((band, index) => {
      for (const read of band.reads) {
        const list = reads.get(read.value) ?? [];
        list.push({ rows: read.rows, bandRun: firstRuns[layer]! + index });
        reads.set(read.value, list);
      }
    });
  });
  const results = new Set(graph.outputs.values());
  const tensors = new Map<ValueId, SpilledTensor>();
  layers.forEach(({ keeps, kept }, layer) => {
    for (const id of keeps) {
      const value = graph.values[id]!;
      const parts = kept.map((ranges, index): SpilledRows => {
        const own = ranges.get(id)!;
        const shape = bandShape(value, rows.get(id)!, own);
        const firstBandRun = firstRuns[layer]! + index;
        const readers = (reads.get(id) ?? []).filter((read) => read.rows.from < own.to && own.from < read.rows.to);
        const last = results.has(id) ? bandRuns - 1 : Math.max(firstBandRun, ...readers.map(({ bandRun }) => bandRun));
        return { rows: own, shape, lengthBytes: 4 * elementCount(shape), firstBandRun, lastBandRun: last };
      });
      const { name, shape } = value;
      tensors.set(id, { value: id, name, shape, lengthBytes: 4 * elementCount(shape), parts });
    }
  });
  return tensors;
}

/** Bytes that are spilled during each run of a band. */
export function spilledByRun(tensors: readonly SpilledTensor[], bandRuns: number): readonly number[] {
  const change = new Array<number>(bandRuns + 1).fill(0);
  for (const { parts } of tensors) {
    for (const { firstBandRun, lastBandRun, lengthBytes } of parts) {
      change[firstBandRun]! += lengthBytes;
      change[lastBandRun + 1]! -= lengthBytes;
    }
  }
  let live = 0;
  return change.slice(0, bandRuns).map((difference) => {
    live += difference;
    return live;
  });
}
