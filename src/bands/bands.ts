/**
 * @file A graph over pictures as a program of bands: layer by layer, each in bands of rows with true halos, group
 * statistics over all rows. What is computed follows from the graph and one declared number alone, so the result can't
 * depend on memory. A plan is made from its passes and bands/run.ts carries it out. Between layers, activations are spilled:
 * they lie in host memory.
 */

import type { Graph, ValueId } from "../ir/graph.ts";
import { elementCount } from "../tensor/dtype.ts";
import { type BandSource, bandGraph, bandPeakBytes, bandRanges, statisticsName, valueName } from "./band-graph.ts";
import { cutIntoLayers, type LayerNodes, type StatisticsOf } from "./band-layers.ts";
import { bandShape, type RowRange, type Rows, rowsOfValues, wholeReads } from "./rows.ts";
import { type SpilledTensor, spilledByRun, spilledTensors } from "./spilled.ts";

export interface BandOptions {
  /**
   * Aim for what a band's values take at once: weights, scratch and what is read whole (keys and values of attention) come on
   * top. A setting of the model, not of the machine: it decides where bands end, and with that the last bits of sums.
   */
  readonly bandBytes: number;
  /** Of the pass that the program stands for; bands have ids such as `vae.decode:band3`. Default: the graph's name. */
  readonly id?: string;
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
  /** Place in the tensor's list of parts. */
  readonly part: number;
}

export interface Band {
  /** Of the pass that it is a run of. */
  readonly passId: string;
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
  readonly firstBandRun: number;
  readonly bands: readonly Band[];
  /** Parameters of all its bands, in order of first use. */
  readonly weights: readonly { readonly name: string; readonly shape: readonly number[] }[];
  /** Largest of its bands. */
  readonly peakBytes: number;
  /** Most bytes that are spilled at once while it runs, those it makes included, the caller's own not. */
  readonly spilledBytes: number;
}

/** Bands of one graph: what a plan counts as a pass. */
export interface BandPass {
  readonly id: string;
  readonly graph: Graph;
  readonly repeats: number;
}

export interface BandProgram {
  readonly source: Graph;
  readonly bandBytes: number;
  /** Of every value of the source that has rows. */
  readonly rows: ReadonlyMap<ValueId, Rows>;
  readonly tensors: ReadonlyMap<ValueId, SpilledTensor>;
  readonly layers: readonly BandLayer[];
  /** In the order of their first run. */
  readonly passes: readonly BandPass[];
  /** Bands of all layers. */
  readonly bandRuns: number;
  readonly peakBandBytes: number;
  readonly peakSpilledBytes: number;
}

/** Bands begin at multiples of this where they can: tiles of convolution kernels then fall as in the whole picture. */
const ROW_MULTIPLE = 4;

/** Throws RangeError where the graph holds a node that can't be computed by rows. */
export function bandProgram(graph: Graph, { bandBytes, id = graph.name }: BandOptions): BandProgram {
  const rows = rowsOfValues(graph);
  const named = nameLayers(graph, cutIntoLayers(graph, rows));
  const passes = new Map<Graph, BandPass>();
  const drafts = named.map(({ layer, name }) => {
    const draft = draftLayer({ graph, rows, layer, name }, bandBytes);
    const bands = draft.bands.map((band): Band => {
      const known = passes.get(band.graph) ?? { id: `${id}:band${passes.size}`, graph: band.graph, repeats: 0 };
      passes.set(band.graph, { ...known, repeats: known.repeats + 1 });
      return { ...band, passId: known.id };
    });
    return { ...draft, bands };
  });
  let bandRuns = 0;
  const firstRuns = drafts.map(({ bands }) => {
    bandRuns += bands.length;
    return bandRuns - bands.length;
  });
  const tensors = spilledTensors(graph, rows, drafts, firstRuns, bandRuns);
  const spilled = spilledByRun([...tensors.values()], bandRuns);
  const layers = drafts.map(({ name, bands }, i): BandLayer => {
    const firstBandRun = firstRuns[i]!;
    const { values, segments } = bands[0]!.graph;
    return {
      name,
      firstBandRun,
      bands,
      weights: segments[0]!.weights.map((id) => ({ name: values[id]!.name, shape: values[id]!.shape })),
      peakBytes: Math.max(...bands.map(({ peakBytes }) => peakBytes)),
      spilledBytes: Math.max(...spilled.slice(firstBandRun, firstBandRun + bands.length)),
    };
  });
  return {
    source: graph,
    bandBytes,
    rows,
    tensors,
    layers,
    passes: [...passes.values()],
    bandRuns,
    peakBandBytes: Math.max(...layers.map(({ peakBytes }) => peakBytes)),
    peakSpilledBytes: Math.max(...spilled),
  };
}

interface LayerDraft {
  readonly name: string;
  readonly bands: readonly Omit<Band, "passId">[];
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
    const from = Math.floor((tallest - height) / 2 / ROW_MULTIPLE) * ROW_MULTIPLE;
    return bandPeakBytes(bandGraph(source, bandRanges(source, share({ from, to: from + height }))));
  };
  const height = bandHeight(tallest, Math.min(...counts), (rowsOfBand) => peakOf(rowsOfBand) - wholeBytes - bandBytes);

  const graphs = new Map<string, { readonly graph: Graph; readonly peakBytes: number }>();
  const kept: ReadonlyMap<ValueId, RowRange>[] = [];
  const bands = Array.from({ length: Math.ceil(tallest / height) }, (_, index): Omit<Band, "passId"> => {
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
      results: layer.keeps.map((value) => ({ name: valueName(value), value, part: index })),
      makes: layer.statistics.map((of) => {
        const shape = bandShape(graph.values[of.value]!, rows.get(of.value)!, keeps.get(of.value)!);
        return { ...of, name: statisticsName(of), elements: elementCount(shape) / (shape[0]! * of.groups) };
      }),
    };
  });
  return { name, bands, keeps: layer.keeps, kept };
}

/**
 * The tallest that fits (of multiples of ROW_MULTIPLE where one fits), evened out over the bands that it takes. `excess`: bytes
 * beyond what is allowed; it grows with the height, about linearly, so that a guess between two known ones is close.
 */
function bandHeight(tallest: number, mostBands: number, excess: (height: number) => number): number {
  const most = excess(tallest);
  if (most <= 0) return tallest;
  const least = tallest > ROW_MULTIPLE ? excess(ROW_MULTIPLE) : 1;
  const unit = least <= 0 ? ROW_MULTIPLE : 1;
  // Units known to fit (one always has to do), and known not to.
  let fits = { units: 1, excess: unit === ROW_MULTIPLE ? least : excess(1) };
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
