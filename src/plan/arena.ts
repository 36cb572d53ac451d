/**
 * @file Offsets within one arena from lifetimes, so that values which never live at the same time share bytes.
 * Greedy by size (Pisarchyk & Lee 2020, arXiv:2001.03288): the largest first, each at the lowest gap between those it
 * lives with.
 */

/** Something that needs `lengthBytes` from step `from` to step `to`, both inclusive. */
export interface Lifetime<Key> {
  readonly key: Key;
  readonly lengthBytes: number;
  readonly from: number;
  readonly to: number;
}

export interface ArenaLayout<Key> {
  readonly offsets: ReadonlyMap<Key, number>;
  /** End of the highest item: the arena's length. */
  readonly peakBytes: number;
}

export function alignUp(bytes: number, alignmentBytes: number): number {
  return Math.ceil(bytes / alignmentBytes) * alignmentBytes;
}

/** Items with equal keys are an error of the caller. Offsets are multiples of `alignmentBytes`. */
export function layOutArena<Key>(items: readonly Lifetime<Key>[], alignmentBytes: number): ArenaLayout<Key> {
  const placed: { readonly item: Lifetime<Key>; readonly startByte: number; readonly endByte: number }[] = [];
  let peakBytes = 0;
  const largestFirst = [...items].sort((a, b) => b.lengthBytes - a.lengthBytes || a.from - b.from);
  for (const item of largestFirst) {
    const lengthBytes = alignUp(item.lengthBytes, alignmentBytes);
    const neighbours = placed
      .filter((other) => other.item.from <= item.to && item.from <= other.item.to)
      .sort((a, b) => a.startByte - b.startByte);
    let startByte = 0;
    for (const other of neighbours) {
      if (other.startByte - startByte >= lengthBytes) break;
      startByte = Math.max(startByte, other.endByte);
    }
    placed.push({ item, startByte, endByte: startByte + lengthBytes });
    peakBytes = Math.max(peakBytes, startByte + lengthBytes);
  }
  return { offsets: new Map(placed.map(({ item, startByte }) => [item.key, startByte])), peakBytes };
}

/** Lower bound of any layout: the most bytes that live at one step. */
export function liveBytes<Key>(items: readonly Lifetime<Key>[], alignmentBytes: number): number {
  const steps = new Set(items.map((item) => item.from));
  let most = 0;
  for (const step of steps) {
    const live = items.filter((item) => item.from <= step && step <= item.to);
    most = Math.max(
      most,
      live.reduce((sum, item) => sum + alignUp(item.lengthBytes, alignmentBytes), 0),
    );
  }
  return most;
}
