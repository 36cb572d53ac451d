/** @file A picture as Sixel graphics (DEC STD 070), in 252 fixed colours, ordered dithering between them. */
import type { RgbImage } from "../image/png.ts";

/** Levels of red, green and blue: the eye sees green best. */
const LEVELS = [6, 7, 6] as const;
/** Bayer's matrix of 4 x 4, in sixteenths. */
const BAYER = [0, 8, 2, 10, 12, 4, 14, 6, 3, 11, 1, 9, 15, 7, 13, 5];
const BAND_ROWS = 6;

/** From the cursor on; leaves the cursor at the picture's first row, whatever the terminal's scrolling mode. */
export function sixelText({ width, height, rgb }: RgbImage): string {
  const palette = Array.from({ length: LEVELS[0] * LEVELS[1] * LEVELS[2] }, (_, index) => {
    const shares = levelsOf(index).map((level, colour) => Math.round((100 * level) / (LEVELS[colour]! - 1)));
    return `#${index};2;${shares.join(";")}`;
  });
  let text = "";
  for (let top = 0; top < height; top += BAND_ROWS) text += `${bandText(rgb, width, height, top)}-`;
  // Where the cursor is after a picture differs by terminal: it is kept and put back.
  return `\x1b7\x1bP0;1;0q"1;1;${width};${height}${palette.join("")}${text}\x1b\\\x1b8`;
}

function levelsOf(index: number): readonly [number, number, number] {
  return [Math.floor(index / (LEVELS[1] * LEVELS[2])), Math.floor(index / LEVELS[2]) % LEVELS[1], index % LEVELS[2]];
}

/** Six rows: each colour in them once, as one run-length coded line over the whole width. */
function bandText(rgb: Uint8Array, width: number, height: number, top: number): string {
  const masks = new Map<number, Uint8Array>();
  for (let row = 0; row < BAND_ROWS && top + row < height; row++) {
    for (let x = 0; x < width; x++) {
      const at = 3 * ((top + row) * width + x);
      const threshold = (BAYER[((top + row) % 4) * 4 + (x % 4)]! + 0.5) / 16;
      const level = (colour: 0 | 1 | 2) => Math.floor((rgb[at + colour]! / 255) * (LEVELS[colour] - 1) + threshold);
      const index = (level(0) * LEVELS[1] + level(1)) * LEVELS[2] + level(2);
      const mask = masks.get(index) ?? new Uint8Array(width);
      masks.set(index, mask);
      mask[x]! |= 1 << row;
    }
  }
  return [...masks].map(([index, mask]) => `#${index}${runLengths(mask)}`).join("$");
}

function runLengths(mask: Uint8Array): string {
  let text = "";
  for (let at = 0; at < mask.length; ) {
    let end = at + 1;
    while (end < mask.length && mask[end] === mask[at]) end++;
    const sixel = String.fromCharCode(63 + mask[at]!);
    text += end - at > 3 ? `!${end - at}${sixel}` : sixel.repeat(end - at);
    at = end;
  }
  return text;
}
