/**
 * @file How often a thread looks whether the graphics device is done. Dawn for Node does it at every turn of the event loop, by
 * `setImmediate`, as long as anything is under way: that takes a whole core, which a software adapter would draw with.
 */

/** Milliseconds: hundredths of what a kernel takes to compile on a software adapter. Looks at each quarter were a tenth of all work. */
const REST_MS = 1;

type Callback = (...args: unknown[]) => void;

/** What a function that no JavaScript was written for has as its text; Dawn's has it, a bound one too. */
const NATIVE = "function () { [native code] }";

/** A `setImmediate` that calls `rest` before a look of Dawn's, and does as `plain` with all else. */
export function restingImmediate<Handle>(
  plain: (callback: Callback, ...args: unknown[]) => Handle,
  rest: () => void,
): (callback: Callback, ...args: unknown[]) => Handle {
  return (callback, ...args) => {
    if (args.length > 0 || Function.prototype.toString.call(callback) !== NATIVE) return plain(callback, ...args);
    return plain(() => {
      rest();
      callback();
    });
  };
}

let resting = false;

/** From now on this thread rests before each look. Dawn takes `setImmediate` from the global object, and has no setting for it. */
export function restBetweenLooks(): void {
  if (resting) return;
  resting = true;
  const cell = new Int32Array(new SharedArrayBuffer(4));
  const plain = globalThis.setImmediate;
  const rested = restingImmediate(plain, () => Atomics.wait(cell, 0, 0, REST_MS));
  // With what util.promisify reads of the plain one.
  globalThis.setImmediate = Object.assign(rested, plain);
}
