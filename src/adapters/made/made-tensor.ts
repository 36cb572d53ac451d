/** @file A tensor in fp32 that is made while it is read, a strip of rows at a time. */
import type { ByteSource } from "../../source/source.ts";
import { elementCount } from "../../tensor/dtype.ts";
import type { MadeTensor } from "../layer-change.ts";
import type { Rows } from "./rows.ts";

/** What is made at a time. */
const STRIP_BYTES = 1024 ** 2;

/** `of`: the file that the rows are made from. `shape`: of as many values as `rows` has. */
export function madeTensor(name: string, shape: readonly number[], rows: Rows, of: ByteSource): MadeTensor {
  const source = new MadeSource(rows, of);
  return { name, dtype: "f32", shape, source, startByte: 0, endByte: 4 * elementCount(shape) };
}

class MadeSource implements ByteSource {
  readonly name: string;
  readonly byteLength: number;
  readonly file: ByteSource["file"];
  readonly readingBytes: number;
  readonly #rows: Rows;
  readonly #stripRows: number;

  constructor(rows: Rows, of: ByteSource) {
    const unit = rows.unitRows ?? 1;
    const units = Math.max(1, Math.floor(STRIP_BYTES / (4 * unit * rows.columns)));
    this.name = of.name;
    this.file = of.file;
    this.byteLength = 4 * rows.rows * rows.columns;
    this.#rows = rows;
    this.#stripRows = Math.min(rows.rows, unit * units);
    this.readingBytes = 4 * this.#stripRows * rows.columns + rows.memoryBytes(this.#stripRows);
  }

  async read(startByte: number, into: Uint8Array, signal?: AbortSignal): Promise<void> {
    const { rows, columns } = this.#rows;
    const rowBytes = 4 * columns;
    const endByte = startByte + into.byteLength;
    const strip = new Float32Array(this.#stripRows * columns);
    const bytes = new Uint8Array(strip.buffer);
    const make = await this.#rows.begin(signal);
    const unit = this.#rows.unitRows ?? 1;
    let row = Math.floor(startByte / rowBytes / unit) * unit;
    while (row * rowBytes < endByte) {
      signal?.throwIfAborted();
      const to = Math.min(rows, row + this.#stripRows);
      await make(row, to, strip);
      const from = row * rowBytes - startByte;
      const first = Math.max(0, -from);
      const last = Math.min((to - row) * rowBytes, into.byteLength - from);
      into.set(bytes.subarray(first, last), from + first);
      row = to;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}
