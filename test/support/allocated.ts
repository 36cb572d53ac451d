/** @file What a piece of pure work allocates in typed arrays. */

/** Bytes of all Uint8Arrays and Int32Arrays that `work` makes, in whatever way; views of bytes that are there are none. It must not wait for anything. */
export function allocatedBytes(work: () => unknown): { readonly uint8: number; readonly int32: number } {
  const bytes = { uint8: 0, int32: 0 };
  const own = { Uint8Array: globalThis.Uint8Array, Int32Array: globalThis.Int32Array };
  class Bytes extends own.Uint8Array<ArrayBuffer> {
    // Whoever calls it may give a length or values as well.
    constructor(buffer: ArrayBuffer, offsetBytes?: number, length?: number) {
      super(buffer, offsetBytes, length);
      if (!isView(buffer)) bytes.uint8 += this.byteLength;
    }
  }
  class Words extends own.Int32Array<ArrayBuffer> {
    constructor(buffer: ArrayBuffer, offsetBytes?: number, length?: number) {
      super(buffer, offsetBytes, length);
      if (!isView(buffer)) bytes.int32 += this.byteLength;
    }
  }
  Object.assign(globalThis, { Uint8Array: Bytes, Int32Array: Words });
  try {
    work();
  } finally {
    Object.assign(globalThis, own);
  }
  return bytes;
}

function isView(first: unknown): boolean {
  return first instanceof ArrayBuffer;
}
