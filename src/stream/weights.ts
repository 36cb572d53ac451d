/**
 * @file Weights on their way from a tensor table to a backend: read by segment, one segment ahead of compute, kept for the
 * next step. Knows no model. Values are checked for NaN and infinities the first time they pass.
 */
import type { WeightData } from "../backend/backend.ts";
import type { TensorEntry, TensorTable } from "../container/table.ts";
import { ArtifactError } from "../errors.ts";
import type { Graph, Segment, ValueId } from "../ir/graph.ts";
import { firstNonFinite } from "../tensor/finite.ts";

/** Enough for any vector unit; also satisfies typed-array views of every dtype. */
const ALIGNMENT_BYTES = 64;

type SegmentWeights = ReadonlyMap<ValueId, WeightData>;

export class WeightStream {
  readonly #table: TensorTable;
  /** By graph and segment name: graphs of other picture sizes read the same weights. */
  readonly #loaded = new Map<string, Promise<ReadonlyMap<string, WeightData>>>();
  readonly #signal: AbortSignal | undefined;
  #readBytes = 0;

  constructor(table: TensorTable, signal?: AbortSignal) {
    this.#table = table;
    this.#signal = signal;
  }

  /** Bytes read from sources so far. */
  get readBytes(): number {
    return this.#readBytes;
  }

  /** The segment's weights; starts reading those of `next` too, so that they arrive while this one computes. */
  async weights(graph: Graph, segment: Segment, next?: Segment): Promise<SegmentWeights> {
    const current = this.#load(graph, segment);
    if (next) void this.#load(graph, next);
    const byName = await current.catch((error: unknown) => {
      // Reported to this run; a failed or aborted read must not stand for the weights of a later one.
      this.release();
      throw error;
    });
    return new Map(segment.weights.map((id) => [id, byName.get(graph.values[id]!.name)!]));
  }

  /** Forgets all weights; the next use reads them again. */
  release(): void {
    this.#loaded.clear();
  }

  #load(graph: Graph, segment: Segment): Promise<ReadonlyMap<string, WeightData>> {
    const key = `${graph.name}/${segment.name}`;
    const known = this.#loaded.get(key);
    if (known) return known;
    const loading = this.#read(segment.weights.map((id) => this.#entry(graph.values[id]!.name)));
    loading.catch(() => undefined); // awaited when its turn comes
    this.#loaded.set(key, loading);
    return loading;
  }

  async #read(entries: readonly TensorEntry[]): Promise<ReadonlyMap<string, WeightData>> {
    let arenaBytes = 0;
    const placed = entries.map((entry) => {
      const offset = arenaBytes;
      const shared = entry.source.view?.(entry.startByte, entry.endByte);
      if (!shared) arenaBytes += Math.ceil((entry.endByte - entry.startByte) / ALIGNMENT_BYTES) * ALIGNMENT_BYTES;
      return { entry, offset, shared };
    });
    const arena = new ArrayBuffer(arenaBytes);
    const weights = new Map<string, WeightData>();
    await Promise.all(
      placed.map(async ({ entry, offset, shared }) => {
        const bytes = shared ?? new Uint8Array(arena, offset, entry.endByte - entry.startByte);
        if (!shared) {
          await entry.source.read(entry.startByte, bytes, this.#signal);
          this.#readBytes += bytes.byteLength;
          requireFinite(entry, bytes);
        }
        weights.set(entry.name, { dtype: entry.dtype, bytes });
      }),
    );
    return weights;
  }

  #entry(name: string): TensorEntry {
    const entry = this.#table.get(name);
    if (!entry) throw new Error(`no weight named ${name} in the table`);
    return entry;
  }
}

/** Exponent bits all ones: NaN or infinity. */
function requireFinite(entry: TensorEntry, bytes: Uint8Array): void {
  const bad = firstNonFinite(entry.dtype, bytes);
  if (bad === undefined) return;
  throw new ArtifactError({
    code: "E_NONFINITE",
    subject: entry.source.name,
    problem: `tensor "${entry.name}" holds ${bad.count} values that are NaN or infinite, first at index ${bad.index}`,
    next: "fetch this file again, or use another model",
  });
}
