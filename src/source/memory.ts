/** @file Bytes that are in memory anyway. */
import { ArtifactError } from "../errors.ts";
import type { ByteSource } from "./source.ts";

/** A source over `bytes`, which it does not copy. `name` is for messages. */
export function memorySource(name: string, bytes: Uint8Array<ArrayBuffer>): ByteSource {
  return {
    name,
    byteLength: bytes.byteLength,
    async read(startByte, into, signal) {
      signal?.throwIfAborted();
      const endByte = startByte + into.byteLength;
      if (startByte < 0 || endByte > bytes.byteLength) {
        throw new ArtifactError({
          code: "E_TRUNCATED",
          subject: name,
          problem: `ends too soon (found ${bytes.byteLength} bytes, needs ${endByte}) at byte ${startByte}`,
          next: "fetch the file again",
        });
      }
      into.set(bytes.subarray(startByte, endByte));
    },
    view: (startByte, endByte) =>
      (bytes.byteOffset + startByte) % 8 === 0 ? bytes.subarray(startByte, endByte) : undefined,
    async [Symbol.asyncDispose]() {},
  };
}
