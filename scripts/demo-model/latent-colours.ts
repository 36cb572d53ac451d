/**
 * @file The linear map from the demo model's latents to colours that its previews use, by least squares over pictures that it makes.
 * Prints `solvay_latent_rgb_factors` and `solvay_latent_rgb_bias` of models/demo/vae/config.json.
 *
 *     npx node scripts/demo-model/latent-colours.ts
 */
import { decodePng } from "../../src/image/png.ts";
import { openEngine } from "../../src/node.ts";

const PROMPTS = [
  "a lake at dawn",
  "a red desert at noon",
  "green hills under clouds",
  "a beach at night",
  "snowy mountains",
  "a forest in autumn",
];
const SEEDS = [1, 2];
const CHANNELS = 4;
const CELL = 8;

/** Rows of the normal equations: channels and a constant, against red, green and blue. */
const SIZE = CHANNELS + 1;
const left = Array.from({ length: SIZE }, () => new Array<number>(SIZE).fill(0));
const right = Array.from({ length: SIZE }, () => new Array<number>(3).fill(0));

await using engine = await openEngine({ backend: "cpu" });
for (const prompt of PROMPTS) {
  for (const seed of SEEDS) {
    let latent: Float32Array | undefined;
    for await (const event of engine.generate({ prompt, seed, steps: 12 }, { states: true })) {
      if (event.type === "step") latent = event.state!.x;
      if (event.type !== "image") continue;
      const { width, height, pixels } = await decodePng(new Uint8Array(event.bytes));
      const [columns, rows] = [width / CELL, height / CELL];
      for (let cell = 0; cell < columns * rows; cell++) {
        const [x0, y0] = [(cell % columns) * CELL, Math.floor(cell / columns) * CELL];
        const inputs = Array.from({ length: SIZE }, (_, c) => (c < CHANNELS ? latent![c * columns * rows + cell]! : 1));
        const mean = [0, 1, 2].map((colour) => {
          let sum = 0;
          for (let y = y0; y < y0 + CELL; y++)
            for (let x = x0; x < x0 + CELL; x++) sum += pixels[3 * (y * width + x) + colour]!;
          return sum / CELL ** 2;
        });
        for (let a = 0; a < SIZE; a++) {
          for (let b = 0; b < SIZE; b++) left[a]![b]! += inputs[a]! * inputs[b]!;
          for (let colour = 0; colour < 3; colour++) right[a]![colour]! += inputs[a]! * mean[colour]!;
        }
      }
    }
  }
}

// Gauss and Jordan; the matrix is positive definite.
for (let a = 0; a < SIZE; a++) {
  for (let b = 0; b < SIZE; b++) {
    if (a === b) continue;
    const share = left[b]![a]! / left[a]![a]!;
    for (let c = 0; c < SIZE; c++) left[b]![c]! -= share * left[a]![c]!;
    for (let colour = 0; colour < 3; colour++) right[b]![colour]! -= share * right[a]![colour]!;
  }
}
const solved = (a: number, colour: number) => Number((right[a]![colour]! / left[a]![a]!).toFixed(2));
const factors = [0, 1, 2].flatMap((colour) =>
  Array.from({ length: CHANNELS }, (_, channel) => solved(channel, colour)),
);
console.log(
  JSON.stringify({
    solvay_latent_rgb_factors: factors,
    solvay_latent_rgb_bias: [0, 1, 2].map((c) => solved(CHANNELS, c)),
  }),
);
