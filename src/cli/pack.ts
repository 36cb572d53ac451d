/** @file `solvay pack`: the UNet of a folder (or one safetensors file) as an LZR2 artifact, lossless or smaller. */
import { open, rename, rm } from "node:fs/promises";
import path from "node:path";
import { type Command, Option } from "commander";
import { openSdxlFolder } from "../checkpoint/sdxl-folder.ts";
import { encodeLzr2Record, LZR2_SIGNATURE, type Lzr2Mode } from "../container/lzr2-writer.ts";
import { readSafetensorsHeader } from "../container/safetensors.ts";
import type { TensorEntry } from "../container/table.ts";
import { UsageError } from "../errors.ts";
import { openFileSource } from "../source/file.ts";
import { openFileFolder } from "../source/file-folder.ts";
import { f16ToNumber, numberToF16, toFloat32 } from "../tensor/dtype.ts";
import { type CliContext, interruptible } from "../terminal/context.ts";
import { byteCount } from "../terminal/format.ts";
import { checkOutput } from "../terminal/output-file.ts";

interface PackOptions {
  readonly output: string;
  readonly overlay?: string;
  readonly json?: boolean;
}

export function addPack(program: Command, context: CliContext): void {
  program
    .command("pack")
    .description("write a UNet as an LZR2 artifact; lossless unless --overlay is given")
    .argument("<model>", "diffusers folder, or one safetensors file with the UNet's weights")
    .requiredOption("-o, --output <file.lzr2>", "the artifact to write")
    .option("--overlay <fraction>", "lossy: share of the weights kept exactly, 0 to 1")
    .addOption(new Option("--lossless", "every weight bit-exact after reading (the default)").conflicts("overlay"))
    .option("--json", "one JSON document")
    .action((model: string, options: PackOptions) =>
      interruptible(context, (signal) => pack(context, model, options, signal)),
    );
}

async function pack(context: CliContext, model: string, options: PackOptions, signal: AbortSignal): Promise<void> {
  const mode = packMode(options);
  await using sources = new AsyncDisposableStack();
  const entries = await openWeights(path.resolve(context.cwd, model), sources, signal);
  const output = path.resolve(context.cwd, options.output);
  await checkOutput(output);
  const partial = `${output}.${process.pid}.partial`;
  let totals: PackTotals;
  try {
    totals = await writeArtifact(partial, entries, mode, signal);
    await rename(partial, output);
  } catch (error) {
    await rm(partial, { force: true });
    throw error;
  }
  if (options.json) {
    context.stdout.write(`${JSON.stringify({ file: options.output, ...totals })}\n`);
    return;
  }
  const { tensors, bytes, overlayRows } = totals;
  context.stdout.write(
    `${options.output}: ${tensors} tensors, ${byteCount(bytes)}, ${overlayRows} overlay rows; ${exactness(mode, totals)}\n`,
  );
}

function exactness(
  mode: Lzr2Mode,
  { weights, maxAbsError, rmsError, roundedWeights, maxRounding }: PackTotals,
): string {
  const error =
    mode.kind === "lossless"
      ? "every weight bit-exact"
      : `largest error ${maxAbsError.toExponential(2)}, root mean square ${rmsError.toExponential(2)}`;
  if (roundedWeights === 0) return error;
  const share = `${roundedWeights} of ${weights} weights are not fp16 in the model`;
  return `${error} in fp16, which is all that LZR2 holds: ${share} and were rounded, by up to ${maxRounding.toExponential(2)}`;
}

function packMode({ overlay }: PackOptions): Lzr2Mode {
  if (overlay === undefined) return { kind: "lossless" };
  const overlayFraction = Number(overlay);
  if (overlay.trim() !== "" && overlayFraction >= 0 && overlayFraction <= 1) return { kind: "lossy", overlayFraction };
  throw new UsageError({
    code: "E_USAGE",
    subject: "--overlay",
    problem: `not a fraction (found ${JSON.stringify(overlay)}, allowed 0 to 1)`,
    next: "give --overlay a number such as 0.1, or leave it out for lossless",
  });
}

async function openWeights(
  model: string,
  sources: AsyncDisposableStack,
  signal: AbortSignal,
): Promise<readonly TensorEntry[]> {
  if (model.endsWith(".safetensors")) {
    const source = sources.use(await openFileSource(model));
    return [...(await readSafetensorsHeader(source, signal)).table.values()];
  }
  const checkpoint = sources.use(await openSdxlFolder(await openFileFolder(model), signal));
  return [...checkpoint.unet.table.values()];
}

interface PackTotals {
  readonly tensors: number;
  readonly weights: number;
  readonly overlayRows: number;
  /** Against the weights in fp16. */
  readonly maxAbsError: number;
  readonly rmsError: number;
  /** Weights of a wider type that fp16 doesn't hold, and the largest change to one. */
  readonly roundedWeights: number;
  readonly maxRounding: number;
  readonly bytes: number;
}

async function writeArtifact(
  file: string,
  entries: readonly TensorEntry[],
  mode: Lzr2Mode,
  signal: AbortSignal,
): Promise<PackTotals> {
  await using handle = await open(file, "wx");
  await handle.write(LZR2_SIGNATURE);
  let [weights, overlayRows, maxAbsError, squares, bytes] = [0, 0, 0, 0, LZR2_SIGNATURE.byteLength];
  let [roundedWeights, maxRounding] = [0, 0];
  for (const entry of entries) {
    signal.throwIfAborted();
    const raw = new Uint8Array(entry.endByte - entry.startByte);
    await entry.source.read(entry.startByte, raw, signal);
    const values = entry.dtype === "f16" ? new Uint16Array(raw.buffer) : toFloat32(entry.dtype, raw);
    const record = encodeLzr2Record({ key: entry.name, shape: entry.shape, values, mode });
    for (const chunk of record.chunks()) await handle.writeFile(chunk);
    if (values instanceof Float32Array) {
      for (const value of values) {
        const change = Math.abs(value - f16ToNumber(numberToF16(value)));
        if (change === 0) continue;
        roundedWeights++;
        maxRounding = Math.max(maxRounding, change);
      }
    }
    weights += record.stats.weights;
    overlayRows += record.stats.overlayRows;
    maxAbsError = Math.max(maxAbsError, record.stats.maxAbsError);
    squares += record.stats.rmsError ** 2 * record.stats.weights;
    bytes += record.byteLength;
  }
  await handle.sync();
  const rmsError = Math.sqrt(squares / Math.max(1, weights));
  return { tensors: entries.length, weights, overlayRows, maxAbsError, rmsError, roundedWeights, maxRounding, bytes };
}
