/**
 * @file Carries out a program of bands (bands.ts): spilled tensors lie in one stretch of host memory, bands of rows pass through
 * whatever computes, statistics of the bands are combined in fp64 in the order of the rows.
 */
import type { HostData } from "../backend/device.ts";
import type { Graph, ValueId } from "../ir/graph.ts";
import { layOutArena } from "../plan/arena.ts";
import { elementCount } from "../tensor/dtype.ts";
import type { Band, BandProgram } from "./bands.ts";
import { GroupStatistics } from "./group-statistics.ts";
import type { RowRange } from "./rows.ts";

/**
 * Runs one of the program's passes: fills `into`, by name; the memory it is given may be used again once it is done.
 * `upcoming`: the passes of the next bands, in their order.
 */
export type RunBand = (
  passId: string,
  inputs: ReadonlyMap<string, HostData>,
  options: {
    readonly into: ReadonlyMap<string, Float32Array<ArrayBuffer>>;
    /** Inputs and results that lie in the order of what computes: images with their rows first, if it says so. */
    readonly inDeviceOrder: ReadonlySet<string>;
    readonly upcoming: readonly string[];
    readonly signal?: AbortSignal | undefined;
  },
) => Promise<unknown>;

/** Bands whose passes are announced before they run, so that their weights can be read ahead. */
const BANDS_AHEAD = 4;

export interface BandContext {
  readonly run: RunBand;
  /**
   * What computes has images as [B, H, W, C]: spilled ones stay so, and nobody turns them round between two layers. Else, and for what
   * the caller gives and gets, [B, C, H, W].
   */
  readonly rowsFirst: boolean;
  /** Of the program, and memory as long as it says. */
  readonly storage: BandStorage;
  readonly memory: { readonly spilled: Float32Array<ArrayBuffer>; readonly gathered: Float32Array<ArrayBuffer> };
  readonly signal?: AbortSignal | undefined;
  /** A layer begins. */
  readonly onLayer?: (layer: number, layers: number, name: string) => void;
}

/** Host memory that carrying a program out takes, the caller's inputs and the results aside. Pure. */
export interface BandStorage {
  /** Where each part of each spilled tensor lies. */
  readonly offsetsBytes: ReadonlyMap<ValueId, readonly number[]>;
  readonly spilledBytes: number;
  /** Where a band's rows are put together that lie in several parts. */
  readonly gatherBytes: number;
}

const ALIGNMENT_BYTES = 64;

export function bandStorage(program: BandProgram): BandStorage {
  const tensors = [...program.tensors.values()];
  const layout = layOutArena(
    tensors.flatMap(({ parts }) =>
      parts.map(({ lengthBytes, firstBandRun, lastBandRun }) => ({
        lengthBytes,
        firstUse: firstBandRun,
        lastUse: lastBandRun,
      })),
    ),
    ALIGNMENT_BYTES,
  );
  let next = 0;
  const offsetsBytes = new Map(
    tensors.map((tensor) => {
      next += tensor.parts.length;
      return [tensor.value, layout.offsetsBytes.slice(next - tensor.parts.length, next)] as const;
    }),
  );
  const bands = program.layers.flatMap((layer) => layer.bands);
  const gatherBytes = Math.max(0, ...bands.map((band) => bandGatherBytes(program, band)));
  return { offsetsBytes, spilledBytes: layout.lengthBytes, gatherBytes };
}

/**
 * Feeds `inputs` by the names of the source graph and returns its results by name; they belong to the caller. The bits of
 * the results depend on the program and on what computes, on nothing else. Throws the signal's reason on abort, between bands.
 */
export async function runBands(
  program: BandProgram,
  inputs: ReadonlyMap<string, HostData>,
  { run, rowsFirst, storage, memory, signal, onLayer }: BandContext,
): Promise<Map<string, Float32Array<ArrayBuffer>>> {
  const { source, tensors, layers } = program;
  const fed = fedValues(source, inputs);
  const { spilled, gathered } = memory;
  const statistics = new Map<string, GroupStatistics>();
  const partData = (value: ValueId, part: number) => {
    const start = storage.offsetsBytes.get(value)![part]! / 4;
    return spilled.subarray(start, start + tensors.get(value)!.parts[part]!.lengthBytes / 4);
  };
  const stretches = (value: ValueId): readonly Stretch[] => {
    const tensor = tensors.get(value);
    // The caller's; what has rows is an image, never ids.
    if (!tensor) return [{ rows: allRows(program, value), data: fed.get(value)! as Float32Array }];
    return tensor.parts.map(({ rows }, part) => ({ rows, data: partData(value, part) }));
  };

  const results = new Set(source.outputs.values());
  const inDeviceOrder = (value: ValueId) => tensors.has(value) && !results.has(value);
  const layoutOf = (value: ValueId) => rowLayout(program, value, rowsFirst && inDeviceOrder(value));

  const sequence = layers.flatMap(({ bands }) => bands.map(({ passId }) => passId));
  let bandRun = 0;
  for (const [index, layer] of layers.entries()) {
    onLayer?.(index, layers.length, layer.name);
    for (const band of layer.bands) {
      signal?.throwIfAborted();
      const bandInputs = new Map<string, HostData>(band.feeds.map(({ name, value }) => [name, fed.get(value)!]));
      let gatheredElements = 0;
      for (const { name, value, rows } of band.reads) {
        const holding = stretches(value).filter((some) => overlaps(some.rows, rows));
        if (isJust(holding, rows)) {
          bandInputs.set(name, holding[0]!.data);
          continue;
        }
        const place = layoutOf(value);
        const length = rowsElements(place, rows);
        const into = gathered.subarray(gatheredElements, gatheredElements + length);
        gatheredElements += length;
        for (const stretch of holding) copyRows(stretch, { rows, data: into }, place);
        bandInputs.set(name, into);
      }
      for (const { name } of band.uses) bandInputs.set(name, statistics.get(name)!.meanAndVariance());

      const outputs = new Map(band.results.map(({ name, value, part }) => [name, partData(value, part)]));
      const partial = band.makes.map((of) => ({
        ...of,
        values: new Float32Array(2 * of.groups * source.values[of.value]!.shape[0]!),
      }));
      for (const { name, values } of partial) outputs.set(name, values);
      bandRun++;
      const upcoming = sequence.slice(bandRun, bandRun + BANDS_AHEAD);
      const named = [...band.reads, ...band.results].filter(({ value }) => inDeviceOrder(value));
      const options = { into: outputs, inDeviceOrder: new Set(named.map(({ name }) => name)), upcoming, signal };
      await run(band.passId, bandInputs, options);
      for (const { name, values, elements } of partial) {
        const all = statistics.get(name) ?? new GroupStatistics(values.length / 2);
        all.include(values, elements);
        statistics.set(name, all);
      }
    }
  }

  const made = new Map<string, Float32Array<ArrayBuffer>>();
  for (const [name, value] of source.outputs) {
    const whole = { rows: allRows(program, value), data: new Float32Array(elementCount(source.values[value]!.shape)) };
    for (const stretch of stretches(value)) copyRows(stretch, whole, layoutOf(value));
    made.set(name, whole.data);
  }
  return made;
}

/** Rows of a value with their data. */
interface Stretch {
  readonly rows: RowRange;
  readonly data: Float32Array;
}

/** How a value's elements are passed through row by row: `outer` times (once a channel plane) all rows of `rowElements`. */
interface RowLayout {
  readonly outer: number;
  readonly rowElements: number;
}

function rowLayout({ source, rows }: BandProgram, value: ValueId, rowsFirst: boolean): RowLayout {
  const { shape } = source.values[value]!;
  const { axis, unit } = rows.get(value)!;
  if (rowsFirst && shape.length === 4) {
    const [batch, channels, , width] = shape as [number, number, number, number];
    return { outer: batch, rowElements: unit * width * channels };
  }
  return { outer: elementCount(shape.slice(0, axis)), rowElements: unit * elementCount(shape.slice(axis + 1)) };
}

function rowsElements({ outer, rowElements }: RowLayout, rows: RowRange): number {
  return outer * (rows.to - rows.from) * rowElements;
}

function allRows({ rows }: BandProgram, value: ValueId): RowRange {
  return { from: 0, to: rows.get(value)!.count };
}

function overlaps(a: RowRange, b: RowRange): boolean {
  return a.from < b.to && b.from < a.to;
}

/** True if the rows lie together as they are. */
function isJust(stretches: readonly { readonly rows: RowRange }[], rows: RowRange): boolean {
  const [first] = stretches;
  return stretches.length === 1 && first!.rows.from === rows.from && first!.rows.to === rows.to;
}

function bandGatherBytes(program: BandProgram, { reads }: Band): number {
  const lengths = reads.map(({ value, rows }) => {
    const parts = program.tensors.get(value)?.parts ?? [{ rows: allRows(program, value) }];
    const holding = parts.filter((part) => overlaps(part.rows, rows));
    return isJust(holding, rows) ? 0 : 4 * rowsElements(rowLayout(program, value, false), rows);
  });
  return lengths.reduce((sum, length) => sum + length, 0);
}

/** Copies the rows that both have. */
function copyRows(from: Stretch, into: Stretch, { outer, rowElements }: RowLayout): void {
  const first = Math.max(from.rows.from, into.rows.from);
  const count = (Math.min(from.rows.to, into.rows.to) - first) * rowElements;
  const [fromPlane, intoPlane] = [from, into].map(({ rows }) => (rows.to - rows.from) * rowElements) as [
    number,
    number,
  ];
  for (let plane = 0; plane < outer; plane++) {
    const start = plane * fromPlane + (first - from.rows.from) * rowElements;
    const at = plane * intoPlane + (first - into.rows.from) * rowElements;
    into.data.set(from.data.subarray(start, start + count), at);
  }
}

function fedValues(source: Graph, inputs: ReadonlyMap<string, HostData>): ReadonlyMap<ValueId, HostData> {
  return new Map(
    [...source.inputs].map(([name, id]) => {
      const [data, count] = [inputs.get(name), elementCount(source.values[id]!.shape)];
      if (data?.length !== count) {
        throw new RangeError(`${source.name} input ${name}: ${data?.length} of ${count} elements`);
      }
      return [id, data] as const;
    }),
  );
}
