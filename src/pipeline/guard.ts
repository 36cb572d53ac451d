/** @file A NaN never becomes a picture, and a picture of nothing is told. */
import { DeviceError } from "../errors.ts";

/** Throws DeviceError `E_NAN` naming the place. */
export function requireFiniteValues(values: Float32Array, what: string): void {
  for (let i = 0; i < values.length; i++) {
    if (Number.isFinite(values[i]!)) continue;
    throw new DeviceError({
      code: "E_NAN",
      problem: `${what} is not a number at element ${i} of ${values.length}`,
      next: "check the weights with: solvay verify MODEL",
    });
  }
}

/** `#rrggbb` of a picture (RGB bytes) that has no other colour: real ones have. */
export function onlyColour(rgb: Uint8Array): string | undefined {
  for (let at = 3; at < rgb.length; at++) if (rgb[at] !== rgb[at - 3]) return undefined;
  return `#${[...rgb.subarray(0, 3)].map((value) => value.toString(16).padStart(2, "0")).join("")}`;
}
