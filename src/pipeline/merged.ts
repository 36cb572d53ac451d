/** @file Several generators as one, each going on once what it has given was taken. */

/**
 * What all of them give, as it comes, with which one it is of. Rejects as soon as one of them does. `stop`: before those that are still
 * at work are left.
 */
export async function* merged<Item>(
  generators: readonly AsyncGenerator<Item, void, undefined>[],
  stop: () => void,
): AsyncGenerator<{ readonly index: number; readonly item: Item }, void, undefined> {
  const next = async (index: number) => ({ index, result: await generators[index]!.next() });
  const coming = new Map(generators.map((_, index) => [index, next(index)]));
  try {
    while (coming.size > 0) {
      const { index, result } = await Promise.race(coming.values());
      if (result.done) {
        coming.delete(index);
        continue;
      }
      yield { index, item: result.value };
      coming.set(index, next(index));
    }
  } finally {
    stop();
    await Promise.allSettled(coming.values());
    await Promise.all(generators.map((generator) => generator.return()));
  }
}
