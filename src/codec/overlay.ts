/** @file The LZR2 overlay: (row, column, fp32 value), which overwrite single weights. Packed in 8 bytes, or in 12. */
import { f16FromF32Bits } from "../tensor/dtype.ts";
import type { Scratch } from "./scratch.ts";

/** At `max(rows, blocks) dp` from here on, overlay rows name row and column in u32 instead of u16. */
const WIDE_FROM = 65536;

/** Shorter runs gain nothing. */
const MIN_RUN = 64;

/** Bytes of one overlay row. They depend on the number of blocks, not on that of columns. */
export function overlayRowBytes(rows: number, blocks: number, dp: number): 8 | 12 {
  return Math.max(rows, blocks) * dp < WIDE_FROM ? 8 : 12;
}

/** One tensor while its overlay is laid over it. */
export class OverlayTarget {
  /** fp16 bits, row-major [rows, columns]. */
  readonly weight: Uint16Array;
  readonly rows: number;
  readonly columns: number;
  /** Overlay rows outside of the matrix so far. */
  skippedRows = 0;
  /** Some value was NaN, infinite or beyond fp16: whether it stayed is to be looked up. */
  sawNonFinite = false;
  /** One bit a cell, if two values for one cell are to be found. */
  readonly #written: Uint32Array | undefined;

  /** `written`: memory to tell two different values for one cell; without it the last one wins. */
  constructor(weight: Uint16Array, rows: number, columns: number, written?: Scratch) {
    this.weight = weight;
    this.rows = rows;
    this.columns = columns;
    if (!written) return;
    const words = Math.ceil(weight.length / 32);
    this.#written = new Uint32Array(written.take(words * 4).buffer, 0, words).fill(0);
  }

  /**
   * Lays `count` packed rows over the weights; `words` are their bytes as u32. Returns the index of the first row whose
   * cell already has another value (different in fp16), or -1.
   */
  apply(words: Uint32Array, count: number, rowBytes: 8 | 12): number {
    let done = 0;
    while (done < count) {
      // Artifacts that spell a tensor out name its cells in order: long runs need no look at each cell.
      const run = rowBytes === 8 ? this.#applyRun(words, done, count) : 0;
      if (run > 0) done += run;
      else {
        const end = Math.min(count, done + MIN_RUN);
        const conflict = this.#applyEach(words, done, end, rowBytes);
        if (conflict >= 0) return conflict;
        done = end;
      }
    }
    return -1;
  }

  /** Cells of one matrix row in order, none of them written before: how many of them there were from `first` on, or 0. */
  #applyRun(words: Uint32Array, first: number, count: number): number {
    const { weight, rows, columns } = this;
    const start = words[first * 2]!;
    const row = start & 0xffff;
    const column = start >>> 16;
    if (row >= rows || column >= columns) return 0;
    const most = Math.min(count - first, columns - column);
    if (most < MIN_RUN || words[(first + MIN_RUN - 1) * 2] !== (start + ((MIN_RUN - 1) << 16)) >>> 0) return 0;
    let length = 1;
    for (
      let at = first * 2 + 2, next = start + 0x10000;
      length < most && words[at] === next;
      at += 2, next += 0x10000
    ) {
      length++;
    }
    const cell = row * columns + column;
    if (length < MIN_RUN || !this.#mark(cell, cell + length)) return 0;
    let seen = 0;
    for (let i = cell, at = first * 2 + 1; i < cell + length; i++, at += 2) {
      const bits = f16FromF32Bits(words[at]!);
      seen |= (bits & 0x7c00) + 0x400; // bit 15: the exponent is all ones
      weight[i] = bits;
    }
    if ((seen & 0x8000) !== 0) this.sawNonFinite = true;
    return length;
  }

  /** Marks `MIN_RUN` cells or more, which are in two words at least, as written; false, and nothing is marked, if some of them are already. */
  #mark(start: number, end: number): boolean {
    const written = this.#written;
    if (!written) return true;
    const [firstWord, lastWord] = [start >>> 5, (end - 1) >>> 5];
    const headMask = -1 << (start & 31);
    const tailMask = -1 >>> (31 - ((end - 1) & 31));
    if ((written[firstWord]! & headMask) !== 0 || (written[lastWord]! & tailMask) !== 0) return false;
    for (let word = firstWord + 1; word < lastWord; word++) if (written[word] !== 0) return false;
    written[firstWord] = written[firstWord]! | headMask;
    written.fill(0xffffffff, firstWord + 1, lastWord);
    written[lastWord] = written[lastWord]! | tailMask;
    return true;
  }

  #applyEach(words: Uint32Array, first: number, end: number, rowBytes: 8 | 12): number {
    const { weight, rows, columns } = this;
    const written = this.#written;
    const wide = rowBytes === 12;
    const stride = rowBytes / 4;
    for (let i = first, at = first * stride; i < end; i++, at += stride) {
      const place = words[at]!;
      const row = wide ? place : place & 0xffff;
      const column = wide ? words[at + 1]! : place >>> 16;
      if (row >= rows || column >= columns) {
        this.skippedRows++;
        continue;
      }
      const cell = row * columns + column;
      const bits = f16FromF32Bits(words[at + stride - 1]!);
      if ((bits & 0x7c00) === 0x7c00) this.sawNonFinite = true;
      if (written) {
        const mask = 1 << (cell & 31);
        const word = written[cell >>> 5]!;
        if ((word & mask) !== 0 && weight[cell] !== bits) return i;
        written[cell >>> 5] = word | mask;
      }
      weight[cell] = bits;
    }
    return -1;
  }
}
