/** @file Places temporary tensors in one stretch of memory by their lifetimes. Pure. */
import { align } from "./layout.ts";

export interface Lifetime {
  readonly bytes: number;
  /** Dispatches that first write and last read it. */
  readonly first: number;
  readonly last: number;
}

/**
 * Offsets, and the bytes of the whole. Largest first, each at the lowest place where nothing that lives at the same time
 * lies; a dispatch's operands live at the same time.
 */
export function placeScratch(items: readonly Lifetime[]): {
  readonly offsets: readonly number[];
  readonly bytes: number;
} {
  const order = items.map((_, i) => i).sort((a, b) => items[b]!.bytes - items[a]!.bytes || a - b);
  const offsets = new Array<number>(items.length).fill(0);
  const placed: number[] = [];
  let total = 0;
  for (const i of order) {
    const item = items[i]!;
    const bytes = align(item.bytes);
    const rivals = placed
      .filter((j) => items[j]!.first <= item.last && item.first <= items[j]!.last)
      .sort((a, b) => offsets[a]! - offsets[b]!);
    let at = 0;
    for (const j of rivals) {
      if (at + bytes <= offsets[j]!) break;
      at = Math.max(at, offsets[j]! + align(items[j]!.bytes));
    }
    offsets[i] = at;
    placed.push(i);
    total = Math.max(total, at + bytes);
  }
  return { offsets, bytes: total };
}
