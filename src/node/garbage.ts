/**
 * @file Collects what images have left behind. V8 waits for tens of megabytes of it, memory that no budget has: an image every few
 * seconds would make the process grow by 40 MB before the first collection.
 */
import { performance } from "node:perf_hooks";
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

/** Of the old generation since its last collection, in hundredths. By V8's own rule a burst of requests makes it three times as large first. */
const GROWTH_PERCENT = 20;

/** From now on this process's threads collect their old generations early, in V8's small pieces beside the work. */
export function collectEarly(): void {
  v8.setFlagsFromString(`--heap-growing-percent=${GROWTH_PERCENT}`);
}

/** Busier than this, a thread has no time for a collection: V8 sees to it, in smaller pieces. */
const IDLE_SHARE = 0.3;

/** Collects every so often, where this thread had little to do since the last time: all that comes meanwhile waits for it. Until it is disposed. */
export function collectWhenIdle(everyMs: number): Disposable {
  const collect = createGarbageCollector();
  let before = performance.eventLoopUtilization();
  const timer = setInterval(() => {
    const { utilization } = performance.eventLoopUtilization(before);
    before = performance.eventLoopUtilization();
    if (utilization < IDLE_SHARE) collect();
  }, everyMs);
  return { [Symbol.dispose]: () => clearInterval(timer) };
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
