/**
 * @file Collects what images have left behind. V8 waits for tens of megabytes of it, memory that no budget has: an image every few
 * seconds would make the process grow by 40 MB before the first collection.
 */
import v8 from "node:v8";
import { runInNewContext } from "node:vm";

/** So much may be left: a collection takes 10 to 20 ms. */
const LEFT_BYTES = 8 * 1024 ** 2;

/** To be called after each image; `usedBytes` (of this thread's objects and their buffers) and `collect` are for tests. */
export function createGarbageCollector(usedBytes = usedByThread, collect = collector()): () => void {
  let keptBytes = usedBytes();
  return () => {
    if (usedBytes() - keptBytes < LEFT_BYTES) return;
    collect();
    keptBytes = usedBytes();
  };
}

function usedByThread(): number {
  const { used_heap_size: objects, external_memory: buffers } = v8.getHeapStatistics();
  return objects + buffers;
}

/** V8 has it for its own tests; a flag that is set late holds for contexts made after it. */
function collector(): () => void {
  // Where Node was started with --expose-gc, the flag stays the user's.
  if (globalThis.gc) return globalThis.gc as () => void;
  v8.setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  v8.setFlagsFromString("--no-expose-gc");
  return collect;
}
