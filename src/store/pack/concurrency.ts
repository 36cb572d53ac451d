/** @file Several operations at a time. After an error all others are waited for: their buffers are in use until then. */

/** Runs `work` on all items, at most `limit` at a time. Rejects with the first error, once nothing runs any more. */
export async function forEachConcurrent<T>(
  items: readonly T[],
  limit: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  let next = 0;
  let failure: { readonly error: unknown } | undefined;
  const lane = async () => {
    while (next < items.length && !failure) {
      try {
        await work(items[next++]!);
      } catch (error) {
        failure ??= { error };
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, lane));
  if (failure) throw failure.error;
}

/** Results in order, with up to `ahead` items in work. Leaving the loop early waits for those. */
export async function* mapAhead<T, R>(
  items: Iterable<T>,
  ahead: number,
  work: (item: T) => Promise<R>,
): AsyncGenerator<R, void, undefined> {
  const running: Promise<R>[] = [];
  try {
    for (const item of items) {
      const started = work(item);
      started.catch(() => undefined); // reported when its turn comes
      running.push(started);
      if (running.length >= ahead) yield await running.shift()!;
    }
    while (running.length > 0) yield await running.shift()!;
  } finally {
    await Promise.allSettled(running);
  }
}

/** Buffers of one length that are used again: as garbage they would stay for long. */
export class BufferPool {
  readonly #lengthBytes: number;
  readonly #free: Uint8Array<ArrayBuffer>[] = [];

  /** `memory`: where buffers lie as long as there is room in it. */
  constructor(lengthBytes: number, memory = new Uint8Array(0)) {
    this.#lengthBytes = lengthBytes;
    for (let end = lengthBytes; end <= memory.byteLength; end += lengthBytes) {
      this.#free.push(memory.subarray(end - lengthBytes, end));
    }
  }

  take(): Uint8Array<ArrayBuffer> {
    return this.#free.pop() ?? new Uint8Array(this.#lengthBytes);
  }

  give(buffer: Uint8Array<ArrayBuffer>): void {
    this.#free.push(buffer);
  }
}
