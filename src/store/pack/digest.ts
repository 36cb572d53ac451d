/**
 * @file Names of blocks: a sha256 over the sha256 of a block's chunks. Each chunk can be hashed in another thread, and a block of any
 * length needs no more memory than a few chunks.
 */
import { sha256 } from "#hash";

/** The name of a block with these chunk digests (sha256), in order. */
export function blockId(plainBytes: number, chunkDigests: readonly Uint8Array[]): string {
  const hash = sha256().update(`solvay block ${plainBytes}\n`);
  for (const digest of chunkDigests) hash.update(digest);
  return hash.digestHex();
}
