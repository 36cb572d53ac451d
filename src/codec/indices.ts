/** @file Lattice indices as LZR2 stores them: one zlib stream of u16, rows after each other. Inflates within a given limit. */
import { deflate, inflate } from "#zlib";
import type { InflateProblem } from "../source/platform.ts";
import { codebookSize, type LatticeShape } from "./lattice.ts";
import { freeBuffer } from "./scratch.ts";

/** What is wrong with a stream, in words for an error message; its container knows the place. */
export interface IndicesProblem {
  readonly code: "E_LZR_ZLIB" | "E_LZR_INDEX";
  readonly problem: string;
}

export interface IndicesLimits {
  readonly rows: number;
  readonly dp: number;
  /** Of the indices without spare blocks: so much is allocated first. */
  readonly likelyBytes: number;
  readonly maxBytes: number;
}

/** The indices [rows, blocks], or why there are none. An empty stream has no blocks. `packed` stays as it is meanwhile. */
export async function unpackIndices(
  packed: Uint8Array,
  { rows, dp, likelyBytes, maxBytes }: IndicesLimits,
): Promise<Uint16Array<ArrayBuffer> | IndicesProblem> {
  if (packed.byteLength === 0) return new Uint16Array(0);
  const inflated = await inflate(packed, { format: "zlib", likelyBytes, maxBytes });
  if (!(inflated instanceof Uint8Array)) return { code: "E_LZR_ZLIB", problem: wordsOf(inflated, maxBytes) };
  if (inflated.byteLength % (rows * 2) !== 0) {
    const problem = `${inflated.byteLength} bytes of indices are no whole number of blocks for ${rows} rows`;
    return { code: "E_LZR_ZLIB", problem };
  }
  const { buffer, byteOffset, byteLength } = byteOffsetIsEven(inflated) ? inflated : Uint8Array.from(inflated);
  const indices = new Uint16Array(buffer, byteOffset, byteLength / 2);
  const size = codebookSize(dp);
  for (let i = 0; i < indices.length; i++) {
    if (indices[i]! < size) continue;
    const blocks = indices.length / rows;
    const problem = `row ${Math.floor(i / blocks)} block ${i % blocks}: index ${indices[i]}, allowed below ${size}`;
    return { code: "E_LZR_INDEX", problem };
  }
  return indices;
}

function byteOffsetIsEven(bytes: Uint8Array): bytes is Uint8Array<ArrayBuffer> {
  return bytes.byteOffset % 2 === 0;
}

/** Once they are decoded. Small ones lie in memory that Node shares among several, and are left to the collector. */
export function freeIndices({ buffer }: Uint16Array<ArrayBuffer>): void {
  if (buffer.byteLength >= OWN_BUFFER_BYTES) freeBuffer(buffer);
}

/** From here on a Buffer has memory of its own. */
const OWN_BUFFER_BYTES = 1024 ** 2;

/** The stream that `unpackIndices` reads. */
export function packIndices(indices: Uint16Array): Promise<Uint8Array> {
  return deflate(new Uint8Array(indices.buffer, indices.byteOffset, indices.byteLength), { format: "zlib" });
}

/** The largest stream that can be meant: zlib's own overhead is below 1 %, the rest is for writers that flush often. */
export function maxPackedBytes(maxBytes: number): number {
  return maxBytes + Math.ceil(maxBytes / 8) + 65536;
}

/** Bytes of the lattice's indices, with `spareBlocks` more a row than it needs. */
export function indexBytes({ rows, columns, dp }: Omit<LatticeShape, "blocks">, spareBlocks: number): number {
  return rows * (Math.ceil(columns / dp) + spareBlocks) * 2;
}

function wordsOf({ kind, detail }: InflateProblem, maxBytes: number): string {
  if (kind === "long") return `expected at most ${maxBytes} bytes, the stream continues`;
  if (kind === "trailing") return `${detail} bytes follow the end of the zlib stream`;
  return `the zlib stream is damaged (${detail})`;
}
