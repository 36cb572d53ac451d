/** @file The right side of a matrix product as plain loops read it fastest: four columns at a time, so that sums stay in registers. */

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
    multiplyPanels(a, this.#panels, into, rows, this.#rank, this.#columns);
  }
}

function multiplyPanels(
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
