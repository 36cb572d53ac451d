/**
 * @file Checksums. A block's name is a sha256 over the sha256 of its chunks: each chunk can be hashed in another thread, and a
 * block of any length needs no more memory than a few chunks. CRC32 is what every first read pays for.
 */
import { createHash } from "node:crypto";
import { crc32 } from "node:zlib";

export { crc32 };

/** sha256 of one chunk, computed in libuv's threads. */
export async function chunkDigest(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
}

/** The name of a block with these chunk digests, in order. */
export function blockId(plainBytes: number, chunkDigests: readonly Uint8Array[]): string {
  const hash = createHash("sha256").update(`solvay block ${plainBytes}\n`);
  for (const digest of chunkDigests) hash.update(digest);
  return hash.digest("hex");
}

export function sha256Hex(bytes: Uint8Array | string): string {
  return createHash("sha256").update(bytes).digest("hex");
}
