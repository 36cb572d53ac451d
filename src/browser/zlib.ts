/** @file `#zlib` in a browser: compression streams, and a CRC by table. */
import type { Zlib } from "../source/platform.ts";

const STREAM_FORMATS = { zlib: "deflate", raw: "deflate-raw" } as const;

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

export const crc32: Zlib["crc32"] = (bytes, before = 0) => {
  let crc = ~before;
  for (let at = 0; at < bytes.length; at++) crc = TABLE[(crc ^ bytes[at]!) & 0xff]! ^ (crc >>> 8);
  return ~crc >>> 0;
};

/** Compression streams have no strategy: `huffmanOnly` changes nothing here. */
export const deflate: Zlib["deflate"] = async (bytes, { format }) => {
  const stream = streamOf(bytes).pipeThrough(new CompressionStream(STREAM_FORMATS[format]));
  return new Uint8Array(await new Response(stream).arrayBuffer());
};

/** Bytes behind a stream's end count as damage: the platform doesn't tell them apart. */
export const inflate: Zlib["inflate"] = async (bytes, { format, maxBytes }) => {
  const parts: Uint8Array[] = [];
  let length = 0;
  try {
    const reader = streamOf(bytes).pipeThrough(new DecompressionStream(STREAM_FORMATS[format])).getReader();
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      length += value.length;
      if (length > maxBytes) {
        await reader.cancel();
        return { kind: "long", detail: `${length} bytes` };
      }
      parts.push(value);
    }
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return { kind: "damaged", detail: error.message || "unreadable" };
  }
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
};

/** A blob holds no shared memory: such bytes are copied first. */
function streamOf(bytes: Uint8Array): ReadableStream<Uint8Array<ArrayBuffer>> {
  const { buffer } = bytes;
  const own =
    buffer instanceof ArrayBuffer ? new Uint8Array(buffer, bytes.byteOffset, bytes.byteLength) : bytes.slice();
  return new Blob([own as Uint8Array<ArrayBuffer>]).stream();
}
