/** @file Where the blocks of weights of each of a model's components come from: files in place, or the block store. */
import type { Checkpoint, Component, Family } from "../models/family.ts";
import { type BlockReader, TableBlocks } from "../stream/blocks.ts";
import { StoredBlocks } from "../stream/stored-blocks.ts";

/** By component id. `now`: milliseconds of a clock that never goes back. */
export function componentReaders(
  { family, components, refiner }: Checkpoint,
  now: () => number,
): Map<string, BlockReader> {
  const refining = [...(refiner?.components ?? [])].map(([id, { prefix, table }]): [string, BlockReader] => [
    id,
    new TableBlocks(prefix, table),
  ]);
  return new Map([
    ...refining,
    ...family.components.flatMap(({ id }): [string, BlockReader][] => {
      const component = components.get(id);
      return component ? [[id, componentReader(family, id, component, now)]] : [];
    }),
  ]);
}

/** Of one that may have come later. */
export function componentReader(
  { components }: Family,
  id: string,
  { table, blocks }: Component,
  now: () => number,
): BlockReader {
  const { prefix } = components.find((other) => other.id === id)!;
  return blocks ? new StoredBlocks(prefix, { blocks }, now) : new TableBlocks(prefix, table);
}
