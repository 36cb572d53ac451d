/**
 * @file The tiles of the product kernel and which one a shape gets. Every tile sums K in the same order, one product after
 * the other, so the choice moves no bit of any result; it may hang on measurements.
 */

export interface Tile {
  /** Rows and columns of the output per workgroup. */
  readonly rows: number;
  readonly columns: number;
  /** Rows and columns per thread: 4, or 8 as two groups of 4, half a tile apart. */
  readonly threadRows: 4 | 8;
  readonly threadColumns: 4 | 8;
}

/** K per round of shared memory. */
export const DEPTH = 16;

/** Rounds whose products are summed in f16 before they are added in fp32, where f16 is used: sums of 32. */
export const HALF_ROUNDS = 2;

export const TILES = {
  /** 4 FMA per word of shared memory, 32 FLOP per byte of fp32 operands: large shapes. */
  "128x128": { rows: 128, columns: 128, threadRows: 8, threadColumns: 8 },
  "128x64": { rows: 128, columns: 64, threadRows: 8, threadColumns: 8 },
  "64x128": { rows: 64, columns: 128, threadRows: 8, threadColumns: 8 },
  "64x64": { rows: 64, columns: 64, threadRows: 8, threadColumns: 8 },
  /** Few rows (text tokens, time embeddings): more workgroups. */
  "32x64": { rows: 32, columns: 64, threadRows: 4, threadColumns: 8 },
  "32x32": { rows: 32, columns: 32, threadRows: 4, threadColumns: 4 },
} satisfies Record<string, Tile>;

export type TileName = keyof typeof TILES;

export const TILE_NAMES = Object.keys(TILES) as readonly TileName[];

export function tileThreads({ rows, columns, threadRows, threadColumns }: Tile): number {
  return (rows / threadRows) * (columns / threadColumns);
}

/** Bytes of workgroup memory. */
export function tileSharedBytes({ rows, columns }: Tile): number {
  return (rows + columns) * DEPTH * 4;
}

/** A product [rows, depth] x [columns, depth]T as far as the choice of a tile goes. */
export interface ProductShape {
  readonly rows: number;
  /** Columns of the second operand: twice the output's with `geglu`. */
  readonly columns: number;
  readonly depth: number;
  /** Two halves of the columns are multiplied: the tile must have both in one thread. */
  readonly geglu: boolean;
}

export function tileFits(name: TileName, { geglu }: ProductShape): boolean {
  return !geglu || TILES[name].threadColumns === 8;
}

/**
 * The default choice: the largest tile that still gives `WORKGROUPS_WANTED` workgroups (two for each of the 30 multiprocessors
 * of the largest GPU in mind, six for each of a GTX 1060's ten), else the smaller ones, and never one that is mostly padding.
 */
export const WORKGROUPS_WANTED = 60;

export function chooseTile(shape: ProductShape): TileName {
  const fitting = TILE_NAMES.filter((name) => tileFits(name, shape));
  const padding = (name: TileName) => {
    const { rows, columns } = TILES[name];
    const covered = Math.ceil(shape.rows / rows) * rows * Math.ceil(shape.columns / columns) * columns;
    return covered / (shape.rows * shape.columns);
  };
  const workgroups = (name: TileName) =>
    Math.ceil(shape.rows / TILES[name].rows) * Math.ceil(shape.columns / TILES[name].columns);
  const least = Math.min(...fitting.map(padding));
  const tight = fitting.filter((name) => padding(name) <= 1.3 * least);
  return tight.find((name) => workgroups(name) >= WORKGROUPS_WANTED) ?? tight.at(-1)!;
}
