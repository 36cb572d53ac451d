/** @file Pictures side by side with legends: columns, rows, and blocks of them below one another. */
import { drawLettering, LETTER_HEIGHT, letteringWidth } from "./lettering.ts";
import type { RgbImage } from "./png.ts";

export interface SheetLegends {
  readonly columns: readonly string[];
  readonly rows: readonly string[];
  readonly blocks: readonly string[];
}

/** Where everything lies, in pixels. */
export interface SheetLayout extends SheetLegends {
  readonly width: number;
  readonly height: number;
  readonly cell: { readonly width: number; readonly height: number };
  /** Of the row legends. */
  readonly leftPixels: number;
  /** Of one block with its legends. */
  readonly blockHeight: number;
  /** Of the legends above a block's pictures. */
  readonly topPixels: number;
  /** Lines that the columns' legends take. */
  readonly columnLines: number;
}

const GAP = 4;
const LINE = LETTER_HEIGHT + 4;
/** Longer row legends are cut. */
const MAX_LEFT = 400;
/** Column legends that are wider than their cell go on below; what takes more lines is cut. */
const MAX_LINES = 6;

/** The layout for cells of one size. Pure: known before the pictures are. */
export function sheetLayout(legends: SheetLegends, cell: SheetLayout["cell"]): SheetLayout {
  const { columns, rows, blocks } = legends;
  const named = (texts: readonly string[]) => texts.some((text) => text !== "");
  const leftPixels = named(rows) ? Math.min(MAX_LEFT, Math.max(...rows.map(letteringWidth)) + 2 * GAP) : 0;
  const lines = Math.max(...columns.map((text) => wrapped(text, cell.width).length));
  const columnLines = named(columns) ? lines : 0;
  const topPixels = (named(blocks) ? LINE : 0) + columnLines * LINE;
  const blockHeight = topPixels + rows.length * (cell.height + GAP);
  const width = leftPixels + columns.length * (cell.width + GAP) - GAP;
  return {
    ...legends,
    width,
    height: blocks.length * blockHeight - GAP,
    cell,
    leftPixels,
    blockHeight,
    topPixels,
    columnLines,
  };
}

/** `pictures`: by block, row and column; those that are undefined stay white. None is larger than a cell. */
export function contactSheet(layout: SheetLayout, pictures: readonly (RgbImage | undefined)[]): RgbImage {
  const { width, height, cell, leftPixels, blockHeight, topPixels, columnLines, columns, rows, blocks } = layout;
  const sheet = { width, height, rgb: new Uint8Array(3 * width * height).fill(255) };
  const columnLeft = (column: number) => leftPixels + column * (cell.width + GAP);
  for (const [block, title] of blocks.entries()) {
    const top = block * blockHeight;
    drawLettering(sheet, title, leftPixels + GAP, top + 2);
    for (const [column, text] of columns.entries()) {
      const lines = wrapped(text, cell.width);
      for (const [i, line] of lines.entries()) {
        const left = columnLeft(column) + Math.floor((cell.width - letteringWidth(line)) / 2);
        drawLettering(sheet, line, left, top + topPixels + (i - Math.max(columnLines, 1)) * LINE + 2);
      }
    }
    for (const [row, text] of rows.entries()) {
      const rowTop = top + topPixels + row * (cell.height + GAP);
      const middle = rowTop + Math.floor((cell.height - LETTER_HEIGHT) / 2);
      if (leftPixels > 0) drawLettering(sheet, fitted(text, leftPixels - 2 * GAP), GAP, middle);
      for (const column of columns.keys()) {
        const picture = pictures[(block * rows.length + row) * columns.length + column];
        if (picture) place(sheet, picture, columnLeft(column), rowTop);
      }
    }
  }
  return sheet;
}

/** In lines that fit, broken behind spaces and signs where there are some. */
function wrapped(text: string, pixels: number): string[] {
  const lines: string[] = [];
  let rest = text;
  while (letteringWidth(rest) > pixels && lines.length < MAX_LINES - 1) {
    let most = 1;
    while (letteringWidth(rest.slice(0, most + 1)) <= pixels) most++;
    const sign = rest.slice(0, most).search(/[\s,;:/_-][^\s,;:/_-]*$/) + 1;
    const end = sign > 0 ? sign : most;
    lines.push(rest.slice(0, end).trim());
    rest = rest.slice(end).trimStart();
  }
  return [...lines, fitted(rest, pixels)];
}

/** The beginning of a text that is too wide. */
function fitted(text: string, pixels: number): string {
  if (letteringWidth(text) <= pixels) return text;
  let cut = text;
  while (cut !== "" && letteringWidth(`${cut}...`) > pixels) cut = cut.slice(0, -1);
  return cut === "" ? "" : `${cut}...`;
}

function place(sheet: RgbImage, { width, height, rgb }: RgbImage, left: number, top: number): void {
  for (let y = 0; y < height; y++) {
    sheet.rgb.set(rgb.subarray(3 * y * width, 3 * (y + 1) * width), 3 * ((top + y) * sheet.width + left));
  }
}
