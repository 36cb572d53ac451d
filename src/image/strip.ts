/** @file Pictures beside one another, as one. */
import type { RgbImage } from "./png.ts";

/** At least one; from the top on, what is below a lower one being black. */
export function strip(pictures: readonly RgbImage[]): RgbImage {
  const [only, ...others] = pictures;
  if (only && others.length === 0) return only;
  const width = pictures.reduce((sum, picture) => sum + picture.width, 0);
  const height = Math.max(...pictures.map((picture) => picture.height));
  const rgb = new Uint8Array(3 * width * height); // [height, width, 3]
  let left = 0;
  for (const picture of pictures) {
    const row = 3 * picture.width;
    for (let y = 0; y < picture.height; y++) {
      rgb.set(picture.rgb.subarray(y * row, (y + 1) * row), 3 * (y * width + left));
    }
    left += picture.width;
  }
  return { width, height, rgb };
}
