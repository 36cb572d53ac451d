/** @file Short texts drawn into pictures. What the font does not have is drawn as a box. */
import { LETTER_HEIGHT, LETTER_SHADES, LETTER_WIDTHS } from "./legend-font.ts";
import type { RgbImage } from "./png.ts";

export { LETTER_HEIGHT };

/** Code of the font's first letter. */
const FIRST_CODE = 0x20;
const BOX_WIDTH = 9;

interface Letter {
  readonly width: number;
  /** Place of its first pixel among all; undefined: a box. */
  readonly start: number | undefined;
}

const LETTERS = new Map<string, Letter>();
{
  let start = 0;
  for (const [i, width] of LETTER_WIDTHS.entries()) {
    LETTERS.set(String.fromCharCode(FIRST_CODE + i), { width, start });
    start += width * LETTER_HEIGHT;
  }
}
const SHADES = Uint8Array.from(atob(LETTER_SHADES), (character) => character.charCodeAt(0));

function lettersOf(text: string): Letter[] {
  return Array.from(text, (character) => LETTERS.get(character) ?? { width: BOX_WIDTH, start: undefined });
}

/** Whether a text has characters that would be boxes. */
export function hasBoxes(text: string): boolean {
  return lettersOf(text).some(({ start }) => start === undefined);
}

/** Pixels that a text takes on its line. */
export function letteringWidth(text: string): number {
  return lettersOf(text).reduce((sum, { width }) => sum + width, 0);
}

/** Draws in black, cut at the picture's edges. */
export function drawLettering({ width, height, rgb }: RgbImage, text: string, left: number, top: number): void {
  let x0 = left;
  for (const letter of lettersOf(text)) {
    for (let y = 0; y < LETTER_HEIGHT; y++) {
      for (let x = 0; x < letter.width; x++) {
        const [column, row] = [x0 + x, top + y];
        if (column < 0 || row < 0 || column >= width || row >= height) continue;
        const keep = 1 - shadeOf(letter, x, y) / 3;
        const at = 3 * (row * width + column);
        for (let colour = 0; colour < 3; colour++) rgb[at + colour] = rgb[at + colour]! * keep;
      }
    }
    x0 += letter.width;
  }
}

function shadeOf({ width, start }: Letter, x: number, y: number): number {
  if (start === undefined) {
    const [top, bottom, right] = [3, LETTER_HEIGHT - 5, width - 2];
    const within = x >= 1 && x <= right && y >= top && y <= bottom;
    return within && (x === 1 || x === right || y === top || y === bottom) ? 3 : 0;
  }
  const at = start + y * width + x;
  return (SHADES[at >> 2]! >> (2 * (at & 3))) & 3;
}
