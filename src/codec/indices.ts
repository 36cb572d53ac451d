/** @file Lattice indices as LZR2 stores them: one zlib stream of u16, rows after each other. Inflates within a given limit. */
import { deflateSync, inflateSync } from "node:zlib";
import { codebookSize, type LatticeShape } from "./lattice.ts";

/** What is wrong with a stream, in words for an error message; its container knows the place. */
export interface IndicesProblem {
  readonly code: "E_LZR_ZLIB" | "E_LZR_INDEX";
  readonly problem: string;
}

/** The indices [rows, blocks], or why there are none. An empty stream has no blocks. */
export function unpackIndices(
  packed: Uint8Array,
  { rows, dp, maxBytes }: { readonly rows: number; readonly dp: number; readonly maxBytes: number },
): Uint16Array<ArrayBuffer> | IndicesProblem {
  if (packed.byteLength === 0) return new Uint16Array(0);
  const inflated = inflateExactly(packed, maxBytes);
  if (!(inflated instanceof Uint8Array)) return inflated;
  if (inflated.byteLength % (rows * 2) !== 0) {
    const problem = `${inflated.byteLength} bytes of indices are no whole number of blocks for ${rows} rows`;
    return { code: "E_LZR_ZLIB", problem };
  }
  const indices = new Uint16Array(inflated.byteLength / 2);
  new Uint8Array(indices.buffer).set(inflated);
  const size = codebookSize(dp);
  for (let i = 0; i < indices.length; i++) {
    if (indices[i]! < size) continue;
    const blocks = indices.length / rows;
    const problem = `row ${Math.floor(i / blocks)} block ${i % blocks}: index ${indices[i]}, allowed below ${size}`;
    return { code: "E_LZR_INDEX", problem };
  }
  return indices;
}

/** The stream that `unpackIndices` reads. */
export function packIndices(indices: Uint16Array): Uint8Array {
  return deflateSync(new Uint8Array(indices.buffer, indices.byteOffset, indices.byteLength));
}

/** The largest stream that can be meant: zlib's own overhead is below 1 %, the rest is for writers that flush often. */
export function maxPackedBytes(maxBytes: number): number {
  return maxBytes + Math.ceil(maxBytes / 8) + 65536;
}

/** Bytes of the lattice's indices, with `spareBlocks` more a row than it needs. */
export function indexBytes({ rows, columns, dp }: Omit<LatticeShape, "blocks">, spareBlocks: number): number {
  return rows * (Math.ceil(columns / dp) + spareBlocks) * 2;
}

/** node:zlib takes bytes after the end of a stream without a word: hence the count. */
function inflateExactly(packed: Uint8Array, maxBytes: number): Uint8Array | IndicesProblem {
  const wrong = (problem: string): IndicesProblem => ({ code: "E_LZR_ZLIB", problem });
  try {
    const { buffer, engine } = inflateSync(packed, { maxOutputLength: maxBytes, info: true }) as unknown as {
      readonly buffer: Uint8Array;
      readonly engine: { readonly bytesWritten: number };
    };
    const trailingBytes = packed.byteLength - engine.bytesWritten;
    return trailingBytes === 0 ? buffer : wrong(`${trailingBytes} bytes follow the end of the zlib stream`);
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "unreadable";
    if (code === "ERR_BUFFER_TOO_LARGE") return wrong(`expected at most ${maxBytes} bytes, the stream continues`);
    return wrong(`the zlib stream is damaged (${code})`);
  }
}
