/**
 * @file The VAE decode on the CPU, whole and in bands of several sizes, each in a process of its own, and PyTorch's beside it.
 * Usage: node bench/decode.ts --model DIR [--latent 64] [--ways whole,32,64,128] [--python PYTHON] [--repeat 1]
 * A way is the bytes of a band in MiB, or "whole": one segment after another over the whole picture. One line of JSON a way: seconds, peak RSS, and the largest difference of a pixel of the -1..1 picture from the first way's.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import type { WeightData } from "../src/backend/backend.ts";
import { bandProgram } from "../src/bands/bands.ts";
import { vaeDecoderGraph } from "../src/models/autoencoder.ts";
import { openSdxl } from "../src/models/sdxl/checkpoint.ts";
import { SDXL } from "../src/models/sdxl/family.ts";
import { openFileFolder } from "../src/node/files/file-folder.ts";
import { openOnnxBackend } from "../src/node/onnx.ts";
import { torchRandn } from "../src/sampler/noise.ts";
import { runInBands, runWhole } from "../test/band-run.ts";

const { values: options } = parseArgs({
  options: {
    model: { type: "string" },
    latent: { type: "string", default: "64" },
    ways: { type: "string", default: "whole,32,64,128" },
    python: { type: "string" },
    repeat: { type: "string", default: "1" },
    // A process of this script that decodes in one way: "whole" or a band size in MiB.
    one: { type: "string" },
    output: { type: "string" },
  },
});
if (options.model === undefined) {
  console.error("Usage: node bench/decode.ts --model DIR [--latent N] [--ways whole,MIB,...] [--python PYTHON]");
  process.exit(2);
}
const [side, repeat] = [Number(options.latent), Number(options.repeat)];
const latentChannels = 4;
const latent = torchRandn(1, latentChannels * side * side).map((value) => value * 5);

async function decodeOnce(way: string): Promise<void> {
  await using checkpoint = await openSdxl(SDXL, await openFileFolder(options.model!));
  await using backend = await openOnnxBackend();
  const graph = vaeDecoderGraph(checkpoint.parts.configs.vae, 1, side, side);
  const inputs = new Map([["latent", Float32Array.from(latent)]]);
  const weights = new Map<string, WeightData>();
  for (const { name } of graph.values.filter(({ kind }) => kind === "weight")) {
    const { source, startByte, endByte, dtype } = checkpoint.components.get("vae")!.table.get(name)!;
    const bytes = new Uint8Array(endByte - startByte);
    await source.read(startByte, bytes);
    weights.set(name, { dtype, bytes });
  }
  const seconds: number[] = [];
  let image: Float32Array | undefined;
  for (let i = 0; i < repeat; i++) {
    await backend.release();
    const begin = performance.now();
    const outputs =
      way === "whole"
        ? await runWhole(backend, graph, inputs, weights)
        : await runInBands(backend, bandProgram(graph, { bandBytes: Number(way) * 1024 ** 2 }), inputs, weights);
    seconds.push((performance.now() - begin) / 1000);
    image = outputs.get("image")!;
  }
  writeFileSync(options.output!, new Uint8Array(image!.buffer, image!.byteOffset, image!.byteLength));
  const peakRssMb = process.resourceUsage().maxRSS / 1000;
  console.log(JSON.stringify({ way, seconds: seconds.map(round), peakRssMb: Math.round(peakRssMb) }));
}

function compareAll(): void {
  const folder = mkdtempSync(join(tmpdir(), "solvay-decode-"));
  const script = fileURLToPath(import.meta.url);
  let first: Float32Array | undefined;
  try {
    for (const way of options.ways.split(",")) {
      const output = join(folder, "image");
      const args = ["--model", options.model!, "--latent", options.latent, "--repeat", options.repeat];
      const line = execFileSync(process.execPath, [script, ...args, "--one", way, "--output", output], {
        encoding: "utf8",
        stdio: ["ignore", "pipe", "ignore"],
      });
      const bytes = readFileSync(output);
      const image = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
      first ??= image;
      const largestDifference = image.reduce((max, value, i) => Math.max(max, Math.abs(value - first![i]!)), 0);
      const largest = image.reduce((max, value) => Math.max(max, Math.abs(value)), 0);
      console.log(JSON.stringify({ ...JSON.parse(line), largestDifference, largest: round(largest) }));
    }
    if (options.python) {
      const program = fileURLToPath(new URL("decode_compare.py", import.meta.url));
      const threads = String(availableParallelism());
      const args = [program, "--model", options.model!, "--latent", options.latent, "--threads", threads];
      const timed = execFileSync(options.python, [...args, "--repeat", options.repeat], { encoding: "utf8" });
      console.log(timed.trim().split("\n").at(-1));
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}

if (options.one === undefined) compareAll();
else await decodeOnce(options.one);
