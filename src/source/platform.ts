/**
 * @file What a platform brings that the weights' formats need: deflate streams and hashes. Node's are src/node/{zlib,hash}.ts, a
 * browser's src/browser/{zlib,hash}.ts; `#zlib` and `#hash` are the ones of the platform that runs (package.json, "imports").
 */

/** "zlib": with header and Adler-32 (RFC 1950). "raw": deflate alone (RFC 1951). */
export type DeflateFormat = "zlib" | "raw";

export interface DeflateOptions {
  readonly format: DeflateFormat;
  /** A hint: Huffman codes only, because there is nothing to find twice. Streams differ by platform, and unpack to the same. */
  readonly huffmanOnly?: boolean;
}

export interface InflateOptions {
  readonly format: DeflateFormat;
  /** Of output, 1 or more. A stream that goes on behind it is refused without being unpacked further. */
  readonly maxBytes: number;
  /** Of output, allocated first where the stream is long enough to fill it. Default: `maxBytes`. */
  readonly likelyBytes?: number;
}

/** Why a stream can't be unpacked. Its reader knows the place, and says it. */
export interface InflateProblem {
  /** "long": goes on behind `maxBytes`. "trailing": other bytes follow it, where the platform can tell. */
  readonly kind: "long" | "trailing" | "damaged";
  /** "trailing": the number of bytes; "damaged": the platform's word for it. */
  readonly detail: string;
}

export interface Zlib {
  /** CRC-32 of ISO 3309, unsigned. `before`: of the bytes in front of these. */
  readonly crc32: (bytes: Uint8Array, before?: number) => number;
  /** Outside of this thread. */
  readonly deflate: (bytes: Uint8Array, options: DeflateOptions) => Promise<Uint8Array<ArrayBuffer>>;
  /** Outside of this thread; `bytes` stay as they are meanwhile. */
  readonly inflate: (bytes: Uint8Array, options: InflateOptions) => Promise<Uint8Array<ArrayBuffer> | InflateProblem>;
}

/** A hash that takes its content piece by piece. */
export interface IncrementalHash {
  /** Text as UTF-8. */
  update(content: Uint8Array | string): IncrementalHash;
  /** Ends it: 64 hexadecimal digits. */
  digestHex(): string;
}

export interface Hash {
  readonly sha256: () => IncrementalHash;
  /** At once: 64 hexadecimal digits. */
  readonly sha256Hex: (content: Uint8Array | string) => string;
  /** Outside of this thread: 32 bytes. */
  readonly sha256Digest: (bytes: Uint8Array<ArrayBuffer>) => Promise<Uint8Array<ArrayBuffer>>;
}
