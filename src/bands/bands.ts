/**
 * @file A graph over pictures as a program of bands: layer by layer, each in bands of rows with true halos, group
 * statistics over all rows. What is computed follows from the graph and one declared number alone, so the result can't
 * depend on memory. A plan is made from it and stream/banded.ts carries it out.
 */
import { elementCount } from "../tensor/dtype.ts";
import { type BandSource, bandGraph, bandPeakBytes, bandRanges, statisticsName, valueName } from "./band-graph.ts";
import { cutIntoLayers, type LayerNodes, type StatisticsOf } from "./band-layers.ts";
import type { Graph, ValueId } from "./graph.ts";
import { bandShape, type RowRange, type Rows, rowsOfValues, wholeReads } from "./rows.ts";

export interface BandOptions {
  /**
   * Aim for what a band's values take at once: weights, scratch and what is read whole (keys and values of attention) come on
   * top. A setting of the model, not of the machine: it decides where bands end, and with that the last bits of sums.
   */
  readonly bandBytes: number;
}

/** A stretch of a waiting tensor, made by one band. Row-major: its shape is the tensor's with fewer rows. */
export interface Block {
  readonly rows: RowRange;
  readonly shape: readonly number[];
  readonly lengthBytes: number;
  /** Steps of the program that make it and read it last. */
  readonly firstStep: number;
  readonly lastStep: number;
}

/** A result of a layer that waits in memory for later layers, or for the caller. */
export interface WaitingTensor {
  readonly value: ValueId;
  readonly name: string;
  readonly shape: readonly number[];
  readonly lengthBytes: number;
  /** In order of rows, without gaps. */
  readonly blocks: readonly Block[];
}

export interface BandRead {
  /** Name among the band graph's inputs. */
  readonly name: string;
  readonly value: ValueId;
  readonly rows: RowRange;
}

export interface BandStatistics extends StatisticsOf {
  /** Name among the band graph's inputs or outputs. */
  readonly name: string;
}

export interface BandResult {
  /** Name among the band graph's outputs. */
  readonly name: string;
  readonly value: ValueId;
  /** Place in the tensor's list of blocks. */
  readonly block: number;
}

export interface Band {
  /** One segment. Bands of equal shapes have the same graph. */
  readonly graph: Graph;
  readonly reads: readonly BandRead[];
  /** Values of the caller's that have no rows. */
  readonly feeds: readonly { readonly name: string; readonly value: ValueId }[];
  /** Statistics of all rows that the band needs. */
  readonly uses: readonly BandStatistics[];
  readonly results: readonly BandResult[];
  /** Statistics of this band's rows, and of how many elements each. */
  readonly makes: readonly (BandStatistics & { readonly elements: number })[];
  /** See `bandPeakBytes`. */
  readonly peakBytes: number;
}

export interface BandLayer {
  /** Unlike that of any other layer; also that of the segment of all its bands' graphs. */
  readonly name: string;
  readonly firstStep: number;
  readonly bands: readonly Band[];
  /** Parameters of all its bands, in order of first use. */
  readonly weights: readonly { readonly name: string; readonly shape: readonly number[] }[];
  /** Largest of its bands. */
  readonly peakBytes: number;
  /** Most bytes of blocks that wait at once while it runs, those it makes included, the caller's own not. */
  readonly waitingBytes: number;
}

export interface BandProgram {
  readonly source: Graph;
  readonly bandBytes: number;
  /** Of every value of the source that has rows. */
  readonly rows: ReadonlyMap<ValueId, Rows>;
  readonly tensors: ReadonlyMap<ValueId, WaitingTensor>;
  readonly layers: readonly BandLayer[];
  /** Bands of all layers. */
  readonly steps: number;
  readonly peakBandBytes: number;
  readonly peakWaitingBytes: number;
}

/** Bands begin at multiples of this where they can: tiles of convolution kernels then fall as in the whole picture. */
const ROW_STEP = 4;

/** Throws RangeError where the graph holds a node that can't be computed by rows. */
export function bandProgram(graph: Graph, { bandBytes }: BandOptions): BandProgram {
  const rows = rowsOfValues(graph);
  const drafts = nameLayers(graph, cutIntoLayers(graph, rows)).map(({ layer, name }) =>
    draftLayer({ graph, rows, layer, name }, bandBytes),
  );
  let steps = 0;
  const firstSteps = drafts.map(({ bands }) => {
    steps += bands.length;
    return steps - bands.length;
  });
  const tensors = waitingTensors(graph, rows, drafts, firstSteps, steps);
  const waiting = waitingByStep([...tensors.values()], steps);
  const layers = drafts.map(({ name, bands }, i): BandLayer => {
    const firstStep = firstSteps[i]!;
    const { values, segments } = bands[0]!.graph;
    return {
      name,
      firstStep,
      bands,
      weights: segments[0]!.weights.map((id) => ({ name: values[id]!.name, shape: values[id]!.shape })),
      peakBytes: Math.max(...bands.map(({ peakBytes }) => peakBytes)),
      waitingBytes: Math.max(...waiting.slice(firstStep, firstStep + bands.length)),
    };
  });
  return {
    source: graph,
    bandBytes,
    rows,
    tensors,
    layers,
    steps,
    peakBandBytes: Math.max(...layers.map(({ peakBytes }) => peakBytes)),
    peakWaitingBytes: Math.max(...waiting),
  };
}

interface LayerDraft {
  readonly name: string;
  readonly bands: readonly Band[];
  readonly keeps: readonly ValueId[];
  /** Of each band, the rows of each value it keeps. */
  readonly kept: readonly ReadonlyMap<ValueId, RowRange>[];
}

/** By the segment of the layer's last node; numbered where several layers share it. */
function nameLayers(
  graph: Graph,
  layers: readonly LayerNodes[],
): { readonly layer: LayerNodes; readonly name: string }[] {
  const segmentOf = new Map(
    graph.segments.flatMap(({ name, nodes }) => nodes.map(({ output }) => [output, name] as const)),
  );
  const seen = new Map<string, number>();
  return layers.map((layer) => {
    const last = layer.nodes.at(-1);
    const segment = last ? segmentOf.get(last.output)! : "statistics";
    const number = (seen.get(segment) ?? 0) + 1;
    seen.set(segment, number);
    return { layer, name: `${segment}#${number}` };
  });
}

function draftLayer(source: BandSource, bandBytes: number): LayerDraft {
  const { graph, rows, layer, name } = source;
  const measured = layer.statistics.map(({ value }) => value);
  const cut = [...new Set([...layer.keeps, ...measured])];
  const counts = cut.map((id) => rows.get(id)!.count);
  const tallest = Math.max(...counts);
  /** Rows of every cut value in the part of the layer that is [from, to) of the tallest one's. */
  const share = ({ from, to }: RowRange) =>
    new Map(cut.map((id, i) => [id, { from: scaled(from, counts[i]!), to: scaled(to, counts[i]!) }]));
  const scaled = (row: number, count: number) => Math.floor((row * count) / tallest);
  const wholeBytes = wholeReads(graph, rows, layer.nodes).reduce(
    (sum, id) => sum + 4 * elementCount(graph.values[id]!.shape),
    0,
  );
  const peakOf = (wanted: number) => {
    const height = Math.max(wanted, Math.ceil(tallest / Math.min(...counts)));
    const from = Math.floor((tallest - height) / 2 / ROW_STEP) * ROW_STEP;
    return bandPeakBytes(bandGraph(source, bandRanges(source, share({ from, to: from + height }))));
  };
  const height = bandHeight(tallest, Math.min(...counts), (rowsOfBand) => peakOf(rowsOfBand) - wholeBytes - bandBytes);

  const graphs = new Map<string, { readonly graph: Graph; readonly peakBytes: number }>();
  const kept: ReadonlyMap<ValueId, RowRange>[] = [];
  const bands = Array.from({ length: Math.ceil(tallest / height) }, (_, index): Band => {
    const keeps = share({ from: index * height, to: Math.min(tallest, (index + 1) * height) });
    const ranges = bandRanges(source, keeps);
    const made = bandGraph(source, ranges);
    const key = JSON.stringify([made.segments[0]!.nodes, made.values.map(({ shape }) => shape)]);
    const known = graphs.get(key) ?? { graph: made, peakBytes: bandPeakBytes(made) };
    graphs.set(key, known);
    kept.push(keeps);
    const inputs = [...known.graph.inputs.keys()];
    return {
      ...known,
      reads: [...ranges.reads].map(([value, range]) => ({ name: valueName(value), value, rows: range })),
      feeds: [...graph.inputs.values()]
        .filter((value) => !rows.has(value) && known.graph.inputs.has(valueName(value)))
        .map((value) => ({ name: valueName(value), value })),
      uses: statisticsUsed(layer, inputs),
      results: layer.keeps.map((value) => ({ name: valueName(value), value, block: index })),
      makes: layer.statistics.map((of) => {
        const shape = bandShape(graph.values[of.value]!, rows.get(of.value)!, keeps.get(of.value)!);
        return { ...of, name: statisticsName(of), elements: elementCount(shape) / (shape[0]! * of.groups) };
      }),
    };
  });
  return { name, bands, keeps: layer.keeps, kept };
}

/**
 * The tallest that fits (of multiples of ROW_STEP where one fits), evened out over the bands that it takes. `excess`: bytes
 * beyond what is allowed; it grows with the height, about linearly, so that a guess between two known ones is close.
 */
function bandHeight(tallest: number, mostBands: number, excess: (height: number) => number): number {
  const most = excess(tallest);
  if (most <= 0) return tallest;
  const step = tallest > ROW_STEP ? excess(ROW_STEP) : 1;
  const unit = step <= 0 ? ROW_STEP : 1;
  // Units known to fit (one always has to do), and known not to.
  let fits = { units: 1, excess: unit === ROW_STEP ? step : excess(1) };
  let over = { units: Math.ceil(tallest / unit), excess: most };
  for (let guesses = 0; over.units - fits.units > 1; guesses++) {
    const share = guesses < GUESSES ? -fits.excess / (over.excess - fits.excess) : 0.5;
    const guess = Math.floor(fits.units + share * (over.units - fits.units));
    const units = Math.min(Math.max(guess, fits.units + 1), over.units - 1);
    const found = { units, excess: excess(Math.min(tallest, units * unit)) };
    if (found.excess <= 0) fits = found;
    else over = found;
  }
  // No band may be without rows of the smallest value.
  const count = Math.min(mostBands, Math.ceil(tallest / (fits.units * unit)));
  return Math.max(1, Math.ceil(tallest / count / unit) * unit);
}

/** Then halving, whatever the bytes' course. */
const GUESSES = 6;

function statisticsUsed(layer: LayerNodes, inputs: readonly string[]): readonly BandStatistics[] {
  const used = layer.nodes.flatMap((node) =>
    node.op === "groupNorm" ? [{ value: node.inputs[0]!, groups: node.attrs.groups }] : [],
  );
  const named = new Map(used.map((of) => [statisticsName(of), { ...of, name: statisticsName(of) }]));
  return inputs.flatMap((name) => named.get(name) ?? []);
}

function waitingTensors(
  graph: Graph,
  rows: ReadonlyMap<ValueId, Rows>,
  drafts: readonly LayerDraft[],
  firstSteps: readonly number[],
  steps: number,
): ReadonlyMap<ValueId, WaitingTensor> {
  const reads = new Map<ValueId, { readonly rows: RowRange; readonly step: number }[]>();
  drafts.forEach(({ bands }, layer) => {
    bands.forEach((band, index) => {
      for (const read of band.reads) {
        const list = reads.get(read.value) ?? [];
        list.push({ rows: read.rows, step: firstSteps[layer]! + index });
        reads.set(read.value, list);
      }
    });
  });
  const results = new Set(graph.outputs.values());
  const tensors = new Map<ValueId, WaitingTensor>();
  drafts.forEach(({ keeps, kept }, layer) => {
    for (const id of keeps) {
      const value = graph.values[id]!;
      const blocks = kept.map((ranges, index): Block => {
        const own = ranges.get(id)!;
        const shape = bandShape(value, rows.get(id)!, own);
        const firstStep = firstSteps[layer]! + index;
        const readers = (reads.get(id) ?? []).filter((read) => read.rows.from < own.to && own.from < read.rows.to);
        const last = results.has(id) ? steps - 1 : Math.max(firstStep, ...readers.map(({ step }) => step));
        return { rows: own, shape, lengthBytes: 4 * elementCount(shape), firstStep, lastStep: last };
      });
      const { name, shape } = value;
      tensors.set(id, { value: id, name, shape, lengthBytes: 4 * elementCount(shape), blocks });
    }
  });
  return tensors;
}

/** Bytes of blocks that are there during each step. */
function waitingByStep(tensors: readonly WaitingTensor[], steps: number): readonly number[] {
  const change = new Array<number>(steps + 1).fill(0);
  for (const { blocks } of tensors) {
    for (const { firstStep, lastStep, lengthBytes } of blocks) {
      change[firstStep]! += lengthBytes;
      change[lastStep + 1]! -= lengthBytes;
    }
  }
  let live = 0;
  return change.slice(0, steps).map((difference) => {
    live += difference;
    return live;
  });
}
