/**
 * @file Tiles chosen by measurement. No tile changes a bit of a result, so a table may come from any machine and any moment; a
 * shape that isn't in it gets the default choice.
 */
import { chooseTile, type ProductShape, TILE_NAMES, type TileName, tileFits } from "../kernels/gemm-tiles.ts";
import type { TileChoice } from "../lower/products.ts";

/** Shape key -> tile. */
export type TileTable = Readonly<Record<string, TileName>>;

export function shapeKey({ rows, columns, depth, geglu }: ProductShape): string {
  return `${rows}x${columns}x${depth}${geglu ? "g" : ""}`;
}

export function tableChoice(table: TileTable): TileChoice {
  return (shape) => {
    const name = Object.hasOwn(table, shapeKey(shape)) ? table[shapeKey(shape)] : undefined;
    return name !== undefined && tileFits(name, shape) ? name : chooseTile(shape);
  };
}

/** The fastest tile of each shape; the default choice wins unless another takes less than `MARGIN` of its time. */
const MARGIN = 0.97;

export async function tuneTiles(
  shapes: readonly ProductShape[],
  measureMs: (shape: ProductShape, tile: TileName) => Promise<number>,
): Promise<TileTable> {
  const table: Record<string, TileName> = {};
  for (const shape of shapes) {
    const first = chooseTile(shape);
    let best = { name: first, ms: MARGIN * (await measureMs(shape, first)) };
    for (const name of TILE_NAMES) {
      if (name === first || !tileFits(name, shape)) continue;
      const ms = await measureMs(shape, name);
      if (ms < best.ms) best = { name, ms };
    }
    table[shapeKey(shape)] = best.name;
  }
  return table;
}
