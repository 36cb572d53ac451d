/** @file `solvay import MODEL`: a model, and an artifact over its UNet, into the block store. */

import { type Command, Option } from "commander";
import { printable } from "../errors.ts";
import { OPEN_FIELDS } from "../job/fields.ts";
import { byteCount } from "../ledger/byte-text.ts";
import { importNamedModel } from "../library/import.ts";
import type { PredictionType } from "../sampler/prediction.ts";
import type { ImportEvent, PackedChoice } from "../store/import/import-types.ts";
import { type CliContext, interruptible, libraryOf } from "../terminal/context.ts";
import { clock } from "../terminal/format.ts";
import { ImportProgress } from "../terminal/import-progress.ts";
import { fieldOption, storeOption } from "../terminal/options.ts";

interface ImportCommandOptions {
  readonly vae?: string;
  readonly config?: string;
  readonly base?: string;
  readonly prediction?: PredictionType;
  readonly artifact?: string;
  readonly store?: string;
  readonly packed: PackedChoice;
  readonly compat?: boolean;
  readonly json?: boolean;
}

export function addImport(program: Command, context: CliContext): void {
  program
    .command("import")
    .description("put a model into the block store, in execution order; an interrupted import goes on")
    .argument(
      "<model>",
      "diffusers folder, single .safetensors file, or Hugging Face id in the local cache; of a model or a refiner",
    )
    .addOption(storeOption())
    .addOption(fieldOption(OPEN_FIELDS.vae))
    .addOption(fieldOption(OPEN_FIELDS.config))
    .addOption(fieldOption(OPEN_FIELDS.base))
    .addOption(fieldOption(OPEN_FIELDS.prediction))
    .addOption(fieldOption(OPEN_FIELDS.artifact))
    .addOption(fieldOption(OPEN_FIELDS.compat))
    .addOption(
      new Option(
        "--packed <choice>",
        "byte planes, about 85 % of the size: on, off, or auto (what is read faster here)",
      )
        .choices(["auto", "on", "off"])
        .default("auto"),
    )
    .option("--json", "events as JSON lines on stdout")
    .action((model: string, options: ImportCommandOptions) =>
      interruptible(context, (signal) => runImport(context, model, options, signal)),
    );
}

async function runImport(
  context: CliContext,
  model: string,
  { json, ...options }: ImportCommandOptions,
  signal: AbortSignal,
): Promise<void> {
  const startedMs = performance.now();
  const progress = new ImportProgress(context, json ?? false);
  try {
    const request = { model, ...options };
    const onEvent = (event: ImportEvent) => progress.show(event);
    const result = await importNamedModel(libraryOf(context), request, { signal, onEvent });
    progress.clear();
    const elapsedMs = performance.now() - startedMs;
    const { records: _, ...facts } = result.artifact ?? { records: [] };
    if (json) {
      const { artifact: __, ...rest } = result;
      const over = result.artifact ? { artifact: facts } : {};
      context.stdout.write(`${JSON.stringify({ type: "done", ...rest, ...over, elapsedMs })}\n`);
      return;
    }
    context.stdout.write(`${printable(result.id)}\n`);
    const size = byteCount(result.plainBytes);
    const work = `${size} in ${clock(elapsedMs)}, ${byteCount(result.writtenBytes)} written`;
    progress.say(result.reused ? `Already in the store: ${size}` : `Imported: ${work}`);
    const option = result.refiner ? "refiner" : "model";
    progress.say(`Use it: solvay generate "PROMPT" --${option} store:${result.id.slice(0, 12)}`);
  } finally {
    progress.clear();
  }
}
