/** @file A map of a few entries. */

/** A map that forgets its oldest entry. */
export class BoundedCache<Key, Item> {
  readonly #items = new Map<Key, Item>();
  readonly #limit: number;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get(key: Key): Item | undefined {
    return this.#items.get(key);
  }

  set(key: Key, item: Item): void {
    this.#items.set(key, item);
    if (this.#items.size <= this.#limit) return;
    for (const oldest of this.#items.keys()) {
      this.#items.delete(oldest);
      break;
    }
  }

  clear(): void {
    this.#items.clear();
  }
}
