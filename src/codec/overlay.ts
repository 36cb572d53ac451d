/** @file The LZR2 overlay: (row, column, fp32 value), which overwrite single weights. Packed in 8 bytes, or in 12. */
import { f16FromF32Bits } from "./half.ts";

/** At `max(rows, blocks) dp` from here on, overlay rows name row and column in u32 instead of u16. */
const WIDE_FROM = 65536;

/** Bytes of one overlay row. Note that the number of columns has no say in it, only the number of blocks. */
export function overlayRowBytes(rows: number, blocks: number, dp: number): 8 | 12 {
  return Math.max(rows, blocks) * dp < WIDE_FROM ? 8 : 12;
}

/** One tensor while its overlay is laid over it. */
export class OverlayTarget {
  /** fp16 bits, row-major [rows, columns]. */
  readonly weight: Uint16Array<ArrayBuffer>;
  readonly rows: number;
  readonly columns: number;
  /** Overlay rows outside of the matrix so far. */
  skippedRows = 0;
  /** One bit a cell, if two values for one cell are to be found. */
  readonly #written: Uint32Array | undefined;

  /** `refuseConflicts`: tell two different values for one cell; else the last one wins. */
  constructor(weight: Uint16Array<ArrayBuffer>, rows: number, columns: number, refuseConflicts: boolean) {
    this.weight = weight;
    this.rows = rows;
    this.columns = columns;
    this.#written = refuseConflicts ? new Uint32Array(Math.ceil(weight.length / 32)) : undefined;
  }

  /**
   * Lays `count` packed rows over the weights; `words` are their bytes as u32. Returns the index of the first row whose
   * cell already has another value (different in fp16), or -1.
   */
  apply(words: Uint32Array, count: number, rowBytes: 8 | 12): number {
    const { weight, rows, columns } = this;
    const written = this.#written;
    const wide = rowBytes === 12;
    const stride = rowBytes / 4;
    for (let i = 0, at = 0; i < count; i++, at += stride) {
      const place = words[at]!;
      const row = wide ? place : place & 0xffff;
      const column = wide ? words[at + 1]! : place >>> 16;
      if (row >= rows || column >= columns) {
        this.skippedRows++;
        continue;
      }
      const cell = row * columns + column;
      const bits = f16FromF32Bits(words[at + stride - 1]!);
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
