/**
 * @file Who takes the checksums of decoded tensors: this thread for what is small, a thread of its own for an artifact of gigabytes,
 * which reads the tensors where they lie (docs/decisions/direct-writes.md).
 */
import { sha256Digest } from "#hash";
import { crc32 } from "#zlib";

/** A stretch of a tensor's bytes. */
export interface Piece {
  readonly from: number;
  readonly to: number;
  /** Whether its sha256 is wanted, too. */
  readonly digest: boolean;
}

export interface PieceSum {
  readonly crc: number;
  readonly digest?: Uint8Array;
}

export interface Hasher extends AsyncDisposable {
  /** In the order of the pieces. The bytes must stay as they are until this resolves. */
  sums(bytes: Uint8Array, pieces: readonly Piece[]): Promise<readonly PieceSum[]>;
}

/** Threads that hash what lies in memory shared with them. */
export interface HashThreads {
  /** Memory that a thread takes beside what it hashes. */
  readonly threadBytes: number;
  /** Starts one. `memory`: what it can see, and the tensors lie in. */
  start(memory: Uint8Array<SharedArrayBuffer>): Hasher;
}

export const LOCAL_HASHER: Hasher = {
  async sums(bytes, pieces) {
    const sums: PieceSum[] = [];
    // One after the other: WebCrypto copies what it hashes.
    for (const { from, to, digest } of pieces) {
      const piece = bytes.subarray(from, to) as Uint8Array<ArrayBuffer>;
      const crc = crc32(piece);
      sums.push(digest ? { crc, digest: await sha256Digest(piece) } : { crc });
    }
    return sums;
  },
  async [Symbol.asyncDispose]() {},
};
