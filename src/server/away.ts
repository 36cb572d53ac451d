/** @file What a server leans on and can't reach at the moment (a database, a bucket): the same again may go well later. */
import { setTimeout as delay } from "node:timers/promises";
import { DeviceError } from "../errors.ts";

/** `E_DATABASE` or `E_BUCKET`: the job is not to blame, nor is the engine. */
export class Away extends DeviceError {}

const AGAIN_MS = 500;

/** Does it again while it is Away, for `patienceMs` at most and not after the signal. Rejects with the last error. */
export async function patiently<T>(
  work: () => Promise<T>,
  { patienceMs, signal }: { readonly patienceMs: number; readonly signal?: AbortSignal | undefined },
): Promise<T> {
  const endMs = performance.now() + patienceMs;
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof Away) || performance.now() >= endMs || signal?.aborted) throw error;
      await delay(AGAIN_MS);
    }
  }
}
