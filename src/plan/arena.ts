/**
 * @file Offsets in one arena for things whose lifetimes are known, so that those which never live at the same time share bytes.
 * Pure.
 */
import { alignUp } from "../tensor/align.ts";

export interface Lifetime {
  readonly lengthBytes: number;
  /** When it is first and last used, by place in the order of use: segments, runs of bands, dispatches. Both included. */
  readonly firstUse: number;
  readonly lastUse: number;
}

export interface ArenaLayout {
  /** By place in the list. */
  readonly offsetsBytes: readonly number[];
  readonly lengthBytes: number;
}

/**
 * Things that are there at one moment never share a byte. Lowest free offset first, once for the longest things first and once
 * in order of time; the shorter of both layouts. Offsets are multiples of `alignmentBytes`.
 */
export function layOutArena(items: readonly Lifetime[], alignmentBytes: number): ArenaLayout {
  const order = items.map((_, index) => index);
  const byLength = order.toSorted((a, b) => items[b]!.lengthBytes - items[a]!.lengthBytes || a - b);
  const byTime = order.toSorted((a, b) => items[a]!.firstUse - items[b]!.firstUse || a - b);
  const [first, second] = [byLength, byTime].map((some) => layOutInOrder(items, some, alignmentBytes)) as [
    ArenaLayout,
    ArenaLayout,
  ];
  return second.lengthBytes < first.lengthBytes ? second : first;
}

function layOutInOrder(items: readonly Lifetime[], order: readonly number[], alignmentBytes: number): ArenaLayout {
  const offsetsBytes = items.map(() => 0);
  /** Placed so far, by offset. */
  const placed: number[] = [];
  let lengthBytes = 0;
  for (const index of order) {
    const item = items[index]!;
    let offset = 0;
    for (const other of placed) {
      const { firstUse, lastUse, lengthBytes: taken } = items[other]!;
      if (lastUse < item.firstUse || item.lastUse < firstUse) continue;
      if (offset + item.lengthBytes <= offsetsBytes[other]!) break;
      offset = Math.max(offset, alignUp(offsetsBytes[other]! + taken, alignmentBytes));
    }
    offsetsBytes[index] = offset;
    lengthBytes = Math.max(lengthBytes, alignUp(offset + item.lengthBytes, alignmentBytes));
    placed.splice(insertionPoint(placed, offsetsBytes, offset), 0, index);
  }
  return { offsetsBytes, lengthBytes };
}

function insertionPoint(placed: readonly number[], offsetsBytes: readonly number[], offset: number): number {
  let [low, high] = [0, placed.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (offsetsBytes[placed[middle]!]! < offset) low = middle + 1;
    else high = middle;
  }
  return low;
}
