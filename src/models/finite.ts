/** @file A NaN never becomes a picture, and a picture of nothing is told. */
import { DeviceError } from "../errors.ts";

/** Throws DeviceError `E_NAN` naming the place. */
export function requireFiniteValues(values: Float32Array, what: string): void {
  const index = firstNotFinite(values);
  if (index !== undefined) throw notFinite(what, values, index);
}

/** Index of the first NaN or infinity. */
export function firstNotFinite(values: Float32Array): number | undefined {
  for (let i = 0; i < values.length; i++) if (!Number.isFinite(values[i]!)) return i;
  return undefined;
}

/** `segment`: the first that computed such a value, where it is known. */
export function notFinite(what: string, { length }: Float32Array, index: number, segment?: string): DeviceError {
  const where = segment === undefined ? "" : `, first in ${segment}`;
  return new DeviceError({
    code: "E_NAN",
    problem: `${what} is not a number at element ${index} of ${length}${where}`,
    next: "check the weights with: solvay verify MODEL",
  });
}

/** What only another arithmetic may help against. */
export function isNotFinite(error: unknown): error is DeviceError {
  return error instanceof DeviceError && error.code === "E_NAN";
}

/** `#rrggbb` of a picture (RGB bytes) that has no other colour: real ones have. */
export function onlyColour(rgb: Uint8Array): string | undefined {
  for (let at = 3; at < rgb.length; at++) if (rgb[at] !== rgb[at - 3]) return undefined;
  return `#${[...rgb.subarray(0, 3)].map((value) => value.toString(16).padStart(2, "0")).join("")}`;
}
