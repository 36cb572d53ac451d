/**
 * @file Full-size SDXL on the CPU: `solvay generate` and, with --python, diffusers on the same folder, in turn in one run.
 * Usage: node bench/full_size.ts --model DIR [--python PYTHON] [--width 512] [--height 512] [--steps 2] [--json FILE]
 * See bench/README.md.
 */
import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { availableParallelism, cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { graphFlops } from "../src/ir/cost.ts";
import { vaeDecoderGraph } from "../src/models/autoencoder.ts";
import { openSdxl } from "../src/models/sdxl/checkpoint.ts";
import { SDXL } from "../src/models/sdxl/family.ts";
import { unetStepGraph } from "../src/models/sdxl/unet.ts";
import { openFileFolder } from "../src/node/files/file-folder.ts";

interface Timing {
  readonly engine: string;
  readonly stepSeconds: readonly number[];
  readonly decodeSeconds: number;
  /** Solvay: from nothing to the picture. diffusers: without loading the model. */
  readonly imageSeconds: number;
  readonly peakRssGb: number;
}

const { values: options } = parseArgs({
  options: {
    model: { type: "string" },
    python: { type: "string" },
    width: { type: "string", default: "512" },
    height: { type: "string", default: "512" },
    steps: { type: "string", default: "2" },
    json: { type: "string" },
  },
});
if (options.model === undefined) {
  console.error("Usage: node bench/full_size.ts --model DIR [--python PYTHON] [--width N] [--height N] [--steps N]");
  process.exit(2);
}
const job = ["--model", options.model, "--width", options.width, "--height", options.height, "--steps", options.steps];

/** Lines of a program's stdout; rejects unless it ends well. */
async function* lines(command: string, args: readonly string[]): AsyncGenerator<string> {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"] });
  const ended = new Promise<number | null>((resolve, reject) => child.on("exit", resolve).on("error", reject));
  yield* createInterface({ input: child.stdout });
  const code = await ended;
  if (code !== 0) throw new Error(`${command} ended with ${code}`);
}

async function timeSolvay(): Promise<Timing> {
  const folder = await mkdtemp(join(tmpdir(), "solvay-bench-"));
  try {
    const bootstrap = fileURLToPath(new URL("../scripts/bootstrap.mjs", import.meta.url));
    const args = [
      "generate",
      "a lake at dusk",
      "--seed",
      "1",
      "--backend",
      "cpu",
      "--json",
      "--output",
      join(folder, "a.png"),
    ];
    const begin = performance.now();
    const stepSeconds: number[] = [];
    let decodeBegin = 0;
    for await (const line of lines(process.execPath, [bootstrap, ...args, ...job])) {
      const event = JSON.parse(line) as { type: string; phase?: string; stepMs: number; peakRssBytes: number };
      if (event.type === "step") stepSeconds.push(event.stepMs / 1000);
      if (event.type === "phase" && event.phase === "decode") decodeBegin = performance.now();
      if (event.type !== "image") continue;
      const now = performance.now();
      return {
        engine: "solvay, cpu",
        stepSeconds,
        decodeSeconds: (now - decodeBegin) / 1000,
        imageSeconds: (now - begin) / 1000,
        peakRssGb: event.peakRssBytes / 1e9,
      };
    }
    throw new Error("no image came");
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function timeDiffusers(python: string): Promise<Timing> {
  const script = fileURLToPath(new URL("diffusers_compare.py", import.meta.url));
  const threads = String(availableParallelism());
  let last = "";
  for await (const line of lines(python, [script, ...job, "--threads", threads])) last = line;
  return JSON.parse(last) as Timing;
}

async function flops(): Promise<{ readonly step: number; readonly decode: number }> {
  await using checkpoint = await openSdxl(SDXL, await openFileFolder(options.model!));
  const scale = 2 ** (checkpoint.parts.configs.vae.blockChannels.length - 1);
  const [height, width] = [Number(options.height) / scale, Number(options.width) / scale];
  return {
    step: graphFlops(unetStepGraph(checkpoint.parts.configs.unet, { batch: 2, height, width }, 77)),
    decode: graphFlops(vaeDecoderGraph(checkpoint.parts.configs.vae, 1, height, width)),
  };
}

const work = await flops();
const results = [];
for (const run of [timeSolvay, ...(options.python ? [() => timeDiffusers(options.python!)] : [])]) {
  const timing = await run();
  const later = timing.stepSeconds.slice(1);
  const stepSeconds = later.reduce((sum, seconds) => sum + seconds, 0) / later.length;
  const result = {
    engine: timing.engine,
    firstStepSeconds: round(timing.stepSeconds[0]!),
    stepSeconds: round(stepSeconds),
    stepGflops: Math.round(work.step / stepSeconds / 1e9),
    decodeSeconds: round(timing.decodeSeconds),
    decodeGflops: Math.round(work.decode / timing.decodeSeconds / 1e9),
    imageSeconds: round(timing.imageSeconds),
    peakRssGb: round(timing.peakRssGb),
  };
  console.log(JSON.stringify(result));
  results.push(result);
}
const machine = `${availableParallelism()} threads, ${cpus()[0]!.model.trim()}, Node ${process.version}`;
const { width, height, steps } = options;
if (options.json) {
  await writeFile(options.json, `${JSON.stringify({ machine, width, height, steps, results }, null, 2)}\n`);
}

function round(seconds: number): number {
  return Math.round(seconds * 100) / 100;
}
