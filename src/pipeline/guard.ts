/** @file A NaN never becomes a picture. */
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
