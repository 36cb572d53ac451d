/** @file What lies where while an engine works, told to who watches, at most so often. */
import type { WatchOptions } from "../job/engine.ts";
import type { ResidencyEvent } from "../job/events.ts";
import type { Runtime } from "../pipeline/runtime.ts";

interface Watched {
  readonly runtime: Runtime;
  readonly now: () => number;
  readonly memory: () => { readonly rssBytes: number };
}

const EVERY_MS = 250;

/** The first event at once, then one where something has changed and `everyMs` have passed, and one when an image has ended. Ends with the signal. */
export async function* watchResidency(
  watched: Watched,
  { everyMs = EVERY_MS, signal }: WatchOptions = {},
): AsyncGenerator<ResidencyEvent, void, undefined> {
  const { runtime, now } = watched;
  let wake = Promise.withResolvers<void>();
  let toldMs = now();
  const stop = () => wake.resolve();
  signal?.addEventListener("abort", stop, { once: true });
  using _ = runtime.telemetry.observe((isLast) => {
    if (isLast || now() - toldMs >= everyMs) wake.resolve();
  });
  try {
    while (!signal?.aborted) {
      wake = Promise.withResolvers();
      toldMs = now();
      yield momentOf(watched);
      if (!signal?.aborted) await wake.promise;
    }
  } finally {
    signal?.removeEventListener("abort", stop);
  }
}

function momentOf({ runtime, now, memory }: Watched): ResidencyEvent {
  const { telemetry, ledger, weightKeys, readBytes } = runtime;
  const { pass, segment } = telemetry.latest ?? {};
  return {
    atMs: now(),
    ...(pass !== undefined && { pass, segment }),
    ...weightKeys,
    deviceBytes: ledger.state("device").usedBytes,
    ramBytes: ledger.state("ram").usedBytes,
    rssBytes: memory().rssBytes,
    readBytes,
    loadedBytes: telemetry.loaded.bytes,
    waitMs: telemetry.waitMs,
  };
}
