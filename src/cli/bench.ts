/** @file `solvay bench`: how fast this machine computes SDXL's shapes, moves weights, and makes a picture under budgets. */
import path from "node:path";
import { type Command, Option } from "commander";
import type { Precision } from "../backend/precision.ts";
import { type BenchEvent, runBench } from "../bench/bench.ts";
import type { ModelBenchRequest } from "../bench/model-bench.ts";
import type { PeakTflops } from "../bench/peaks.ts";
import { writeReport } from "../bench/report/report.ts";
import { type BenchShape, SDXL_SHAPES } from "../bench/shapes.ts";
import { UsageError } from "../errors.ts";
import { JOB_FIELDS, OPEN_FIELDS } from "../job/fields.ts";
import { wholeFromText } from "../job/text.ts";
import { parseBudget } from "../ledger/budget.ts";
import { defaultStateFolder } from "../node/state/folder.ts";
import { benchLines } from "../terminal/bench-text.ts";
import { type CliContext, interruptible } from "../terminal/context.ts";
import { fieldOption } from "../terminal/options.ts";
import { checkOutput } from "../terminal/output-file.ts";

interface BenchCommandOptions {
  readonly backend: "auto" | "webgpu" | "cpu";
  readonly adapter?: string;
  readonly precision?: Precision;
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
  readonly report?: string;
  readonly seconds: number;
  readonly quick?: boolean;
}

/** Of full SDXL in fp16 on a card: resident, then streaming more and more. "default": what the engine takes by itself. */
const BUDGETS = ["default", "6G", "4G", "3G"];

export function addBench(program: Command, context: CliContext): void {
  program
    .command("bench")
    .description("measure this machine: SDXL's shapes in GFLOP/s, uploads, and with --model the seconds of a step")
    .addOption(new Option("--backend <name>", "what computes").choices(["auto", "webgpu", "cpu"]).default("auto"))
    .addOption(fieldOption(OPEN_FIELDS.adapter))
    .option("--shrink <n>", "divides rows (default: 1; 32 on software adapters)", (t) =>
      wholeFromText("--shrink", t, 1, 1024),
    )
    .option("--only <text>", "shapes with this in their name")
    .option("--tune", "measure every tile, and keep the fastest for this adapter: pixels don't change")
    .option("--peak-tflops <fp32[,fp16]>", "what the card can do at most, for shares", parsePeak)
    .option("--model <dir|hub-id>", "also time steps of this model")
    .option("--vram <list>", "budgets to time the model under, with commas", parseBudgets, BUDGETS)
    .addOption(fieldOption(OPEN_FIELDS.precision, "arithmetic for the model"))
    .option("--steps <n>", "of the model; the first is not counted", (t) => wholeFromText("--steps", t, 2, 100), 3)
    .addOption(fieldOption(JOB_FIELDS.width, "of the model's picture"))
    .addOption(fieldOption(JOB_FIELDS.height, "of the model's picture"))
    .option("--json", "one JSON document")
    .option("--report <file>", "all that is worth knowing of a card, as JSON lines that can be put on an issue")
    .option("--seconds <n>", "of a report, at most", (t) => wholeFromText("--seconds", t, 10, 86400), 540)
    .option("--quick", "of a report: small shapes, to see that it runs")
    .action((options: BenchCommandOptions) => bench(context, options));
}

async function bench(context: CliContext, options: BenchCommandOptions): Promise<void> {
  if (options.report !== undefined) {
    await report(context, options, options.report);
    return;
  }
  const { backend, adapter, shrink, tune, peakTflops: peak, json } = options;
  const request = { backend, adapter, shapes: shapesNamed(options.only), shrink, tune, peak, model: modelOf(options) };
  const onEvent = (event: BenchEvent) => {
    if (!json) for (const line of benchLines(event)) context.stdout.write(`${line}\n`);
  };
  await interruptible(context, async (signal) => {
    const stateFolder = defaultStateFolder(context.env);
    const { openEngine } = context;
    const document = await runBench(request, commandOf(options), { openEngine, stateFolder, signal, onEvent });
    if (json) context.stdout.write(`${JSON.stringify(document, null, 1)}\n`);
  });
}

/** Each step in a process of its own, so that no driver takes the report down. */
async function report(
  { cwd, env, stdout, ...context }: CliContext,
  { adapter, model, seconds, quick = false }: BenchCommandOptions,
  name: string,
): Promise<void> {
  const file = path.resolve(cwd, name);
  await checkOutput({ shown: name, file });
  const main = process.argv[1]!;
  const say = (line: string) => void stdout.write(`${line}\n`);
  await interruptible({ cwd, env, stdout, ...context }, async (signal) => {
    const failed = await writeReport({ file, seconds, adapter, model, quick, main, env }, say, signal);
    say(`${name}: ${failed === 0 ? "all steps done" : `${failed} steps failed: the file says why`}`);
  });
}

function modelOf(options: BenchCommandOptions): ModelBenchRequest | undefined {
  const { model, backend, adapter, precision, vram, steps, width, height } = options;
  return model === undefined
    ? undefined
    : { engine: { model, backend, adapter, precision }, vram, steps, width, height };
}

function parsePeak(text: string): PeakTflops {
  const [fp32, fp16, ...more] = text.split(",").map(Number);
  const positive = (value: number | undefined) => value === undefined || (Number.isFinite(value) && value > 0);
  if (fp32 === undefined || !positive(fp32) || !positive(fp16) || more.length > 0) {
    const problem = `--peak-tflops must be one or two numbers above 0 (found ${JSON.stringify(text)})`;
    throw new UsageError({ code: "E_USAGE", problem, next: "give it as in --peak-tflops 6.5,12.9" });
  }
  return fp16 === undefined ? { fp32 } : { fp32, fp16 };
}

function parseBudgets(text: string): readonly string[] {
  const items = text.split(",");
  for (const item of items) if (item !== "default") parseBudget("--vram", item);
  return items;
}

function shapesNamed(text = ""): readonly BenchShape[] {
  const shapes = SDXL_SHAPES.filter(({ name }) => name.includes(text));
  if (shapes.length > 0) return shapes;
  const problem = `no shape has this in its name (found ${SDXL_SHAPES.map(({ name }) => name).join("; ")})`;
  throw new UsageError({ code: "E_USAGE", subject: text, problem, next: "give --only a part of one of those" });
}

/** As shells take it for one word. */
function asWord(text: string): string {
  return /^[\w.,:/+-]+$/.test(text) ? text : JSON.stringify(text);
}

/** The command as it can be repeated. */
function commandOf(options: BenchCommandOptions): string {
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
