/** @file Where a picture lies in the editor and how large: zoomed about a point, moved, fitted. Pure, but for what it is told of sizes. */
import type { Point } from "./painting.ts";

/** The picture's corner from the box's, in pixels of the screen, and how many of them a pixel of the picture takes. */
export interface Placement extends Point {
  readonly scale: number;
}

const MAX_SCALE = 32;
const MIN_SCALE = 0.05;

interface Sized {
  readonly width: number;
  readonly height: number;
}

/** All of it in sight, in the middle, with `margin` pixels around it. */
export function fitted(box: Sized, picture: Sized, margin: number): Placement {
  const free = { width: Math.max(1, box.width - 2 * margin), height: Math.max(1, box.height - 2 * margin) };
  const scale = Math.min(free.width / picture.width, free.height / picture.height, MAX_SCALE);
  return { scale, x: (box.width - picture.width * scale) / 2, y: (box.height - picture.height * scale) / 2 };
}

/** `times` as large, what lies at the point `about` (of the box) staying there. */
export function zoomed({ x, y, scale }: Placement, times: number, about: Point): Placement {
  const next = Math.min(MAX_SCALE, Math.max(MIN_SCALE, scale * times));
  const ratio = next / scale;
  return { scale: next, x: about.x - (about.x - x) * ratio, y: about.y - (about.y - y) * ratio };
}

export function moved({ x, y, scale }: Placement, by: Point): Placement {
  return { scale, x: x + by.x, y: y + by.y };
}
