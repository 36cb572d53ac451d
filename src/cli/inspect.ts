/** @file `solvay inspect FILE`: the tensors of a safetensors or LZR2 file. */

import type { Command } from "commander";
import { printable } from "../errors.ts";
import { OPEN_FIELDS } from "../job/fields.ts";
import { byteCount } from "../ledger/byte-text.ts";
import { inspectFile } from "../library/inspect.ts";
import { type CliContext, interruptible, libraryOf } from "../terminal/context.ts";
import { fieldOption } from "../terminal/options.ts";

interface InspectOptions {
  readonly json?: boolean;
  readonly compat?: boolean;
}

export function addInspect(program: Command, context: CliContext): void {
  program
    .command("inspect")
    .description("list the tensors of a safetensors or LZR2 file")
    .argument("<file>")
    .addOption(fieldOption(OPEN_FIELDS.compat, "accept LZR2 records of unknown kind"))
    .option("--json", "one JSON document")
    .action((file: string, options: InspectOptions) =>
      interruptible(context, (signal) => inspect(context, file, options, signal)),
    );
}

async function inspect(context: CliContext, file: string, options: InspectOptions, signal: AbortSignal): Promise<void> {
  const compat = options.compat ?? false;
  const { container, fileBytes, metadata, content, adapter, tensors } = await inspectFile(libraryOf(context), file, {
    compat,
    signal,
  });
  if (options.json) {
    context.stdout.write(`${JSON.stringify({ file, container, fileBytes, metadata, content, adapter, tensors })}\n`);
    return;
  }
  const say = (line: string) => context.stdout.write(`${printable(line)}\n`);
  for (const { name, dtype, shape, startByte, endByte, note } of tensors) {
    say(`${name}  ${dtype}  [${shape.join(", ")}]  ${byteCount(endByte - startByte)}${note ? `  (${note})` : ""}`);
  }
  for (const [key, value] of Object.entries(metadata)) say(`metadata ${key}: ${shortened(value)}`);
  for (const line of content) say(line);
  say(`${tensors.length} tensors, ${container}, ${byteCount(fileBytes)}`);
}

/** Training tools write whole captions' counts into one value: `--json` has all of it. */
const VALUE_CHARS = 400;

function shortened(value: string): string {
  return value.length <= VALUE_CHARS ? value : `${value.slice(0, VALUE_CHARS)} ... (${value.length} characters)`;
}
