/** @file Work that is done becomes work that lasts: sync the part, then write its lines to the journal. */
import type { StoreFile } from "./fs.ts";
import type { Journal } from "./journal.ts";

/** So much may have to be done again after a crash; it also bounds what the system must write back at once. */
const CHECKPOINT_BYTES = 256 * 1024 ** 2;

export class Checkpoint {
  readonly #part: StoreFile;
  readonly #journal: Journal;
  readonly #requireLock: () => Promise<void>;
  #items: object[] = [];
  #bytes = 0;

  constructor(part: StoreFile, journal: Journal, requireLock: () => Promise<void>) {
    this.#part = part;
    this.#journal = journal;
    this.#requireLock = requireLock;
  }

  /** Something was written; `item` is its line. */
  add(item: object, writtenBytes: number): void {
    this.#items.push(item);
    this.#bytes += writtenBytes;
  }

  get isDue(): boolean {
    return this.#bytes >= CHECKPOINT_BYTES;
  }

  /** All that was added so far is on the disk when this resolves. What is being written meanwhile doesn't matter. */
  async flush(): Promise<void> {
    const items = this.#items;
    this.#items = [];
    this.#bytes = 0;
    if (items.length === 0) return;
    await this.#requireLock();
    await this.#part.sync();
    await this.#journal.append(items);
  }
}
