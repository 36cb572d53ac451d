/** @file From the VAE's output to bytes, equal to diffusers' image processor. */
import { DeviceError } from "../errors.ts";
import { roundHalfEven } from "../tensor/rounding.ts";

const f32 = Math.fround;

/**
 * Maps -1..1 to 0..255, rounding half to even as numpy does.
 * @param chw [3, height, width] decoded picture, fp32
 * @returns [height, width, 3]
 * @throws DeviceError `E_NAN` where a value is not a number
 */
export function imageFromDecoded(chw: Float32Array, width: number, height: number): Uint8Array<ArrayBuffer> {
  const plane = width * height;
  if (chw.length !== 3 * plane) throw new RangeError(`${chw.length} values are not 3 x ${height} x ${width}`);
  const rgb = new Uint8Array(3 * plane);
  for (let channel = 0; channel < 3; channel++) {
    for (let at = 0; at < plane; at++) {
      const value = chw[channel * plane + at]!;
      if (Number.isNaN(value)) throw notANumber();
      const unit = Math.min(Math.max(f32(value * 0.5 + 0.5), 0), 1);
      rgb[at * 3 + channel] = roundHalfEven(f32(unit * 255));
    }
  }
  return rgb;
}

function notANumber(): DeviceError {
  return new DeviceError({
    code: "E_NAN",
    problem: "the decoded picture holds values that are not numbers",
    next: "run solvay verify on the model, or choose another backend",
  });
}
