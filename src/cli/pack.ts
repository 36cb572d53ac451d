/** @file `solvay pack`: the UNet of a folder (or one safetensors file) as an LZR2 artifact, lossless or smaller. */

import { open } from "node:fs/promises";
import { type Command, Option } from "commander";
import { LZR2_SIGNATURE, type Lzr2Mode } from "../container/lzr2-writer.ts";
import { UsageError } from "../errors.ts";
import { byteCount } from "../ledger/byte-text.ts";
import { type PackTotals, packModel } from "../library/pack.ts";
import { type CliContext, interruptible, libraryOf } from "../terminal/context.ts";
import { checkOutput, type Target } from "../terminal/output-file.ts";

interface PackOptions {
  readonly output: string;
  readonly overlay?: string;
  readonly json?: boolean;
}

export function addPack(program: Command, context: CliContext): void {
  program
    .command("pack")
    .description("write a UNet as an LZR2 artifact; lossless unless --overlay is given")
    .argument(
      "<model>",
      "diffusers folder, Hugging Face id in the cache, or one safetensors file with the UNet's weights",
    )
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
  const library = libraryOf(context);
  const target = { shown: options.output, file: library.absolute(options.output) };
  await checkOutput(target);
  await requireNoOther(target);
  const totals = await packModel(library, { model, output: options.output, mode }, signal);
  if (options.json) {
    context.stdout.write(`${JSON.stringify({ file: options.output, ...totals })}\n`);
    return;
  }
  const { tensors, bytes, overlayRows } = totals;
  context.stdout.write(
    `${options.output}: ${tensors} tensors, ${byteCount(bytes)}, ${overlayRows} overlay rows; ${exactness(mode, totals)}\n`,
  );
}

/** Throws UsageError where something else than an artifact would be replaced: such as the very weights that are read. */
async function requireNoOther({ shown, file }: Target): Promise<void> {
  const start = await readFirst(file, LZR2_SIGNATURE.length);
  if (start.length === 0 || start.equals(Buffer.from(LZR2_SIGNATURE))) return;
  const problem = "is there and is no LZR2 artifact, and only artifacts are replaced";
  throw new UsageError({ code: "E_OUTPUT", subject: shown, problem, next: "give another name that ends in .lzr2" });
}

/** Up to `count` bytes from the start; none of a file that isn't there. */
async function readFirst(file: string, count: number): Promise<Buffer> {
  try {
    await using opened = await open(file);
    const { buffer, bytesRead } = await opened.read(Buffer.alloc(count), 0, count, 0);
    return buffer.subarray(0, bytesRead);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return Buffer.alloc(0);
    throw error;
  }
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
