/**
 * @file The decoders of all small models, with their own weights, in bands against whole: 1e-5 of the -1..1 picture, with
 * odd heights, heights below a band's, bands of one row.
 */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import type { Backend, WeightData } from "../../src/backend/backend.ts";
import { createReferenceBackend } from "../../src/backend/reference/backend.ts";
import { bandProgram } from "../../src/bands/bands.ts";
import { vaeDecoderGraph } from "../../src/models/autoencoder.ts";
import { openOnnxBackend } from "../../src/node/onnx.ts";
import { torchRandn } from "../../src/sampler/noise.ts";
import { runInBands, runWhole } from "../band-run.ts";
import { openSdxlFolder } from "../sdxl-folder.ts";
import { searched } from "../support/thorough.ts";

const TOLERANCE = 1e-5;
const MODELS = ["conv-proj", "deep", "flat", "nested", "odd", "demo"];
/** ONNX Runtime builds a session for each band, which is most of the time; plain loops take long for the largest. */
const ON = {
  cpu: searched(["conv-proj", "demo"], MODELS),
  reference: searched(
    MODELS.filter((model) => model !== "demo"),
    MODELS,
  ),
};
const KIB = 1024;

const backends = new Map<"cpu" | "reference", Backend>();
before(async () => {
  backends.set("cpu", await openOnnxBackend());
  backends.set("reference", createReferenceBackend());
});
after(async () => {
  for (const backend of backends.values()) await backend[Symbol.asyncDispose]();
});

for (const model of MODELS) {
  for (const name of ["cpu", "reference"] as const) {
    if (!ON[name].includes(model)) continue;
    test(`the VAE of ${model} on ${name}: bands equal the whole`, async () => {
      const folder = model === "demo" ? "../../models/demo" : `../../fixtures/golden/${model}`;
      await using checkpoint = await openSdxlFolder(fileURLToPath(new URL(folder, import.meta.url)));
      const config = checkpoint.parts.configs.vae;
      const { table } = checkpoint.components.get("vae")!;
      const weights = new Map<string, WeightData>();
      for (const entry of table.values()) {
        const bytes = new Uint8Array(entry.endByte - entry.startByte);
        await entry.source.read(entry.startByte, bytes);
        weights.set(entry.name, { dtype: entry.dtype, bytes });
      }
      const backend = backends.get(name)!;
      for (const [height, width] of [
        [5, 4],
        [1, 2],
      ] as const) {
        const graph = vaeDecoderGraph(config, 1, height, width);
        const latent = Float32Array.from(torchRandn(height, config.latentChannels * height * width));
        const inputs = new Map([["latent", latent]]);
        const expected = (await runWhole(backend, graph, inputs, weights)).get("image")!;
        for (const bandBytes of [1, 24 * KIB, Number.POSITIVE_INFINITY]) {
          const program = bandProgram(graph, { bandBytes });
          const found = (await runInBands(backend, program, inputs, weights)).get("image")!;
          const largest = expected.reduce((max, value, i) => Math.max(max, Math.abs(value - found[i]!)), 0);
          assert.equal(found.length, expected.length);
          assert.ok(found.every(Number.isFinite));
          assert.ok(largest <= TOLERANCE, `${height}x${width}, bands of ${bandBytes}: ${largest}`);
        }
      }
    });
  }
}
