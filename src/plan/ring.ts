/**
 * @file Memory that streamed blocks pass through: groups of blocks that are needed together lie side by side, and with two
 * slots beside those of the next group too. Its length is kept up to date while blocks leave it for good. Pure.
 */

/** 2: a group is read while the one before it computes. */
export type RingSlots = 1 | 2;

export class Ring {
  readonly #groupOf: readonly number[];
  readonly #sizes: readonly number[];
  readonly #slots: RingSlots;
  readonly #streamed: Set<number>;
  /** By group: bytes and number of streamed blocks, and the streamed groups around it (-1: none). */
  readonly #bytes: Float64Array;
  readonly #counts: Int32Array;
  readonly #before: Int32Array;
  readonly #after: Int32Array;
  #first = -1;
  /** The group that begins the longest pair of neighbours. */
  #longest = -1;
  #lengthBytes = 0;

  /** `streamed`: indexes of `blocks`; `sizes` in bytes, by index. */
  constructor(
    blocks: readonly { readonly group: number }[],
    sizes: readonly number[],
    streamed: ReadonlySet<number>,
    slots: RingSlots,
  ) {
    this.#groupOf = blocks.map(({ group }) => group);
    this.#sizes = sizes;
    this.#slots = slots;
    this.#streamed = new Set(streamed);
    const groups = this.#groupOf.reduce((most, group) => Math.max(most, group + 1), 0);
    this.#bytes = new Float64Array(groups);
    this.#counts = new Int32Array(groups);
    this.#before = new Int32Array(groups).fill(-1);
    this.#after = new Int32Array(groups).fill(-1);
    for (const i of streamed) {
      this.#bytes[this.#groupOf[i]!]! += sizes[i]!;
      this.#counts[this.#groupOf[i]!]!++;
    }
    let last = -1;
    for (let group = 0; group < groups; group++) {
      if (this.#counts[group] === 0) continue;
      if (last < 0) this.#first = group;
      else this.#after[last] = group;
      this.#before[group] = last;
      last = group;
    }
    this.#measure();
  }

  get lengthBytes(): number {
    return this.#lengthBytes;
  }

  /** Its length if block `i` left it. */
  lengthWithout(i: number): number {
    const group = this.#groupOf[i]!;
    const [before, longest] = [this.#before[group]!, this.#longest];
    const touched = longest === group || (this.#slots === 2 && longest === before);
    if (this.#counts[group]! > 1) {
      if (!touched) return this.#lengthBytes;
      const bytes = this.#bytes[group]!;
      this.#bytes[group] = bytes - this.#sizes[i]!;
      const { lengthBytes } = this.#longestWithout(-1);
      this.#bytes[group] = bytes;
      return lengthBytes;
    }
    // The longest pair stays where it is; the new neighbours may be longer.
    if (!touched) return Math.max(this.#lengthBytes, this.#pairBytes(before, this.#after[group]!));
    return this.#longestWithout(group).lengthBytes;
  }

  remove(i: number): void {
    const group = this.#groupOf[i]!;
    const [before, after] = [this.#before[group]!, this.#after[group]!];
    this.#streamed.delete(i);
    this.#bytes[group]! -= this.#sizes[i]!;
    const touched = this.#longest === group || this.#longest === before;
    if (--this.#counts[group]! > 0) {
      if (touched) this.#measure();
      return;
    }
    if (before < 0) this.#first = after;
    else this.#after[before] = after;
    if (after >= 0) this.#before[after] = before;
    if (touched) this.#measure();
    else if (this.#pairBytes(before, after) > this.#lengthBytes) {
      this.#longest = before;
      this.#lengthBytes = this.#pairBytes(before, after);
    }
  }

  /** Where each streamed block lies, in the order of use: groups in turn from the start of the ring and up to its end. */
  places(): { readonly index: number; readonly offsetBytes: number }[] {
    const indexes = [...this.#streamed].sort((a, b) => this.#groupOf[a]! - this.#groupOf[b]! || a - b);
    let [turn, group, offsetBytes] = [-1, -1, 0];
    return indexes.map((index) => {
      if (this.#groupOf[index] !== group) {
        group = this.#groupOf[index]!;
        turn++;
        offsetBytes = this.#slots === 2 && turn % 2 === 1 ? this.#lengthBytes - this.#bytes[group]! : 0;
      }
      const place = { index, offsetBytes };
      offsetBytes += this.#sizes[index]!;
      return place;
    });
  }

  /** 0 where there is no first; without a second, a group that begins no pair. */
  #pairBytes(first: number, second: number): number {
    if (first < 0) return 0;
    return this.#bytes[first]! + (this.#slots === 2 && second >= 0 ? this.#bytes[second]! : 0);
  }

  #measure(): void {
    const { longest, lengthBytes } = this.#longestWithout(-1);
    this.#longest = longest;
    this.#lengthBytes = lengthBytes;
  }

  #longestWithout(group: number): { readonly longest: number; readonly lengthBytes: number } {
    let [longest, lengthBytes] = [-1, 0];
    let at = this.#first === group ? (this.#after[group] ?? -1) : this.#first;
    while (at >= 0) {
      const direct = this.#after[at]!;
      const next = direct >= 0 && direct === group ? this.#after[group]! : direct;
      const pairBytes = this.#pairBytes(at, next);
      if (pairBytes >= lengthBytes) [longest, lengthBytes] = [at, pairBytes];
      at = next;
    }
    return { longest, lengthBytes };
  }
}
