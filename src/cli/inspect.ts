/** @file `solvay inspect FILE`: the tensors of a safetensors or LZR2 file. */
import path from "node:path";
import type { Command } from "commander";
import { readLzr2 } from "../container/lzr2.ts";
import { readSafetensorsHeader } from "../container/safetensors.ts";
import { sniffContainer } from "../container/sniff.ts";
import { openFileSource } from "../source/file.ts";
import type { ByteSource } from "../source/source.ts";
import { type CliContext, interruptible } from "../terminal/context.ts";
import { printable } from "../terminal/failure.ts";
import { byteCount } from "../terminal/format.ts";

interface InspectOptions {
  readonly json?: boolean;
  readonly compat?: boolean;
}

/** One tensor or record. */
interface Row {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly startByte: number;
  readonly endByte: number;
  readonly note?: string;
}

export function addInspect(program: Command, context: CliContext): void {
  program
    .command("inspect")
    .description("list the tensors of a safetensors or LZR2 file")
    .argument("<file>")
    .option("--compat", "accept LZR2 records of unknown kind")
    .option("--json", "one JSON document")
    .action((file: string, options: InspectOptions) =>
      interruptible(context, (signal) => inspect(context, file, options, signal)),
    );
}

async function inspect(context: CliContext, file: string, options: InspectOptions, signal: AbortSignal): Promise<void> {
  await using source = await openFileSource(path.resolve(context.cwd, file));
  const container = await sniffContainer(source, signal);
  const rows: Row[] = [];
  let metadata: Record<string, string> = {};
  if (container === "lzr2") {
    for await (const row of lzr2Rows(source, options.compat ?? false, signal)) rows.push(row);
  } else {
    const header = await readSafetensorsHeader(source, signal);
    metadata = Object.fromEntries(header.metadata);
    for (const { name, dtype, shape, startByte, endByte } of header.table.values()) {
      rows.push({ name, dtype, shape, startByte, endByte });
    }
  }
  if (options.json) {
    const document = { file, container, fileBytes: source.byteLength, metadata, tensors: rows };
    context.stdout.write(`${JSON.stringify(document)}\n`);
    return;
  }
  const say = (line: string) => context.stdout.write(`${printable(line)}\n`);
  for (const { name, dtype, shape, startByte, endByte, note } of rows) {
    say(`${name}  ${dtype}  [${shape.join(", ")}]  ${byteCount(endByte - startByte)}${note ? `  (${note})` : ""}`);
  }
  for (const [key, value] of Object.entries(metadata)) say(`metadata ${key}: ${value}`);
  say(`${rows.length} tensors, ${container}, ${byteCount(source.byteLength)}`);
}

async function* lzr2Rows(source: ByteSource, compat: boolean, signal: AbortSignal): AsyncGenerator<Row> {
  for await (const { key, shape, startByte, endByte, tf, overlayRows } of readLzr2(source, {
    compat,
    signal,
    headersOnly: true,
  })) {
    const notes = [
      tf === 1 ? "" : "no payload: the model's own weight stays",
      overlayRows > 0 ? `${overlayRows} overlay rows` : "",
    ].filter((note) => note !== "");
    const row = { name: key, dtype: "f16", shape, startByte, endByte };
    yield notes.length > 0 ? { ...row, note: notes.join("; ") } : row;
  }
}
