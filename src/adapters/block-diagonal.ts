/** @file Some blocks of a block-diagonal matrix as a matrix, with the zeros between them. */
import type { ByteSource } from "../source/source.ts";
import { DTYPE_BYTES } from "../tensor/dtype.ts";
import type { MadeTensor } from "./layer-change.ts";

/** `blocks` [b, k, k], of which `count` from `first` on -> [count k, count k] in their dtype. */
export function blockDiagonal(blocks: MadeTensor, first: number, count: number): MadeTensor {
  const source = new DiagonalSource(blocks, first, count);
  const side = source.side;
  return { ...blocks, shape: [side, side], source, startByte: 0, endByte: source.byteLength };
}

class DiagonalSource implements ByteSource {
  readonly name: string;
  readonly file: ByteSource["file"];
  readonly byteLength: number;
  readonly readingBytes: number;
  readonly side: number;
  readonly #blocks: MadeTensor;
  readonly #first: number;

  constructor(blocks: MadeTensor, first: number, count: number) {
    const width = blocks.shape[1]!;
    const size = DTYPE_BYTES[blocks.dtype];
    this.name = blocks.source.name;
    this.file = blocks.source.file;
    this.side = count * width;
    this.byteLength = this.side * this.side * size;
    this.readingBytes = width * width * size + (blocks.source.readingBytes ?? 0);
    this.#blocks = blocks;
    this.#first = first;
  }

  async read(startByte: number, into: Uint8Array, signal?: AbortSignal): Promise<void> {
    const { source, shape, dtype, startByte: base } = this.#blocks;
    const width = shape[1]!;
    const rowBytes = this.side * DTYPE_BYTES[dtype];
    const ownBytes = width * DTYPE_BYTES[dtype];
    const block = new Uint8Array(width * ownBytes);
    const endByte = startByte + into.byteLength;
    into.fill(0);
    const firstBlock = Math.floor(startByte / rowBytes / width);
    for (let i = firstBlock; i * width * rowBytes < endByte; i++) {
      await source.read(base + (this.#first + i) * block.byteLength, block, signal);
      for (let row = 0; row < width; row++) {
        const place = (i * width + row) * rowBytes + i * ownBytes - startByte;
        const from = Math.max(0, -place);
        const to = Math.min(ownBytes, into.byteLength - place);
        if (from < to) into.set(block.subarray(row * ownBytes + from, row * ownBytes + to), place + from);
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}
