/** @file Where the blocks of weights of each of a model's components come from: files in place, or the block store. */
import type { Checkpoint, Component, Family } from "../models/family.ts";
import { type BlockReader, TableBlocks } from "../stream/blocks.ts";
import { StoredBlocks } from "../stream/stored-blocks.ts";

/** By component id. `now`: milliseconds of a clock that never goes back. */
export function componentReaders(
  { family, components, refiner }: Checkpoint,
  now: () => number,
): Map<string, BlockReader> {
  const found = new Map([...components, ...(refiner?.components ?? [])]);
  const readers = new Map<string, BlockReader>();
  for (const { id } of [...family.refinerComponents, ...family.components]) {
    const component = found.get(id);
    if (component) readers.set(id, componentReader(family, id, component, now));
  }
  return readers;
}

/** Of one that may have come later. */
export function componentReader(
  { components, refinerComponents }: Family,
  id: string,
  { table, blocks }: Component,
  now: () => number,
): BlockReader {
  const { prefix } = [...components, ...refinerComponents].find((other) => other.id === id)!;
  return blocks ? new StoredBlocks(prefix, { blocks }, now) : new TableBlocks(prefix, table);
}
