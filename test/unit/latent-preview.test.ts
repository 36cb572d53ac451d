/** @file Previews of latents: the linear map as PyTorch computes it, and the events that carry them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { PictureEvents } from "../../src/engine/picture-events.ts";
import { latentPreview } from "../../src/image/latent-preview.ts";
import { strip } from "../../src/image/strip.ts";
import { SDXL_LATENT_COLOURS } from "../../src/models/sdxl/base.ts";
import { openThreadlessEngine } from "../support/threadless-engine.ts";

/**
 * PyTorch 2.15.0, latents_to_rgb of diffusers' documentation (using-diffusers/callback), of a latent [1, 4, 3, 5] whose value i is
 * ((i * 37) % 101 - 50) / 50: torch.einsum("...lxy,lr -> ...rxy", latents, weights.t()) + biases, clamp(0, 255).byte().
 */
const TORCH = [
  116, 96, 65, 32, 80, 98, 255, 206, 170, 56, 69, 81, 23, 84, 104, 252, 210, 176, 47, 73, 87, 255, 199, 160, 243, 214,
  182, 38, 77, 93, 255, 203, 166, 63, 66, 77, 29, 81, 99, 255, 207, 172, 54, 70, 83,
];

test("SDXL's colours, as torch has them", () => {
  const latent = Float32Array.from({ length: 4 * 3 * 5 }, (_, i) => (((i * 37) % 101) - 50) / 50);
  const { rgb, width, height } = latentPreview(latent, SDXL_LATENT_COLOURS, { width: 5, height: 3 });
  assert.deepEqual([width, height], [5, 3]);
  // Sums of four products, by torch in fp32 and here in fp64.
  for (const [at, value] of rgb.entries())
    assert.ok(Math.abs(value - TORCH[at]!) <= 1, `${at}: ${value} for ${TORCH[at]}`);
});

test("an engine shows each step when asked, the last as it is decoded, and else nothing; the picture is the same", async () => {
  await using engine = await openThreadlessEngine({ backend: "reference" });
  const job = { prompt: "a lake", seed: 3, steps: 3, width: 32, height: 16, sampler: "euler" } as const;
  const pictures: Uint8Array[] = [];
  for (const previews of [true, false]) {
    const shown: { step: number; rgb: Uint8Array }[] = [];
    let last: Float32Array | undefined;
    for await (const event of engine.generate(job, { previews, states: true })) {
      if (event.type === "preview") {
        assert.deepEqual([event.width, event.height, event.steps], [4, 2, 3]);
        shown.push(event);
      }
      if (event.type === "step") last = event.state!.x;
      if (event.type === "image") pictures.push(event.bytes);
    }
    assert.deepEqual(
      shown.map(({ step }) => step),
      previews ? [1, 2, 3] : [],
    );
    if (!previews) continue;
    // Euler's last step ends in the clean latent itself: the demo's own map of it.
    const colours = {
      factors: [
        [-5.21, -62.09, -14, -10.86],
        [-5.34, -46.05, -12.05, -15.17],
        [9.49, -17.84, -27.53, -25.2],
      ],
      bias: [106.02, 117.78, 122.02],
    };
    assert.deepEqual([...shown[2]!.rgb], [...latentPreview(last!, colours, { width: 4, height: 2 }).rgb]);
  }
  assert.deepEqual(Buffer.compare(pictures[0]!, pictures[1]!), 0);
});

test("pictures beside one another: each in its place from the top on, black below a lower one", () => {
  const picture = (width: number, height: number, value: number) => ({
    ...{ width, height, rgb: new Uint8Array(3 * width * height).fill(value) },
  });
  const only = picture(2, 2, 7);
  assert.equal(strip([only]), only);
  const { width, height, rgb } = strip([picture(1, 2, 1), picture(2, 1, 2), picture(1, 1, 3)]);
  assert.deepEqual([width, height], [4, 2]);
  const firsts = Array.from({ length: 8 }, (_, pixel) => rgb[3 * pixel]);
  assert.deepEqual(firsts, [1, 2, 2, 3, 1, 0, 0, 0]);
});

test("a network shows every so many steps, and the last, whatever their number; who didn't ask is shown nothing", async () => {
  const shownAt = async (steps: number, everySteps: number, previews = true) => {
    const context = { runtime: { telemetry: { loaded: { bytes: 0, ms: 0 } }, checkpoint: {} }, now: () => 0 };
    const told = new PictureEvents(context as never, {} as never, {} as never, { previews } as never, 0);
    const shown: number[] = [];
    for (let step = 1; step <= steps; step++) {
      const previewing = { everySteps, decode: async () => shown.push(step) };
      const stage = { previewing, latentShape: [1, 4, 2, 2] };
      await told.onClean?.(new Float32Array(16), { stage, phase: {}, step, steps } as never);
    }
    return shown;
  };
  assert.deepEqual(await shownAt(7, 3), [3, 6, 7]);
  assert.deepEqual(await shownAt(6, 3), [3, 6]);
  assert.deepEqual(await shownAt(2, 5), [2]);
  assert.deepEqual(await shownAt(3, 1), [1, 2, 3]);
  assert.deepEqual(await shownAt(3, 1, false), []);
});
