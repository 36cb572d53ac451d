/**
 * @file Which blocks of weights stay on the device, and how the others pass through it. The order of use is known and
 * cyclic, where LRU misses always: so a fixed set is pinned, and the rest goes through a ring of two slots, each block read
 * while the one before it computes (Belady's rule for a cycle). Pure; knows neither models nor devices.
 */
import { alignUp } from "../tensor/align.ts";

/** Weights of one segment, in the order of use. */
export interface CycleBlock {
  readonly key: string;
  readonly deviceBytes: number;
  /** Compute from the start of this block's segment to the start of the next block's. */
  readonly coverMs: number;
  /** Used once and not again while it is held: never worth pinning. */
  readonly once: boolean;
}

export interface StreamedBlock {
  readonly key: string;
  /** Within the ring. */
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

export interface Residency {
  readonly pinned: readonly { readonly key: string; readonly lengthBytes: number }[];
  /** In the order of use. */
  readonly streamed: readonly StreamedBlock[];
  readonly pinnedBytes: number;
  readonly ringBytes: number;
  /** 2: a block is read while the one before it computes. 1: no room for that. 0: nothing streams. */
  readonly slots: 0 | 1 | 2;
}

/** Rates of stream tried, each 1.25 times the last: from next to nothing to more than any cover. */
const RATE_STEPS = 96;
/** Higher rates looked at after the first that fits: their sets are spread otherwise, and may leave more room for pins. */
const RATE_STEPS_AFTER_FIT = 6;

/**
 * The residency that moves least within `capacityBytes`, or undefined if not even the largest block fits. What streams
 * follows a credit: compute earns it at some rate, a block whose bytes are covered streams; so streams are spread over the
 * cycle where compute is long. The lowest rate that fits is taken, and the remaining room pins what still fits.
 */
export function chooseResidency(
  blocks: readonly CycleBlock[],
  capacityBytes: number,
  alignmentBytes: number,
): Residency | undefined {
  const sizes = blocks.map((block) => alignUp(block.deviceBytes, alignmentBytes));
  const always = new Set(blocks.flatMap((block, i) => (block.once ? [i] : [])));
  const least = fill(blocks, sizes, always, always, capacityBytes, 2);
  if (least) return least;
  if (Math.max(...sizes) > capacityBytes) return undefined;

  const totalMs = sum(blocks.map((block) => block.coverMs));
  const leastRate = sum(sizes) / Math.max(totalMs, 1e-9) / 1e5;
  let best: Residency | undefined;
  let lastStep = RATE_STEPS;
  for (let step = 0; step <= lastStep; step++) {
    const streamed = earned(blocks, sizes, always, leastRate * 1.25 ** step);
    const fitted = fill(blocks, sizes, streamed, always, capacityBytes, 2);
    if (!fitted) continue;
    if (!best) lastStep = Math.min(RATE_STEPS, step + RATE_STEPS_AFTER_FIT);
    if (!best || fitted.pinnedBytes > best.pinnedBytes) best = fitted;
  }
  if (best) return best;
  const all = new Set(blocks.keys());
  return fill(blocks, sizes, all, always, capacityBytes, 2) ?? fill(blocks, sizes, all, always, capacityBytes, 1);
}

function earned(
  blocks: readonly CycleBlock[],
  sizes: readonly number[],
  always: ReadonlySet<number>,
  bytesPerMs: number,
): Set<number> {
  const streamed = new Set(always);
  let creditBytes = 0;
  blocks.forEach((block, i) => {
    if (always.has(i)) return;
    creditBytes += block.coverMs * bytesPerMs;
    if (creditBytes < sizes[i]!) return;
    creditBytes -= sizes[i]!;
    streamed.add(i);
  });
  return streamed;
}

/** Pins what else fits beside the ring, the largest first; undefined if the set `start` does not fit at all. */
function fill(
  blocks: readonly CycleBlock[],
  sizes: readonly number[],
  start: ReadonlySet<number>,
  always: ReadonlySet<number>,
  capacityBytes: number,
  slots: 1 | 2,
): Residency | undefined {
  const ring = new Ring(sizes, start, slots);
  let pinnedBytes = sum(sizes.filter((_, i) => !start.has(i)));
  if (pinnedBytes + ring.lengthBytes > capacityBytes) return undefined;
  const streamed = new Set(start);
  const candidates = [...start].filter((i) => !always.has(i)).sort((a, b) => sizes[b]! - sizes[a]!);
  for (const i of candidates) {
    const size = sizes[i]!;
    if (pinnedBytes + size + ring.lengthWithout(i) > capacityBytes) continue;
    pinnedBytes += size;
    ring.remove(i);
    streamed.delete(i);
  }
  return build(blocks, sizes, streamed, { ringBytes: ring.lengthBytes, slots });
}

/**
 * Length of the ring for blocks that stream, as some of them leave. With two slots, blocks lie alternately at the ring's two ends:
 * each beside its neighbours, so that the longest pair of neighbours is the length.
 */
class Ring {
  readonly #sizes: readonly number[];
  readonly #slots: 1 | 2;
  /** Neighbours among those that stream; -1: none. */
  readonly #before: Int32Array;
  readonly #after: Int32Array;
  #first = -1;
  /** The block that begins the longest pair, or is the longest; any of several. */
  #longest = -1;
  #lengthBytes = 0;

  constructor(sizes: readonly number[], streamed: ReadonlySet<number>, slots: 1 | 2) {
    this.#sizes = sizes;
    this.#slots = slots;
    this.#before = new Int32Array(sizes.length).fill(-1);
    this.#after = new Int32Array(sizes.length).fill(-1);
    let last = -1;
    for (let i = 0; i < sizes.length; i++) {
      if (!streamed.has(i)) continue;
      if (last < 0) this.#first = i;
      else this.#after[last] = i;
      this.#before[i] = last;
      last = i;
    }
    this.#measure(-1);
  }

  get lengthBytes(): number {
    return this.#lengthBytes;
  }

  lengthWithout(i: number): number {
    const [before, longest] = [this.#before[i]!, this.#longest];
    // The longest pair stays where it is; the new neighbours may be longer.
    if (longest !== i && (this.#slots === 1 || longest !== before)) {
      return Math.max(this.#lengthBytes, this.#pairBytes(before, this.#after[i]!));
    }
    return this.#longestWithout(i).lengthBytes;
  }

  remove(i: number): void {
    const [before, after] = [this.#before[i]!, this.#after[i]!];
    if (before < 0) this.#first = after;
    else this.#after[before] = after;
    if (after >= 0) this.#before[after] = before;
    if (this.#longest === i || this.#longest === before) this.#measure(-1);
    else if (this.#pairBytes(before, after) > this.#lengthBytes) {
      this.#longest = before;
      this.#lengthBytes = this.#pairBytes(before, after);
    }
  }

  /** 0 where there is no first; without a second, a block that begins no pair. */
  #pairBytes(first: number, second: number): number {
    if (first < 0) return 0;
    return this.#sizes[first]! + (this.#slots === 2 && second >= 0 ? this.#sizes[second]! : 0);
  }

  #measure(without: number): void {
    const { longest, lengthBytes } = this.#longestWithout(without);
    this.#longest = longest;
    this.#lengthBytes = lengthBytes;
  }

  #longestWithout(i: number): { readonly longest: number; readonly lengthBytes: number } {
    let [longest, lengthBytes] = [-1, 0];
    let at = this.#first === i ? this.#after[i]! : this.#first;
    while (at >= 0) {
      const direct = this.#after[at]!;
      const next = direct >= 0 && direct === i ? this.#after[i]! : direct;
      const pairBytes = this.#pairBytes(at, next);
      if (pairBytes >= lengthBytes) [longest, lengthBytes] = [at, pairBytes];
      at = next;
    }
    return { longest, lengthBytes };
  }
}

function build(
  blocks: readonly CycleBlock[],
  sizes: readonly number[],
  streamed: ReadonlySet<number>,
  { ringBytes, slots }: { readonly ringBytes: number; readonly slots: 1 | 2 },
): Residency {
  const pinned = blocks.flatMap(({ key }, i) => (streamed.has(i) ? [] : [{ key, lengthBytes: sizes[i]! }]));
  const passing = [...streamed].sort((a, b) => a - b);
  return {
    pinned,
    streamed: passing.map((i, turn) => ({
      key: blocks[i]!.key,
      offsetBytes: slots === 2 && turn % 2 === 1 ? ringBytes - sizes[i]! : 0,
      lengthBytes: sizes[i]!,
    })),
    pinnedBytes: sum(pinned.map(({ lengthBytes }) => lengthBytes)),
    ringBytes,
    slots: passing.length === 0 ? 0 : slots,
  };
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, value) => total + value, 0);
}
