/** @file A picture of nothing is told. */

/** `#rrggbb` of a picture (RGB bytes) that has no other colour: real ones have. */
export function onlyColour(rgb: Uint8Array): string | undefined {
  for (let at = 3; at < rgb.length; at++) if (rgb[at] !== rgb[at - 3]) return undefined;
  return `#${[...rgb.subarray(0, 3)].map((value) => value.toString(16).padStart(2, "0")).join("")}`;
}
