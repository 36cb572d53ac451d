/** @file Work that is done becomes work that lasts: sync the part, then write its lines to the journal. */
import type { StoreFile } from "../fs.ts";
import type { Journal } from "./journal.ts";

/** So much may have to be done again after a crash; it also bounds what the system must write back at once. */
const SAVE_FROM_BYTES = 256 * 1024 ** 2;

export class SavePoint {
  readonly #part: StoreFile;
  readonly #journal: Journal;
  readonly #requireLock: () => Promise<void>;
  #items: object[] = [];
  #bytes = 0;
  #running: Promise<void> = Promise.resolve();
  #failure: { readonly error: unknown } | undefined;

  constructor(part: StoreFile, journal: Journal, requireLock: () => Promise<void>) {
    this.#part = part;
    this.#journal = journal;
    this.#requireLock = requireLock;
  }

  /** Something was written, or is being written; `item` is its line. */
  add(item: object, writtenBytes: number): void {
    this.#items.push(item);
    this.#bytes += writtenBytes;
  }

  /**
   * Starts to make what was added so far last, if there is enough of it, once `written()` resolves. The work goes on meanwhile,
   * but never two save points ahead of the disk.
   */
  async flushIfDue(written: () => Promise<unknown> = async () => undefined): Promise<void> {
    if (this.#failure) throw this.#failure.error;
    if (this.#bytes < SAVE_FROM_BYTES) return;
    await this.#running;
    this.#start(written);
  }

  /** All that was added so far is on the disk when this resolves. */
  async flush(): Promise<void> {
    await this.settle();
    this.#start(async () => undefined);
    await this.settle();
  }

  /** Waits for what was started. */
  async settle(): Promise<void> {
    await this.#running;
    if (this.#failure) throw this.#failure.error;
  }

  #start(written: () => Promise<unknown>): void {
    const items = this.#items;
    this.#items = [];
    this.#bytes = 0;
    if (items.length === 0) return;
    const work = async () => {
      await written();
      await this.#requireLock();
      await this.#part.sync();
      await this.#journal.append(items);
    };
    this.#running = work().catch((error: unknown) => {
      // After a failed sync nobody knows what is on the disk: those lines are never written.
      this.#failure ??= { error };
    });
  }
}
