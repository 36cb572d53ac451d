/** @file The thread that takes checksums of decoded tensors in shared memory. It is asked by hashing.ts. */
import { hash } from "node:crypto";
import { parentPort, workerData } from "node:worker_threads";
import type { PieceSum } from "../../store/pack/hasher.ts";
import { crc32 } from "../zlib.ts";
import type { HashAnswer, HashJob } from "./hashing.ts";

const memory = workerData as Uint8Array<SharedArrayBuffer>;

parentPort!.on("message", ({ id, offsetBytes, lengthBytes, pieces }: HashJob) => {
  const bytes = memory.subarray(offsetBytes, offsetBytes + lengthBytes);
  const sums = pieces.map(({ from, to, digest }): PieceSum => {
    const piece = bytes.subarray(from, to);
    const crc = crc32(piece);
    return digest ? { crc, digest: Uint8Array.from(hash("sha256", piece, "buffer")) } : { crc };
  });
  parentPort!.postMessage({ id, sums } satisfies HashAnswer);
});
