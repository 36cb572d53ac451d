/** @file `solvay bench`: how fast this machine computes SDXL's shapes, moves weights, and makes a picture under budgets. */
import os from "node:os";
import path from "node:path";
import { type Command, Option } from "commander";
import { describeAdapter, requireAdapterUse } from "../backend/webgpu/adapter.ts";
import { PRECISIONS } from "../backend/webgpu/precision.ts";
import { loadAdapterState, saveAdapterState } from "../backend/webgpu/state-file.ts";
import { benchHost } from "../bench/host-bench.ts";
import type { PeakTflops } from "../bench/peaks.ts";
import { type BenchShape, SDXL_SHAPES } from "../bench/shapes.ts";
import { benchWebGpu, type ShapeResult } from "../bench/webgpu-bench.ts";
import type { PrecisionName } from "../engine-types.ts";
import { BudgetError, DeviceError, SolvayError, UsageError } from "../errors.ts";
import { defaultStateFolder } from "../state/folder.ts";
import { type CliContext, interruptible } from "../terminal/context.ts";
import { parseSide, parseVram, parseWhole } from "../terminal/options.ts";
import { SOLVAY_VERSION } from "../version.ts";

interface BenchOptions {
  readonly backend: "auto" | "webgpu" | "cpu";
  readonly adapter?: string;
  readonly precision?: PrecisionName;
  readonly shrink?: number;
  readonly only?: string;
  readonly tune?: boolean;
  readonly peakTflops?: PeakTflops;
  readonly model?: string;
  readonly vram: readonly string[];
  readonly steps: number;
  readonly width?: number;
  readonly height?: number;
  readonly json?: boolean;
}

/** Of full SDXL in fp16 on a card: resident, then streaming more and more. "default": what the engine takes by itself. */
const BUDGETS = ["default", "6G", "4G", "3G"];

export function addBench(program: Command, context: CliContext): void {
  program
    .command("bench")
    .description("measure this machine: SDXL's shapes in GFLOP/s, uploads, and with --model the seconds of a step")
    .addOption(new Option("--backend <name>", "what computes").choices(["auto", "webgpu", "cpu"]).default("auto"))
    .option("--adapter <name>", "part of a graphics adapter's name; software adapters only when named")
    .option("--shrink <n>", "divides rows (default: 1; 32 on software adapters)", (t) =>
      parseWhole("--shrink", t, 1, 1024),
    )
    .option("--only <text>", "shapes with this in their name")
    .option("--tune", "measure every tile, and keep the fastest for this adapter: pixels don't change")
    .option("--peak-tflops <fp32[,fp16]>", "what the card can do at most, for shares", parsePeak)
    .option("--model <dir|hub-id>", "also time steps of this model")
    .option("--vram <list>", "budgets to time the model under, with commas", parseBudgets, BUDGETS)
    .addOption(new Option("--precision <name>", "arithmetic for the model").choices(PRECISIONS))
    .option("--steps <n>", "of the model; the first is not counted", (t) => parseWhole("--steps", t, 2, 100), 3)
    .option("--width <pixels>", "of the model's picture", parseSide("--width"))
    .option("--height <pixels>", "of the model's picture", parseSide("--height"))
    .option("--json", "one JSON document")
    .action((options: BenchOptions) => bench(context, options));
}

async function bench(context: CliContext, options: BenchOptions): Promise<void> {
  const say = (line: string) => {
    if (!options.json) context.stdout.write(`${line}\n`);
  };
  await interruptible(context, async (signal) => {
    const compute = await benchCompute(context, options, say, signal);
    const model = options.model === undefined ? {} : { model: await benchModel(context, options, say, signal) };
    const document = {
      version: SOLVAY_VERSION,
      command: commandOf(options),
      machine: {
        platform: process.platform,
        cpu: os.cpus()[0]?.model.trim() ?? "unknown",
        cores: os.availableParallelism(),
      },
      node: process.version,
      ...compute,
      ...model,
    };
    if (options.json) context.stdout.write(`${JSON.stringify(document, null, 1)}\n`);
  });
}

async function benchCompute(
  context: CliContext,
  options: BenchOptions,
  say: (line: string) => void,
  signal: AbortSignal,
): Promise<object> {
  requireAdapterUse(options.backend, options.adapter);
  const now = () => performance.now();
  const shapes = shapesNamed(options.only);
  const shrink = options.shrink === undefined ? {} : { shrink: options.shrink };
  if (options.backend !== "cpu") {
    try {
      const found = await benchWebGpu({
        now,
        signal,
        shapes,
        ...shrink,
        ...(options.adapter === undefined ? {} : { adapter: options.adapter }),
        ...(options.tune ? { allTiles: true } : {}),
        ...(options.peakTflops ? { peak: options.peakTflops } : {}),
        onShape: (result) => say(shapeLine(result)),
      });
      const { adapter, uploads, overlap } = found;
      say(`${describeAdapter(adapter)}${found.shrink > 1 ? `; rows divided by ${found.shrink}` : ""}`);
      for (const note of found.notes) say(note);
      say(
        `uploads: ${uploads.ringGbps.toFixed(2)} GB/s by the ring, ${uploads.writeBufferGbps.toFixed(2)} by writeBuffer`,
      );
      const { uploadMs, computeMs, bothMs } = overlap;
      const share = Math.round(overlap.hiddenShare * 100);
      say(
        `upload ${ms(uploadMs)}, compute ${ms(computeMs)}, both at once ${ms(bothMs)}: ${share} % of the shorter hidden`,
      );
      if (options.tune) {
        const file = path.join(defaultStateFolder(context.env), "adapters.json");
        const tiles = { ...(await loadAdapterState(file, adapter)).tiles, ...found.tiles };
        await saveAdapterState(file, adapter, { ...(await loadAdapterState(file, adapter)), tiles });
        say(`tiles kept in ${file}`);
      }
      return { backend: "webgpu", ...found };
    } catch (error) {
      const optional = options.backend === "auto" && options.adapter === undefined;
      if (!optional || !(error instanceof DeviceError) || options.tune) throw error;
      say(`On the CPU: ${error.problem}.`);
    }
  }
  if (options.tune) {
    const problem = "--tune is for graphics cards: the CPU has no tiles to choose";
    throw new UsageError({ code: "E_USAGE", problem, next: "leave --tune out" });
  }
  const found = await benchHost({ now, signal, shapes, ...shrink, onShape: (result) => say(shapeLine(result)) });
  return { backend: "cpu", ...found };
}

/** Seconds of a step under each budget, or why it can't be. */
async function benchModel(
  context: CliContext,
  options: BenchOptions,
  say: (line: string) => void,
  signal: AbortSignal,
): Promise<readonly object[]> {
  const results: object[] = [];
  for (const vram of options.vram) {
    const result = await timeModel(context, options, vram, signal);
    results.push(result);
    say(modelLine(result));
  }
  return results;
}

interface ModelResult {
  readonly vram: string;
  /** Seconds of the fastest step but the first. */
  readonly stepSeconds?: number;
  /** Of which compute stood still for weights. */
  readonly waitSeconds?: number;
  /** Weights read in that step. */
  readonly readBytes?: number;
  readonly peakDeviceBytes?: number;
  readonly backend?: string;
  readonly precision?: string;
  readonly error?: string;
}

async function timeModel(
  context: CliContext,
  options: BenchOptions,
  vram: string,
  signal: AbortSignal,
): Promise<ModelResult> {
  try {
    const { model, backend, adapter, precision, steps, width, height } = options;
    await using engine = await context.openEngine({
      model,
      backend,
      adapter,
      precision,
      budgets: vram === "default" ? {} : { vram },
      signal,
    });
    let best: ModelResult | undefined;
    for await (const event of engine.generate({ prompt: "a lake at dawn", seed: 1, steps, width, height, signal })) {
      // Begun again, maybe in other arithmetic: what was before is no part of this.
      if (event.type === "plan") best = undefined;
      else if (event.type === "step" && event.step > 1) {
        const { stepMs, waitMs, readBytes } = event;
        const { backend: used } = engine.info;
        if (best?.stepSeconds !== undefined && stepMs / 1000 >= best.stepSeconds) continue;
        const seconds = { stepSeconds: stepMs / 1000, waitSeconds: waitMs / 1000 };
        best = { vram, ...seconds, readBytes, backend: used };
      } else if (event.type === "image" && best)
        best = { ...best, precision: event.precision, peakDeviceBytes: event.peakDeviceBytes };
    }
    return best!;
  } catch (error) {
    // A budget that this card or model can't keep is a result; anything else ends the bench.
    if (!(error instanceof BudgetError) && !(error instanceof SolvayError && error.code === "E_GPU_LIMIT")) throw error;
    return { vram, error: error.message };
  }
}

function shapeLine(result: Partial<ShapeResult> & Pick<ShapeResult, "name" | "rows" | "columns" | "depth">): string {
  const { name, rows, columns, depth, gflops, gbps, tile, tiles, paths, naiveGflops, share } = result;
  const [best] = Object.entries(tiles ?? {}).sort(([, a], [, b]) => b - a);
  const parts = [
    gflops === undefined ? `${gbps!.toFixed(1)} GB/s` : `${gflops.toFixed(1)} GFLOP/s${tile ? ` (${tile})` : ""}`,
    ...(best ? [`best ${best[1].toFixed(1)} (${best[0]})`] : []),
    ...Object.entries(paths ?? {}).map(([path, value]) => `${path} ${value.toFixed(1)}`),
    ...(naiveGflops === undefined ? [] : [`naive ${naiveGflops.toFixed(1)}`]),
    ...(share === undefined ? [] : [`${Math.round(share * 100)} % of peak`]),
  ];
  return `${`${name} [${rows} x ${columns} x ${depth}]`.padEnd(48)} ${parts.join(", ")}`;
}

function modelLine({ vram, stepSeconds, waitSeconds, readBytes, error }: ModelResult): string {
  if (error !== undefined) return `--vram ${vram}: ${error}`;
  const read = ((readBytes ?? 0) / 1e9).toFixed(2);
  return `--vram ${vram}: ${stepSeconds!.toFixed(2)} s/step, ${waitSeconds!.toFixed(2)} of it waiting for ${read} GB of weights`;
}

const ms = (value: number) => `${value.toFixed(1)} ms`;

function parsePeak(text: string): PeakTflops {
  const [fp32, fp16, ...more] = text.split(",").map(Number);
  const positive = (value: number | undefined) => value === undefined || (Number.isFinite(value) && value > 0);
  if (fp32 === undefined || !positive(fp32) || !positive(fp16) || more.length > 0) {
    const problem = `--peak-tflops must be one or two numbers above 0 (found ${JSON.stringify(text)})`;
    throw new UsageError({ code: "E_USAGE", problem, next: "give it as in --peak-tflops 6.5,12.9" });
  }
  return { fp32, ...(fp16 === undefined ? {} : { fp16 }) };
}

function parseBudgets(text: string): readonly string[] {
  return text.split(",").map((item) => (item === "default" ? item : parseVram(item)));
}

function shapesNamed(text: string | undefined): readonly BenchShape[] {
  const shapes = SDXL_SHAPES.filter(({ name }) => text === undefined || name.includes(text));
  if (shapes.length > 0) return shapes;
  const problem = `no shape has this in its name (found ${SDXL_SHAPES.map(({ name }) => name).join("; ")})`;
  throw new UsageError({ code: "E_USAGE", subject: text!, problem, next: "give --only a part of one of those" });
}

/** As shells take it for one word. */
function asWord(text: string): string {
  return /^[\w.,:/+-]+$/.test(text) ? text : JSON.stringify(text);
}

/** The command as it can be repeated. */
function commandOf(options: BenchOptions): string {
  const words = ["solvay", "bench"];
  const flags: Record<string, unknown> = {
    "--backend": options.backend === "auto" ? undefined : options.backend,
    "--adapter": options.adapter,
    "--shrink": options.shrink,
    "--only": options.only,
    "--peak-tflops": options.peakTflops ? Object.values(options.peakTflops).join() : undefined,
    "--model": options.model === undefined ? undefined : path.basename(options.model),
    "--vram": options.model === undefined ? undefined : options.vram.join(),
    "--precision": options.precision,
    "--steps": options.model === undefined ? undefined : options.steps,
    "--width": options.width,
    "--height": options.height,
  };
  for (const [flag, value] of Object.entries(flags)) if (value !== undefined) words.push(flag, asWord(String(value)));
  if (options.tune) words.push("--tune");
  if (options.json) words.push("--json");
  return words.join(" ");
}
