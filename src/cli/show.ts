/** @file `solvay show FILE...`: how a picture was made, as it says itself, and whether it can be made again here. */
import type { Command } from "commander";
import { printable } from "../errors.ts";
import { type PictureTexts, readPictureTexts } from "../image/metadata/picture-texts.ts";
import type { Field } from "../job/field-type.ts";
import { JOB_FIELDS } from "../job/fields.ts";
import type { PictureSettings } from "../job/picture-settings.ts";
import { readPicture } from "../job/read-picture.ts";
import { textOfValue } from "../job/text.ts";
import { FileHashes } from "../node/file-hashes.ts";
import { defaultStateFolder } from "../node/state/folder.ts";
import { type CliContext, interruptible, libraryOf } from "../terminal/context.ts";
import { type Remake, remakeOf } from "../terminal/remake.ts";

interface ShowOptions {
  readonly json?: boolean;
}

export function addShow(program: Command, context: CliContext): void {
  program
    .command("show")
    .description("how a picture was made, by what its file says: ours, A1111's, ComfyUI's and others'")
    .argument("<files...>", "PNG, JPEG or WebP")
    .option("--json", "one JSON document a line for each file")
    .action((files: string[], options: ShowOptions) =>
      interruptible(context, async (signal) => {
        for (const [i, file] of files.entries()) {
          const shown = await read(context, file, signal);
          if (options.json) context.stdout.write(`${JSON.stringify(jsonOf(file, shown))}\n`);
          else context.stdout.write(`${i > 0 ? "\n" : ""}${textOf(file, shown).join("\n")}\n`);
        }
      }),
    );
}

interface Shown {
  readonly texts: PictureTexts;
  readonly settings: PictureSettings | undefined;
  readonly remake: Remake | undefined;
}

async function read(context: CliContext, file: string, signal: AbortSignal): Promise<Shown> {
  const host = libraryOf(context);
  await using source = await host.openFile(host.absolute(file));
  const texts = await readPictureTexts(source, signal);
  const settings = readPicture(texts);
  // No model is read for a look at a picture.
  const hashes = new FileHashes(defaultStateFolder(context.env));
  const known = { of: (path: string) => hashes.known(path), fileWith: (hash: string) => hashes.fileWith(hash) };
  return { texts, settings, remake: settings && (await remakeOf(host, settings, {}, known)) };
}

/** Others' texts may hold line breaks, and hostile ones control characters. */
function textOf(file: string, { texts, settings, remake }: Shown): string[] {
  const size = texts.width === undefined ? "" : `, ${texts.width}x${texts.height}`;
  const head = `${file}: ${texts.format}${size}${settings ? `, made by ${settings.tool}` : ""}`;
  const notes = texts.notes.map((note) => `Note: ${note}`);
  if (!settings || !remake) {
    const found = texts.texts.map(({ keyword, text }) => `${keyword} (${text.length} characters)`);
    const held = found.length === 0 ? "It has no texts." : `Its texts: ${found.join(", ")}.`;
    return [printable(head), "Nothing in it says how it was made.", printable(held), ...notes.map(printable)];
  }
  const job: Readonly<Record<string, unknown>> = { ...settings.job };
  const rows = [
    ...Object.entries<Field>(JOB_FIELDS).map(
      ([name, { kind }]) => [name, job[name] === undefined ? undefined : textOfValue(kind, job[name])] as const,
    ),
    ...Object.entries(settings.facts),
    ...settings.others,
  ].filter(([, value]) => value !== undefined);
  const width = Math.min(24, Math.max(...rows.map(([name]) => name.length)));
  const lines = rows.flatMap(([name, value]) => {
    const [first = "", ...rest] = String(value).split("\n");
    return [`  ${name.padEnd(width)}  ${first}`, ...rest.map((line) => `  ${"".padEnd(width)}  ${line}`)];
  });
  const verdict =
    remake.reasons.length === 0
      ? [`Made again byte for byte by: solvay again (on ${settings.facts.adapter ?? "the machine that made it"}).`]
      : ["Not byte for byte here:", ...remake.reasons.map((reason) => `  ${reason}`)];
  return [head, ...lines, ...verdict, ...notes].map(printable);
}

function jsonOf(file: string, { texts, settings, remake }: Shown): object {
  const { format, width, height, notes } = texts;
  const keywords = texts.texts.map(({ keyword }) => keyword);
  if (!settings || !remake) return { file, format, width, height, texts: keywords, notes };
  const { source, tool, job, facts, others } = settings;
  const { modelFound, reasons } = remake;
  return {
    ...{ file, format, width, height, source, tool, job, facts, others: Object.fromEntries(others) },
    notes: [...notes, ...settings.notes],
    remake: { exact: reasons.length === 0, modelFound, reasons },
  };
}
