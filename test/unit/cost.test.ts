/** @file Counted operations against sums by hand. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { GraphBuilder, type Tensor } from "../../src/ir/builder.ts";
import { graphFlops } from "../../src/ir/cost.ts";
import { SDXL_BASE_UNET } from "../../src/models/sdxl/base.ts";
import { unetStepGraph, unetTextGraph, unetTimeGraph } from "../../src/models/sdxl/unet.ts";

function flops(build: (g: GraphBuilder) => Tensor): number {
  const g = new GraphBuilder("one");
  g.output(
    "y",
    g.segment("one", () => build(g)),
  );
  return graphFlops(g.build());
}

test("a matrix product, a convolution and attention, by hand", () => {
  const linear = flops((g) => g.node("linear", [g.input("x", [2, 3, 5]), g.weight("w", [7, 5])], {}));
  assert.equal(linear, 2 * (2 * 3) * 5 * 7);
  const conv = flops((g) =>
    g.node("conv2d", [g.input("x", [1, 4, 6, 8]), g.weight("w", [5, 4, 3, 3])], { stride: 2, pad: [1, 1, 1, 1] }),
  );
  assert.equal(conv, 2 * (5 * 3 * 4) * (4 * 9));
  const attention = flops((g) =>
    g.node("attention", [g.input("q", [2, 3, 8]), g.input("k", [2, 5, 8]), g.input("v", [2, 5, 8])], {
      heads: 2,
      causal: false,
    }),
  );
  assert.equal(attention, 2 * (2 * 3 * 5 * 8) * 2);
});

test("the UNet of SDXL base at 1024x1024 counts as PyTorch's FlopCounterMode does on diffusers' module", () => {
  const step = graphFlops(unetStepGraph(SDXL_BASE_UNET, { batch: 2, height: 128, width: 128 }, 77));
  const text = graphFlops(unetTextGraph(SDXL_BASE_UNET, 2, 77));
  const time = graphFlops(unetTimeGraph(SDXL_BASE_UNET, 2));
  // UNet2DConditionModel.from_config on the meta device, batch 2, latent 128x128, 77 tokens; torch 2.15, diffusers 0.42.1.
  assert.equal(step + text + time, 13_522_472_796_160);
});
