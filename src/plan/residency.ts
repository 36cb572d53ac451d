/**
 * @file Which blocks of weights stay on the device (pinned), and how the others pass through it (streamed). The order of use is
 * known and cyclic, where keeping the most recently used ones never hits; so a fixed set is pinned, and the rest goes through a
 * ring of two slots, each block read while the one before it computes (Belady's rule for a cycle).
 *
 * A block may stream if the compute time since the last streamed block is long enough to hide its transfer. We try transfer
 * rates from low to high, take the first whose streamed set fits, then pin whatever still fits. Pure; knows neither models nor
 * devices. Drawn examples: test/unit/residency-pictures.test.ts.
 */
import { alignUp } from "../tensor/align.ts";
import { Ring, type RingSlots } from "./ring.ts";

/** A block of weights, in the order of use. */
export interface CycleBlock {
  readonly key: string;
  readonly deviceBytes: number;
  /** Blocks of one number are needed at the same time; numbers grow in the order of use. */
  readonly group: number;
  /** Compute from the start of this block's segment to the start of the next block's; of blocks that start together, the first's. */
  readonly overlapMs: number;
  /** Used once and not again while it is held: never worth pinning. */
  readonly usedOnce: boolean;
}

export interface StreamedBlock {
  readonly key: string;
  /** Within the ring. */
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

export interface PinnedBlock {
  readonly key: string;
  readonly lengthBytes: number;
}

export interface Residency {
  readonly pinned: readonly PinnedBlock[];
  /** In the order of use. */
  readonly streamed: readonly StreamedBlock[];
  readonly pinnedBytes: number;
  readonly ringBytes: number;
  /** 2: blocks are read while those before them compute. 1: no room for that. 0: nothing streams. */
  readonly slots: 0 | RingSlots;
}

/** Transfer rates tried, each 1.25 times the last: from next to nothing to more than any compute hides. */
const RATES = 96;
/** Higher rates looked at after the first that fits: their sets are spread otherwise, and may leave more room for pins. */
const RATES_AFTER_FIT = 6;

/** Blocks with their sizes on the device, and the indexes of those that are used once. */
interface Cycle {
  readonly blocks: readonly CycleBlock[];
  readonly sizes: readonly number[];
  readonly usedOnce: ReadonlySet<number>;
  readonly capacityBytes: number;
}

/**
 * The residency that moves least within `capacityBytes`, or undefined if not even the blocks of the largest group fit. Of
 * `pinnedFirst` (keys; those used once are passed over) as many are pinned, from the first on, as leave room for two slots.
 */
export function chooseResidency(
  blocks: readonly CycleBlock[],
  capacityBytes: number,
  alignmentBytes: number,
  pinnedFirst: readonly string[] = [],
): Residency | undefined {
  const sizes = blocks.map((block) => alignUp(block.deviceBytes, alignmentBytes));
  const usedOnce = new Set(blocks.flatMap((block, i) => (block.usedOnce ? [i] : [])));
  const cycle: Cycle = { blocks, sizes, usedOnce, capacityBytes };
  const least = fill(cycle, usedOnce, 2);
  if (least) return least;

  const first = firstPins(cycle, pinnedFirst);
  const totalMs = sum(blocks.map((block) => block.overlapMs));
  const leastRate = sum(sizes) / Math.max(totalMs, 1e-9) / 1e5;
  let best: Residency | undefined;
  let lastRate = RATES;
  for (let rate = 0; rate <= lastRate; rate++) {
    const fitted = fill(cycle, hidden(cycle, first, leastRate * 1.25 ** rate), 2);
    if (!fitted) continue;
    if (!best) lastRate = Math.min(RATES, rate + RATES_AFTER_FIT);
    if (!best || fitted.pinnedBytes > best.pinnedBytes) best = fitted;
  }
  if (best) return best;
  const others = new Set([...blocks.keys()].filter((i) => !first.has(i)));
  return fill(cycle, others, 2) ?? fill(cycle, others, 1);
}

/** The longest start of the list that can be pinned beside two slots for all others. */
function firstPins({ blocks, sizes, usedOnce, capacityBytes }: Cycle, keys: readonly string[]): ReadonlySet<number> {
  const indexes = new Map(blocks.map(({ key }, i) => [key, i]));
  const wanted = keys.flatMap((key) => indexes.get(key) ?? []).filter((i) => !usedOnce.has(i));
  const fits = (count: number) => {
    const pins = new Set(wanted.slice(0, count));
    const others = new Set([...blocks.keys()].filter((i) => !pins.has(i)));
    return sum([...pins].map((i) => sizes[i]!)) + new Ring(blocks, sizes, others, 2).lengthBytes <= capacityBytes;
  };
  // A block that is pinned besides makes the ring shorter by its size at most: what fits, fits with fewer pins too.
  let [known, over] = [0, wanted.length + 1];
  while (over - known > 1) {
    const middle = (known + over) >> 1;
    if (fits(middle)) known = middle;
    else over = middle;
  }
  return new Set(wanted.slice(0, known));
}

/** Indexes of blocks whose transfer at this rate is hidden by the compute since the one before, and of those used once. */
function hidden({ blocks, sizes, usedOnce }: Cycle, first: ReadonlySet<number>, bytesPerMs: number): Set<number> {
  const streamed = new Set(usedOnce);
  let hiddenBytes = 0;
  blocks.forEach((block, i) => {
    if (usedOnce.has(i)) return;
    hiddenBytes += block.overlapMs * bytesPerMs;
    if (first.has(i) || hiddenBytes < sizes[i]!) return;
    hiddenBytes -= sizes[i]!;
    streamed.add(i);
  });
  return streamed;
}

/** Pins what else fits beside the ring, the largest first; undefined if the set `start` does not fit at all. */
function fill(cycle: Cycle, start: ReadonlySet<number>, slots: RingSlots): Residency | undefined {
  const { blocks, sizes, usedOnce, capacityBytes } = cycle;
  const ring = new Ring(blocks, sizes, start, slots);
  let pinnedBytes = sum(sizes.filter((_, i) => !start.has(i)));
  if (pinnedBytes + ring.lengthBytes > capacityBytes) return undefined;
  const streamed = new Set(start);
  const candidates = [...start].filter((i) => !usedOnce.has(i)).sort((a, b) => sizes[b]! - sizes[a]!);
  for (const i of candidates) {
    const size = sizes[i]!;
    if (pinnedBytes + size + ring.lengthWithout(i) > capacityBytes) continue;
    pinnedBytes += size;
    ring.remove(i);
    streamed.delete(i);
  }
  const pinned = blocks.flatMap(({ key }, i) => (streamed.has(i) ? [] : [{ key, lengthBytes: sizes[i]! }]));
  return {
    pinned,
    streamed: ring.places().map(({ index, offsetBytes }) => ({
      key: blocks[index]!.key,
      offsetBytes,
      lengthBytes: sizes[index]!,
    })),
    pinnedBytes,
    ringBytes: ring.lengthBytes,
    slots: streamed.size === 0 ? 0 : slots,
  };
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, value) => total + value, 0);
}
