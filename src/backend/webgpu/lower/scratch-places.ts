/** @file Places temporary tensors in one stretch of memory by their lifetimes. Pure. */
import { layOutArena } from "../../../plan/arena.ts";
import { ALIGNMENT_BYTES } from "./tensor-layout.ts";

export interface Temporary {
  readonly bytes: number;
  /** Dispatches that first write and last read it; a dispatch's operands live at the same time. */
  readonly first: number;
  readonly last: number;
}

/** Offsets, and the bytes of the whole. */
export function placeScratch(items: readonly Temporary[]): {
  readonly offsets: readonly number[];
  readonly bytes: number;
} {
  const { offsetsBytes, lengthBytes } = layOutArena(
    items.map(({ bytes, first, last }) => ({ lengthBytes: bytes, firstUse: first, lastUse: last })),
    ALIGNMENT_BYTES,
  );
  return { offsets: offsetsBytes, bytes: lengthBytes };
}
