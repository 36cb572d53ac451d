/** @file `solvay again FILE`: a picture made again from what it says of itself, to the byte where that can be. */
import { readFile } from "node:fs/promises";
import path from "node:path";
import type { Command } from "commander";
import { printable, UsageError } from "../errors.ts";
import { readPictureHeader } from "../image/picture-header.ts";
import { type DecodedPng, decodePng } from "../image/png.ts";
import type { GenerateJob } from "../job/types.ts";
import { FileHashes } from "../node/file-hashes.ts";
import { readPicture as readPictureFile } from "../node/pictures.ts";
import { defaultStateFolder } from "../node/state/folder.ts";
import { type CliContext, interruptible, libraryOf } from "../terminal/context.ts";
import {
  addImageOptions,
  jobSettingsOf,
  type OptionValues,
  openRequestOf,
  previewOf,
  previewOption,
} from "../terminal/options.ts";
import { formatNamed } from "../terminal/output-file.ts";
import { paint } from "../terminal/painting.ts";
import { readSettings } from "../terminal/picture-settings.ts";
import { cardReason, remakeOf, unsaid } from "../terminal/remake.ts";
import { StatusLine } from "../terminal/status-line.ts";

interface AgainFlags extends OptionValues {
  readonly prompt?: string;
  readonly output?: string;
  readonly json?: boolean;
}

/** Pictures that are compared with their remake. */
const MAX_PICTURE_BYTES = 256 * 1024 ** 2;

export function addAgain(program: Command, context: CliContext): void {
  addImageOptions(
    program
      .command("again")
      .description("make a picture again from what its file says; options stand in place of what it says")
      .argument("<file>", "PNG, JPEG or WebP"),
  )
    .optionsGroup("Output:")
    .option("--prompt <text>", "another prompt")
    .option("--output <file>", "where to, replacing what is there (default: the next free output_NNN.png)")
    .addOption(previewOption())
    .option("--json", "events as JSON lines on stdout")
    .action((file: string, options: AgainFlags, command: Command) => again(context, file, chosen(options, command)));
}

/** Without the defaults, which would stand in place of what the picture says. */
function chosen(options: AgainFlags, command: Command): AgainFlags {
  return Object.fromEntries(Object.entries(options).filter(([name]) => command.getOptionValueSource(name) === "cli"));
}

async function again(context: CliContext, file: string, options: AgainFlags): Promise<void> {
  const { prompt, output, json = false } = options;
  const host = libraryOf(context);
  const say = new StatusLine(context);
  const settings = await interruptible(context, (signal) => readSettings(context, file, signal));
  const target = output === undefined ? undefined : { shown: output, file: path.resolve(context.cwd, output) };
  const format = target && formatNamed(target.shown);
  const changes = {
    ...(format !== undefined && format !== (settings.job.format ?? "png") && { format }),
    ...jobSettingsOf(options),
    ...(prompt !== undefined && { prompt }),
  };
  const { request, modelFound, reasons } = await interruptible(context, (signal) => {
    const hashes = new FileHashes(defaultStateFolder(context.env));
    const known = { of: (path: string) => hashes.of(path, signal), fileWith: (hash: string) => hashes.fileWith(hash) };
    return remakeOf(host, settings, openRequestOf(options), known);
  });
  if (!modelFound) {
    const name = settings.facts.model;
    throw new UsageError({
      code: "E_MODEL_UNKNOWN",
      subject: file,
      problem: name === undefined ? "it does not say which model made it" : `its model ${name} was not found here`,
      next: "name the model with --model",
    });
  }
  if (settings.job.refinerStart !== undefined && request.refiner === undefined) {
    const name = settings.facts.refiner;
    const problem =
      name === undefined
        ? "it does not say which refiner drew its last steps"
        : `its refiner ${name} was not found here`;
    throw new UsageError({ code: "E_MODEL_UNKNOWN", subject: file, problem, next: "name the refiner with --refiner" });
  }
  // A prompt of the user's was not drawn from the picture's template.
  const { template, negativeTemplate, template2, negativeTemplate2, ...others } = settings.job;
  const { hiresTemplate, hiresNegativeTemplate, ...rest } = others;
  const own = changes.format === undefined ? rest : { ...rest, quality: undefined, lossless: undefined };
  const job = {
    ...own,
    ...(template !== undefined && changes.prompt === undefined && { template }),
    ...(negativeTemplate !== undefined && changes.negativePrompt === undefined && { negativeTemplate }),
    ...(template2 !== undefined && changes.prompt2 === undefined && { template2 }),
    ...(negativeTemplate2 !== undefined && changes.negativePrompt2 === undefined && { negativeTemplate2 }),
    ...(hiresTemplate !== undefined && changes.hiresPrompt === undefined && { hiresTemplate }),
    ...(hiresNegativeTemplate !== undefined && changes.hiresNegativePrompt === undefined && { hiresNegativeTemplate }),
    ...changes,
  };
  if (job.prompt === undefined) {
    const problem = "what it says of its prompt is not understood";
    throw new UsageError({ code: "E_NO_PROMPT", subject: file, problem, next: "give a prompt with --prompt" });
  }
  const why = [...reasons, ...unsaid(job)];
  if (json)
    context.stdout.write(`${JSON.stringify({ type: "again", file, tool: settings.tool, job, reasons: why })}\n`);
  else if (why.length > 0) {
    say.say(printable(`Not byte for byte the picture that ${settings.tool} made:`));
    for (const reason of why) say.say(printable(`  ${reason}`));
  }
  const before = Object.keys(changes).length === 0 ? await original(host.absolute(file)) : undefined;
  await paint(context, {
    ...{ request, json, preview: previewOf(options), jobs: [job as GenerateJob], targets: [target] },
    onOpened: (info) => {
      for (const reason of cardReason(settings, info)) {
        if (json) context.stdout.write(`${JSON.stringify({ type: "note", text: reason })}\n`);
        else say.say(printable(`Maybe other bytes: ${reason}`));
      }
    },
    onPicture: async ({ bytes }) => {
      if (!before) return;
      const verdict = await compared(before, new Uint8Array(bytes));
      if (json) context.stdout.write(`${JSON.stringify({ type: "compared", verdict })}\n`);
      else say.say(verdict);
    },
  });
}

async function original(file: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const bytes = await readFile(file).catch(() => undefined);
  return bytes && bytes.length <= MAX_PICTURE_BYTES ? new Uint8Array(bytes) : undefined;
}

async function pixelsOf(file: Uint8Array<ArrayBuffer>): Promise<DecodedPng> {
  if (readPictureHeader(file, "the picture").format === "PNG") return await decodePng(file);
  const { rgb, ...size } = await readPictureFile(file, { name: "the picture" });
  return { ...size, channels: 3, pixels: rgb };
}

/** How the new file differs from the old one, in words. */
async function compared(before: Uint8Array<ArrayBuffer>, after: Uint8Array<ArrayBuffer>): Promise<string> {
  if (before.length === after.length && before.every((byte, at) => byte === after[at])) {
    return "The same file, byte for byte.";
  }
  const [old, made] = await Promise.all([before, after].map((file) => pixelsOf(file).catch(() => undefined)));
  if (!old || !made) return "Another file than before.";
  if (old.width !== made.width || old.height !== made.height || old.channels !== made.channels) {
    return `Another size than before, ${old.width}x${old.height}.`;
  }
  let differing = 0;
  let largest = 0;
  for (const [at, value] of made.pixels.entries()) {
    const difference = Math.abs(value - old.pixels[at]!);
    if (difference > 0) differing++;
    largest = Math.max(largest, difference);
  }
  if (differing === 0) return "The same pixels; what the file says of them differs.";
  return `Other pixels: ${differing} of ${made.pixels.length} values differ, by up to ${largest} of 255.`;
}
