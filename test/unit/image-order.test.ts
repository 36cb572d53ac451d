/** @file Images between the host's order and the card's, in parts. */
import { test } from "node:test";
import fc from "fast-check";
import { gatherToDevice, scatterFromDevice } from "../../src/backend/webgpu/lower/tensor-layout.ts";

test("images change their order in parts that begin and end anywhere, there and back", () => {
  fc.assert(
    fc.property(
      fc.tuple(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 2, max: 9 }), fc.integer({ min: 1, max: 12 })),
      fc.integer({ min: 2, max: 40 }),
      fc.integer({ min: 1, max: 400 }),
      ([batch, channels, height], width, partElements) => {
        const shape = [batch, channels, height, width];
        const host = Float32Array.from({ length: batch * channels * height * width }, (_, at) => at);
        const inMemory = new Float32Array(host.length);
        const back = new Float32Array(host.length);
        for (let first = 0; first < host.length; first += partElements) {
          const part = inMemory.subarray(first, first + partElements);
          gatherToDevice(shape, first, part, host);
          scatterFromDevice(shape, first, part, back);
        }
        let at = 0;
        for (let image = 0; image < batch; image++) {
          for (let pixel = 0; pixel < height * width; pixel++) {
            for (let channel = 0; channel < channels; channel++) {
              if (inMemory[at++] !== (image * channels + channel) * height * width + pixel) return false;
            }
          }
        }
        return host.every((value, place) => back[place] === value);
      },
    ),
    { numRuns: 200 },
  );
});
