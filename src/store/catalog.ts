/** @file All blocks that the store holds, by content: what is there already is not stored again. */
import type { Pack } from "./pack/pack.ts";
import type { BlockCodec, PackBlock } from "./pack/pack-format.ts";
import { openPack, packNames, type Store } from "./store.ts";

export class Catalog implements AsyncDisposable {
  readonly #packs = new Map<string, Pack>();
  readonly #store: Store;

  private constructor(store: Store) {
    this.#store = store;
  }

  /** Opens every pack that is sound; the others don't count. */
  static async open(store: Store): Promise<Catalog> {
    const catalog = new Catalog(store);
    for (const name of await packNames(store)) await catalog.add(name);
    return catalog;
  }

  /** Whether the pack is there and sound. */
  async add(name: string): Promise<boolean> {
    await this.#packs.get(name)?.[Symbol.asyncDispose]();
    this.#packs.delete(name);
    const pack = await openPack(this.#store, name).catch((error: unknown) => {
      if (error instanceof Error && "code" in error && error.code === "E_STORE_DAMAGED") return undefined;
      throw error;
    });
    if (pack) this.#packs.set(name, pack);
    return pack !== undefined;
  }

  get isEmpty(): boolean {
    return this.#packs.size === 0;
  }

  /** Whether some block begins like this one. Without `codec`: however it is stored. */
  hasCandidate(plainBytes: number, headCrc: number, codec?: BlockCodec): boolean {
    const alike = (block: PackBlock) =>
      block.plainBytes === plainBytes && block.headCrc === headCrc && (!codec || block.codec === codec);
    return [...this.#packs.values()].some((pack) => pack.blocks.some(alike));
  }

  /** The pack that holds this block. Its bytes are read, and found sound. */
  async find(id: string, label: string, codec?: BlockCodec, signal?: AbortSignal): Promise<string | undefined> {
    for (const [name, pack] of this.#packs) {
      const block = pack.get(id);
      if (!block || (codec && block.codec !== codec)) continue;
      if ((await pack.problemOf(id, label, signal)) === undefined) return name;
    }
    return undefined;
  }

  codecOf(name: string, id: string): BlockCodec | undefined {
    return this.#packs.get(name)?.get(id)?.codec;
  }

  /** Whether a pack claims to hold this block; it is checked when it is read. */
  claims(name: string, id: string): boolean {
    return this.codecOf(name, id) !== undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const pack of this.#packs.values()) await pack[Symbol.asyncDispose]();
    this.#packs.clear();
  }
}
