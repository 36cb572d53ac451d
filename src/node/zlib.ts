/** @file `#zlib` in Node: node:zlib, whose streams run in libuv's threads. */
import * as zlib from "node:zlib";
import type { InflateProblem, Zlib } from "../source/platform.ts";

const { Z_HUFFMAN_ONLY } = zlib.constants;

/** No deflate stream expands more (zlib's own figure is 1032). */
const DEFLATE_MAX_RATIO = 1040;

export const crc32: Zlib["crc32"] = (bytes, before) => zlib.crc32(bytes, before);

export const deflate: Zlib["deflate"] = (bytes, { format, huffmanOnly }) => {
  const { promise, resolve, reject } = Promise.withResolvers<Uint8Array<ArrayBuffer>>();
  const deflateAs = format === "zlib" ? zlib.deflate : zlib.deflateRaw;
  // Where there is nothing to search for, the levels differ in nothing; and the result is about as long as its content.
  const options = huffmanOnly
    ? { strategy: Z_HUFFMAN_ONLY, level: 1, memLevel: 9, chunkSize: bytes.byteLength + 1024 }
    : {};
  deflateAs(bytes, options, (error, packed) => (error ? reject(error) : resolve(packed)));
  return promise;
};

export const inflate: Zlib["inflate"] = (bytes, { format, maxBytes, likelyBytes = maxBytes }) => {
  const { promise, resolve } = Promise.withResolvers<Uint8Array<ArrayBuffer> | InflateProblem>();
  // One output buffer, where a stream of this length could fill it: joining several needs twice the memory.
  const chunkSize = Math.max(64, Math.min(likelyBytes, bytes.byteLength * DEFLATE_MAX_RATIO) + 1);
  // node:zlib takes bytes behind the end of a stream without a word: hence the engine's count.
  const options = { maxOutputLength: maxBytes, chunkSize, info: true };
  const inflateAs = format === "zlib" ? zlib.inflate : zlib.inflateRaw;
  inflateAs(bytes, options, (error, result) => {
    if (error) {
      const code = "code" in error ? String(error.code) : "unreadable";
      const long = code === "ERR_BUFFER_TOO_LARGE";
      resolve({ kind: long ? "long" : "damaged", detail: code });
      return;
    }
    const { buffer, engine } = result as unknown as {
      readonly buffer: Uint8Array<ArrayBuffer>;
      readonly engine: { readonly bytesWritten: number };
    };
    const trailingBytes = bytes.byteLength - engine.bytesWritten;
    resolve(trailingBytes === 0 ? buffer : { kind: "trailing", detail: String(trailingBytes) });
  });
  return promise;
};
