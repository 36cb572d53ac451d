/** @file Blocks of a network that reads another's weights beside its own: the other's stay its own blocks, with their keys, whole, so that no copy of them is read or held. */
import type { TensorTable } from "../container/table.ts";
import type { Graph } from "../ir/graph.ts";
import type { StoredBlock } from "../plan/describe.ts";
import { type BlockReader, type ReadReport, TableBlocks } from "./blocks.ts";

interface BaseSegment {
  readonly name: string;
  readonly weights: readonly string[];
}

export class BasedBlocks implements BlockReader {
  readonly #table: TensorTable;
  readonly #own: TableBlocks;
  readonly #start: string;
  readonly #base: () => BlockReader;
  /** By weight. */
  readonly #segments: ReadonlyMap<string, BaseSegment>;

  /** `prefix` and `table`: of its own. `base`: the other's blocks, as they are by then; `graphs`: those that these are cut by. */
  constructor(prefix: string, table: TensorTable, base: () => BlockReader, graphs: readonly Graph[]) {
    this.#table = table;
    this.#own = new TableBlocks(prefix, table);
    this.#start = `${prefix}/`;
    this.#base = base;
    this.#segments = new Map(graphs.flatMap((graph) => baseSegments(graph)));
  }

  /** Of its own alone. */
  get readBytes(): number {
    return this.#own.readBytes;
  }

  blocks(segmentName: string, weightNames: readonly string[]): readonly StoredBlock[] {
    const own = weightNames.filter((name) => this.#table.has(name));
    const others = weightNames.filter((name) => !this.#table.has(name));
    const segments = new Set(
      others.map((name) => {
        const segment = this.#segments.get(name);
        if (!segment) throw new Error(`no weight named ${name} in what ${this.#start} stands on`);
        return segment;
      }),
    );
    return [
      ...[...segments].flatMap(({ name, weights }) => this.#base().blocks(name, weights)),
      ...(own.length > 0 ? this.#own.blocks(segmentName, own) : []),
    ];
  }

  read(block: StoredBlock, startByte: number, into: Uint8Array, signal?: AbortSignal): Promise<ReadReport> {
    const reader = block.key.startsWith(this.#start) ? this.#own : this.#base();
    return reader.read(block, startByte, into, signal);
  }
}

function baseSegments({ segments, values }: Graph): (readonly [string, BaseSegment])[] {
  return segments.flatMap(({ name, weights: ids }) => {
    const weights = ids.map((id) => values[id]!.name);
    const segment = { name, weights };
    return weights.map((weight) => [weight, segment] as const);
  });
}
