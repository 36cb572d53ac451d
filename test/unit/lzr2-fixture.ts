/** @file Hand-made LZR2 bytes, and a slow decoder written from the format's description alone. */
import { deflateSync, inflateSync } from "node:zlib";
import { type Lzr2Record, type ReadLzr2Options, readLzr2 } from "../../src/container/lzr2.ts";
import { memorySource } from "../../src/source/memory.ts";

export interface RawRecord {
  readonly key: string;
  readonly shape: readonly number[];
  readonly tf?: number;
  readonly dp?: number;
  readonly mean?: readonly number[];
  readonly scale?: readonly number[];
  /** Row-major [C, nBlocks]. */
  readonly indices?: readonly number[];
  /** In place of the indices' zlib stream. */
  readonly packed?: Uint8Array;
  /** [row, column, value] */
  readonly overlay?: readonly (readonly [number, number, number])[];
  /** Claims, where they differ from the facts. */
  readonly keyLen?: number;
  readonly keyRaw?: Uint8Array;
  readonly zlen?: number;
  readonly nOverlay?: number;
}

export function u32(...values: readonly number[]): Buffer {
  const out = Buffer.alloc(values.length * 4);
  for (const [i, value] of values.entries()) out.writeUInt32LE(value, i * 4);
  return out;
}

export function f32(...values: readonly number[]): Buffer {
  const out = Buffer.alloc(values.length * 4);
  for (const [i, value] of values.entries()) out.writeFloatLE(value, i * 4);
  return out;
}

export function u16(...values: readonly number[]): Buffer {
  const out = Buffer.alloc(values.length * 2);
  for (const [i, value] of values.entries()) out.writeUInt16LE(value, i * 2);
  return out;
}

export function recordBytes(record: RawRecord): Buffer {
  const { key, shape, tf = 1, dp = 1, overlay = [], indices = [] } = record;
  const name = record.keyRaw ?? Buffer.from(key);
  const head = Buffer.concat([u32(record.keyLen ?? name.length), name, u32(shape.length, ...shape), Buffer.from([tf])]);
  if (tf !== 1) return head;
  const rows = shape[0]!;
  const packed = record.packed ?? deflateSync(u16(...indices));
  const wide = Math.max(rows, indices.length / rows) * dp >= 65536;
  return Buffer.concat([
    head,
    u32(dp),
    f32(...new Array<number>(rows * dp).fill(7)),
    f32(...(record.mean ?? new Array<number>(rows).fill(0))),
    f32(...(record.scale ?? new Array<number>(rows).fill(1))),
    u32(record.zlen ?? packed.length),
    packed,
    u32(record.nOverlay ?? overlay.length),
    ...overlay.map(([row, column, value]) => Buffer.concat([wide ? u32(row, column) : u16(row, column), f32(value)])),
  ]);
}

export function artifactBytes(...records: readonly (RawRecord | Uint8Array)[]): Uint8Array<ArrayBuffer> {
  const parts = records.map((record) => (record instanceof Uint8Array ? record : recordBytes(record)));
  return Uint8Array.from(Buffer.concat([Buffer.from("LZR2"), ...parts]));
}

export async function readAll(bytes: Uint8Array<ArrayBuffer>, options?: ReadLzr2Options): Promise<Lzr2Record[]> {
  const records: Lzr2Record[] = [];
  for await (const record of readLzr2(memorySource("test.lzr2", bytes), options)) records.push(record);
  return records;
}

/** Base 3 by string, one cell at a time: nothing of the reader's own code. */
export function slowDecode(file: Uint8Array): Map<string, Float16Array> {
  const bytes = Buffer.from(file);
  const out = new Map<string, Float16Array>();
  let at = 4;
  const take = (length: number) => {
    at += length;
    return bytes.subarray(at - length, at);
  };
  const next = () => take(4).readUInt32LE();
  const nextFloat = () => take(4).readFloatLE();
  while (at < bytes.length) {
    const keyLen = next();
    const key = take(keyLen).toString();
    const shape = Array.from({ length: next() }, next);
    if (take(1)[0] !== 1) continue;
    const [C, N] = [shape[0]!, shape.slice(1).reduce((product, dim) => product * dim, 1)];
    const dp = next();
    at += C * dp * 4;
    const mean = Array.from({ length: C }, nextFloat);
    const scale = Array.from({ length: C }, nextFloat);
    const zlen = next();
    const indices = inflateSync(take(zlen));
    const nBlocks = indices.length / 2 / C;
    const W = new Float32Array(C * N);
    for (let r = 0; r < C; r++) {
      let digits = "";
      for (let b = 0; b < nBlocks; b++)
        digits += indices
          .readUInt16LE((r * nBlocks + b) * 2)
          .toString(3)
          .padStart(dp, "0");
      digits = digits.padEnd(N, "1");
      for (let c = 0; c < N; c++) {
        W[r * N + c] = Math.fround(Number(digits[c]) - 1 + mean[r]!) * scale[r]!;
      }
    }
    const wide = Math.max(C, nBlocks) * dp >= 65536;
    for (let left = next(); left > 0; left--) {
      const row = wide ? next() : take(2).readUInt16LE();
      const column = wide ? next() : take(2).readUInt16LE();
      const value = nextFloat();
      if (row < C && column < N) W[row * N + column] = value;
    }
    out.set(key, new Float16Array(W));
  }
  return out;
}

export function f16Bits(values: Float16Array | readonly number[]): Uint16Array {
  return new Uint16Array(new Float16Array(values).buffer);
}
