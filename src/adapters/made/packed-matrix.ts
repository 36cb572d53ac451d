/** @file The right side of a matrix product as plain loops read it fastest: four columns at a time, so that sums stay in registers. */

import { BLOCK_COLUMNS, type ProductKernel, productKernel, WORKSPACE_BYTES } from "./product-kernel.ts";

/** Columns that are side by side in memory. */
const PANEL = 4;

/** Memory that a matrix [rank, columns] takes, packed. */
export function packedBytes(rank: number, columns: number): number {
  return 4 * rank * PANEL * Math.ceil(columns / PANEL);
}

/** A matrix [rank, columns], at first of zeros. */
export class PackedMatrix {
  readonly #rank: number;
  readonly #columns: number;
  /** [columns / 4, rank, 4]; columns that are missing are zeros. */
  readonly #panels: Float32Array;

  constructor(rank: number, columns: number) {
    this.#rank = rank;
    this.#columns = columns;
    this.#panels = new Float32Array(packedBytes(rank, columns) / 4);
  }

  /** `values`: [columns]. */
  setRow(row: number, values: Float32Array): void {
    const step = PANEL * this.#rank;
    for (let column = 0; column < this.#columns; column++) {
      this.#panels[Math.floor(column / PANEL) * step + row * PANEL + (column % PANEL)] = values[column]!;
    }
  }

  /** into [rows, columns] = a [rows, rank] times the matrix, summed in fp64. */
  multiply(a: Float32Array, rows: number, into: Float32Array): void {
    const [rank, columns] = [this.#rank, this.#columns];
    const kernel = rows > 1 ? productKernel() : undefined;
    const room = kernel && roomFor(rank, columns);
    if (kernel && room) multiplyByKernel(kernel, room, { a, panels: this.#panels, into, rows, rank, columns });
    else multiplyPanels(a, this.#panels, into, rows, rank, columns);
  }
}

interface Product {
  readonly a: Float32Array;
  readonly panels: Float32Array;
  readonly into: Float32Array;
  readonly rows: number;
  readonly rank: number;
  readonly columns: number;
}

/** How a product's parts lie in the kernel's memory: a block of b, so many rows of a and of the result. */
interface Room {
  readonly rows: number;
  readonly columns: number;
  readonly aByte: number;
  readonly outByte: number;
}

/** Undefined where not even two rows fit. */
function roomFor(rank: number, columns: number): Room | undefined {
  const wide = BLOCK_COLUMNS * Math.ceil(columns / BLOCK_COLUMNS);
  const blockBytes = 8 * BLOCK_COLUMNS * rank;
  const rows = 2 * Math.floor((WORKSPACE_BYTES - blockBytes) / (2 * (8 * rank + 4 * wide)));
  if (rank < 1 || rows < 2) return undefined;
  const aByte = blockBytes;
  return { rows, columns: wide, aByte, outByte: aByte + 8 * rank * rows };
}

function multiplyByKernel({ memory, multiply }: ProductKernel, room: Room, product: Product): void {
  const { panels, rank, columns, into } = product;
  const { aByte, outByte, columns: wide } = room;
  const block = new Float64Array(memory, 0, BLOCK_COLUMNS * rank);
  for (let from = 0; from < product.rows; from += room.rows) {
    const count = Math.min(room.rows, product.rows - from);
    // An odd last row is computed twice.
    const even = count + (count % 2);
    const a = new Float64Array(memory, aByte, even * rank);
    a.set(product.a.subarray(from * rank, (from + count) * rank));
    if (even > count) a.copyWithin(count * rank, (count - 1) * rank, count * rank);
    for (let column = 0; column < wide; column += BLOCK_COLUMNS) {
      for (let half = 0; half < BLOCK_COLUMNS; half += PANEL) {
        const at = (column + half) * rank;
        if (at >= panels.length)
          for (let r = 0; r < rank; r++) block.fill(0, r * BLOCK_COLUMNS + half, (r + 1) * BLOCK_COLUMNS);
        else widen(panels, at, block, half, rank);
      }
      multiply(aByte, 0, outByte + 4 * column, even, rank, 4 * wide);
    }
    const out = new Float32Array(memory, outByte, count * wide);
    if (wide === columns) into.set(out, from * columns);
    else {
      for (let row = 0; row < count; row++)
        into.set(out.subarray(row * wide, row * wide + columns), (from + row) * columns);
    }
  }
}

/** A panel [rank, 4] into its half of a block [rank, 8]. */
function widen(panels: Float32Array, at: number, block: Float64Array, half: number, rank: number): void {
  for (let from = at, to = half, end = at + PANEL * rank; from < end; from += PANEL, to += BLOCK_COLUMNS) {
    block[to] = panels[from]!;
    block[to + 1] = panels[from + 1]!;
    block[to + 2] = panels[from + 2]!;
    block[to + 3] = panels[from + 3]!;
  }
}

/** The definition: what the kernel computes, to the bit. */
export function multiplyPanels(
  a: Float32Array,
  panels: Float32Array,
  into: Float32Array,
  rows: number,
  rank: number,
  columns: number,
): void {
  for (let column = 0; column < columns; column += PANEL) {
    const wide = Math.min(PANEL, columns - column);
    for (let row = 0; row < rows; row += 2) {
      const x = row * rank;
      // An odd last row is computed twice.
      const y = row + 1 < rows ? x + rank : x;
      let p0 = 0;
      let p1 = 0;
      let p2 = 0;
      let p3 = 0;
      let q0 = 0;
      let q1 = 0;
      let q2 = 0;
      let q3 = 0;
      let z = column * rank;
      for (let r = 0; r < rank; r++) {
        const f = a[x + r]!;
        const g = a[y + r]!;
        const b0 = panels[z]!;
        const b1 = panels[z + 1]!;
        const b2 = panels[z + 2]!;
        const b3 = panels[z + 3]!;
        z += PANEL;
        p0 += f * b0;
        p1 += f * b1;
        p2 += f * b2;
        p3 += f * b3;
        q0 += g * b0;
        q1 += g * b1;
        q2 += g * b2;
        q3 += g * b3;
      }
      put(into, row * columns + column, wide, p0, p1, p2, p3);
      if (row + 1 < rows) put(into, (row + 1) * columns + column, wide, q0, q1, q2, q3);
    }
  }
}

/** The first `wide` of four values. */
function put(into: Float32Array, at: number, wide: number, v0: number, v1: number, v2: number, v3: number): void {
  into[at] = v0;
  if (wide > 1) into[at + 1] = v1;
  if (wide > 2) into[at + 2] = v2;
  if (wide > 3) into[at + 3] = v3;
}
