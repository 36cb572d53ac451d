/** @file Work that may fail, as a value: for generators, so that no catch lies around a caller's yield. */

export type Attempt<Value> =
  | { readonly ok: true; readonly value: Value }
  | { readonly ok: false; readonly failure: unknown };

export function attempt<Value>(work: () => Value): Attempt<Value> {
  try {
    return { ok: true, value: work() };
  } catch (failure) {
    return { ok: false, failure };
  }
}

export async function settled<Value>(work: () => Promise<Value>): Promise<Attempt<Value>> {
  try {
    return { ok: true, value: await work() };
  } catch (failure) {
    return { ok: false, failure };
  }
}
