/** @file A component's blocks with those of adapters beside them. The component's own keep their keys, and are asked for as without. */
import { type AdapterSet, adapterPrefixOf, type ComponentAdapters } from "../adapters/adapter-set.ts";
import type { StoredBlock } from "../plan/describe.ts";
import { type BlockReader, type ReadReport, TableBlocks } from "./blocks.ts";

/** Components' adapters that are kept: those of some jobs, each of which may have three sets (both passes', and the encoders'). */
const READERS_KEPT = 32;

/** The adapters that blocks may come from, by the prefix of their keys. Those that were not provided for long are forgotten. */
export class AdapterReaders {
  readonly #readers = new Map<string, TableBlocks>();
  #forgottenBytes = 0;

  provide({ components }: AdapterSet): void {
    for (const component of components.values()) this.#provide(component);
  }

  #provide({ prefix, table }: ComponentAdapters): void {
    const reader = this.#readers.get(prefix) ?? new TableBlocks(prefix, table);
    this.#readers.delete(prefix);
    this.#readers.set(prefix, reader);
    for (const [oldest, { readBytes }] of this.#readers) {
      if (this.#readers.size <= READERS_KEPT) break;
      this.#readers.delete(oldest);
      this.#forgottenBytes += readBytes;
    }
  }

  get readBytes(): number {
    return [...this.#readers.values()].reduce((sum, { readBytes }) => sum + readBytes, this.#forgottenBytes);
  }

  /** Undefined where `prefix` is no adapter's. */
  find(prefix: string): TableBlocks | undefined {
    return this.#readers.get(prefix);
  }
}

export class AdaptedBlocks implements BlockReader {
  readonly #own: BlockReader;
  readonly #adapters: AdapterReaders;

  constructor(own: BlockReader, adapters: AdapterReaders) {
    this.#own = own;
    this.#adapters = adapters;
  }

  /** Of the component alone. */
  get readBytes(): number {
    return this.#own.readBytes;
  }

  blocks(segmentName: string, weightNames: readonly string[]): readonly StoredBlock[] {
    return [...Map.groupBy(weightNames, adapterPrefixOf)].flatMap(([prefix, names]) => {
      if (prefix === undefined) return this.#own.blocks(segmentName, names);
      const reader = this.#adapters.find(prefix);
      if (!reader) throw new Error(`no adapters ${prefix} were opened`);
      return reader.blocks(segmentName, names);
    });
  }

  read(block: StoredBlock, startByte: number, into: Uint8Array, signal?: AbortSignal): Promise<ReadReport> {
    const reader = this.#adapters.find(block.key.slice(0, block.key.indexOf("/"))) ?? this.#own;
    return reader.read(block, startByte, into, signal);
  }
}
