/** @file `solvay import MODEL`: a model, and an artifact over its UNet, into the block store. */
import path from "node:path";
import { type Command, Option } from "commander";
import { openSdxlFolder } from "../checkpoint/sdxl-folder.ts";
import { importSdxl } from "../checkpoint/stored-sdxl.ts";
import { locateModel } from "../engine-parts.ts";
import { openFileSource } from "../source/file.ts";
import { openFileFolder } from "../source/file-folder.ts";
import type { PackedChoice } from "../store/import-types.ts";
import { type CliContext, interruptible } from "../terminal/context.ts";
import { printable } from "../terminal/failure.ts";
import { byteCount, clock } from "../terminal/format.ts";
import { ImportProgress } from "../terminal/import-progress.ts";
import { addStoreOption, openStore } from "./store.ts";

interface ImportCommandOptions {
  readonly artifact?: string;
  readonly store?: string;
  readonly packed: PackedChoice;
  readonly compat?: boolean;
  readonly json?: boolean;
}

export function addImport(program: Command, context: CliContext): void {
  addStoreOption(program.command("import"))
    .description("put a model into the block store, in execution order; an interrupted import goes on")
    .argument("<model>", "diffusers folder, or Hugging Face id in the local cache")
    .option("--artifact <file.lzr2>", "LZR2 artifact laid over the model's UNet")
    .option("--compat", "accept LZR2 records of unknown kind (the model's own weight stays)")
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
  { artifact, packed, compat = false, json, store: folderOption }: ImportCommandOptions,
  signal: AbortSignal,
): Promise<void> {
  const toAbsolute = (name: string) => path.resolve(context.cwd, name);
  const folder = await openFileFolder(await locateModel(model, toAbsolute));
  await using checkpoint = await openSdxlFolder(folder, signal);
  await using over = artifact === undefined ? undefined : await openFileSource(toAbsolute(artifact));
  const store = openStore(context, folderOption);
  const startedMs = performance.now();
  const progress = new ImportProgress(context, json ?? false);
  try {
    const request = { folder, checkpoint, artifact: over, compat, packed };
    const result = await importSdxl(store, request, { signal, onEvent: (event) => progress.show(event) });
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
    progress.say(`Use it: solvay generate "PROMPT" --model store:${result.id.slice(0, 12)}`);
  } finally {
    progress.clear();
  }
}
