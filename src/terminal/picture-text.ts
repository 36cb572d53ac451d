/**
 * @file A picture as text for a terminal, over so many columns and rows of cells: half blocks, Kitty's graphics protocol, iTerm2's inline
 * images, or Sixel. The cursor begins at the picture's top left and ends at the start of the row below it.
 */
import type { RgbImage } from "../image/png.ts";
import { base64 } from "../node/base64.ts";
import type { PictureKind } from "./picture-kind.ts";
import { sixelText } from "./sixel.ts";

export interface CellArea {
  readonly columns: number;
  readonly rows: number;
}

/** A cell is about twice as high as it is wide. */
const CELL_RATIO = 2;
/** Pixels of a cell where a picture is drawn by pixels and the terminal's font is unknown. */
const SIXEL_CELL_PIXELS = { width: 8, height: 16 };
/** Of base64 in one of Kitty's commands. */
const KITTY_CHUNK_CHARS = 4096;

/** Any number that other programs hardly take. */
const KITTY_ID = 7301;

/** Takes a picture away that a terminal keeps apart from its text. */
export function pictureEnd(kind: PictureKind): string {
  return kind === "kitty" ? `\x1b_Ga=d,d=I,i=${KITTY_ID},q=2\x1b\\` : "";
}

/** The largest area within `most` in the picture's proportions. */
export function areaOf({ width, height }: Pick<RgbImage, "width" | "height">, most: CellArea): CellArea {
  const columns = Math.max(1, Math.min(most.columns, Math.round((most.rows * CELL_RATIO * width) / height)));
  const rows = Math.round((columns * height) / width / CELL_RATIO);
  return { columns, rows: Math.max(1, Math.min(most.rows, rows)) };
}

export function pictureText(
  picture: RgbImage,
  area: CellArea,
  { kind, trueColour }: { readonly kind: PictureKind; readonly trueColour: boolean },
): string {
  switch (kind) {
    case "blocks":
      return blocksText(resized(picture, area.columns, 2 * area.rows), trueColour);
    case "sixel": {
      const { width, height } = SIXEL_CELL_PIXELS;
      // Rows of six: what stands over would scroll the terminal.
      const pixels = resized(picture, area.columns * width, area.rows * height);
      return `${sixelText(pixels)}\r\x1b[${area.rows}B`;
    }
    case "kitty":
      return kittyText(picture, area);
    case "iterm": {
      const file = bitmapFile(picture);
      const size = `width=${area.columns};height=${area.rows};preserveAspectRatio=0`;
      // Where the cursor is after a picture differs by terminal: it is kept and put back.
      return `\x1b7\x1b]1337;File=inline=1;size=${file.length};${size}:${base64(file)}\x07\x1b8\r\x1b[${area.rows}B`;
    }
  }
}

/** One picture of a fixed number, so that the next replaces it; the cursor stays where it is. */
function kittyText({ width, height, rgb }: RgbImage, { columns, rows }: CellArea): string {
  const data = base64(rgb);
  const chunks: string[] = [];
  for (let at = 0; at < data.length; at += KITTY_CHUNK_CHARS) chunks.push(data.slice(at, at + KITTY_CHUNK_CHARS));
  const commands = chunks.map((chunk, i) => {
    const more = i + 1 < chunks.length ? 1 : 0;
    const first = `a=T,f=24,s=${width},v=${height},i=${KITTY_ID},p=1,q=2,C=1,c=${columns},r=${rows},`;
    return `\x1b_G${i === 0 ? first : ""}m=${more};${chunk}\x1b\\`;
  });
  return `${commands.join("")}\r\x1b[${rows}B`;
}

/** Two pixels a cell: the upper as the letter's colour, the lower as the ground's. */
function blocksText({ width, height, rgb }: RgbImage, trueColour: boolean): string {
  const colour = (x: number, y: number) => {
    const at = 3 * (y * width + x);
    const [r, g, b] = [rgb[at]!, rgb[at + 1]!, rgb[at + 2]!];
    return trueColour ? `2;${r};${g};${b}` : `5;${paletteIndex(r, g, b)}`;
  };
  let text = "";
  for (let y = 0; y < height; y += 2) {
    let before = "";
    for (let x = 0; x < width; x++) {
      const style = `\x1b[38;${colour(x, y)};48;${colour(x, Math.min(y + 1, height - 1))}m`;
      text += `${style === before ? "" : style}\u2580`;
      before = style;
    }
    text += "\x1b[0m\r\n";
  }
  return text;
}

/** The nearest of xterm's 6 x 6 x 6 colours, whose levels are 0, 95, 135, 175, 215, 255, or of its 24 greys. */
function paletteIndex(r: number, g: number, b: number): number {
  if (Math.max(r, g, b) - Math.min(r, g, b) < 10) {
    const grey = Math.round(((r + g + b) / 3 - 8) / 10);
    return grey < 0 ? 16 : grey > 23 ? 231 : 232 + grey;
  }
  const level = (value: number) => (value < 48 ? 0 : value < 115 ? 1 : Math.round((value - 55) / 40));
  return 16 + 36 * level(r) + 6 * level(g) + level(b);
}

/** Each new pixel is the mean of those under it, or the nearest where it is larger. */
function resized({ width, height, rgb }: RgbImage, newWidth: number, newHeight: number): RgbImage {
  const made = new Uint8Array(3 * newWidth * newHeight);
  const edge = (at: number, from: number, to: number) => Math.floor((at * from) / to);
  for (let y = 0; y < newHeight; y++) {
    const [top, bottom] = [
      edge(y, height, newHeight),
      Math.max(edge(y, height, newHeight) + 1, edge(y + 1, height, newHeight)),
    ];
    for (let x = 0; x < newWidth; x++) {
      const left = edge(x, width, newWidth);
      const right = Math.max(left + 1, edge(x + 1, width, newWidth));
      for (let colour = 0; colour < 3; colour++) {
        let sum = 0;
        for (let row = top; row < bottom; row++) {
          for (let column = left; column < right; column++) sum += rgb[3 * (row * width + column) + colour]!;
        }
        made[3 * (y * newWidth + x) + colour] = sum / ((bottom - top) * (right - left));
      }
    }
  }
  return { width: newWidth, height: newHeight, rgb: made };
}

/** A Windows bitmap of 24 bits: every terminal that takes files takes it, and it needs no packing. */
function bitmapFile({ width, height, rgb }: RgbImage): Uint8Array {
  const HEADERS_BYTES = 54;
  const rowBytes = Math.ceil((3 * width) / 4) * 4;
  const file = new Uint8Array(HEADERS_BYTES + rowBytes * height);
  const view = new DataView(file.buffer);
  file.set([0x42, 0x4d]);
  view.setUint32(2, file.length, true);
  view.setUint32(10, HEADERS_BYTES, true);
  view.setUint32(14, 40, true); // of the second header
  view.setInt32(18, width, true);
  view.setInt32(22, -height, true); // rows from the top
  view.setUint16(26, 1, true); // plane
  view.setUint16(28, 24, true); // bits
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const from = 3 * (y * width + x);
      const to = HEADERS_BYTES + y * rowBytes + 3 * x;
      for (let colour = 0; colour < 3; colour++) file[to + colour] = rgb[from + 2 - colour]!;
    }
  }
  return file;
}
