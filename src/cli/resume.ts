/** @file `solvay resume [FILE]`: goes on with a picture that was stopped, to the same bytes that it would have had. */
import { existsSync } from "node:fs";
import path from "node:path";
import type { Command } from "commander";
import { printable, UsageError } from "../errors.ts";
import type { OpenRequest } from "../job/checked.ts";
import { BUDGET_FIELDS, OPEN_FIELDS } from "../job/fields.ts";
import { type PlaceInSeries, type ReadUnfinished, readUnfinished } from "../job/resume-file.ts";
import type { EngineInfo, GenerateJob } from "../job/types.ts";
import { type CliContext, interruptible, libraryOf } from "../terminal/context.ts";
import { isSeriesFile, KeptSeries, readSeries, seriesIn } from "../terminal/kept-series.ts";
import { hashesHere, jobHere } from "../terminal/moved-job.ts";
import {
  addFields,
  type OptionValues,
  openRequestOf,
  previewOf,
  previewOption,
  saveEveryOf,
  saveEveryOption,
} from "../terminal/options.ts";
import { formatNamed, type Target } from "../terminal/output-file.ts";
import { paint } from "../terminal/painting.ts";
import { stateFolderOf, unfinishedIn } from "../terminal/resume-names.ts";
import { StatusLine } from "../terminal/status-line.ts";
import { changedSince, modelContent, pictureContents } from "../terminal/unfinished.ts";
import { SOLVAY_VERSION } from "../version.ts";

interface ResumeFlags extends OptionValues {
  readonly list?: boolean;
  readonly output?: string;
  readonly json?: boolean;
}

/** What may be another than when the picture was begun. */
const { backend, adapter, precision } = OPEN_FIELDS;

export function addResume(program: Command, context: CliContext): void {
  const command = program
    .command("resume")
    .description("go on with a picture that was stopped: to the same bytes, where the same computes")
    .argument("[file.resume]", "default: the only one here or in the folder for state");
  addFields(addFields(command, { backend, adapter, precision }), BUDGET_FIELDS)
    .optionsGroup("Output:")
    .option("--list", "show which there are, and make none")
    .option("--output <file>", "where to, replacing what is there (default: the name that it would have had, if free)")
    .addOption(previewOption())
    .addOption(saveEveryOption())
    .option("--json", "events as JSON lines on stdout")
    .action((file: string | undefined, options: ResumeFlags, self: Command) => {
      const given = Object.entries(options).filter(([name]) => self.getOptionValueSource(name) === "cli");
      return resume(context, file, Object.fromEntries(given));
    });
}

async function resume(context: CliContext, named: string | undefined, options: ResumeFlags): Promise<void> {
  const { cwd, env } = context;
  const files = named === undefined ? await allUnfinished(context) : [path.resolve(cwd, named)];
  if (options.list) return await list(context, files, options.json === true);
  const [file, ...others] = named === undefined ? await withoutParts(context, files) : files;
  if (file === undefined) {
    const problem = `there is no unfinished picture here, nor in ${stateFolderOf(env)}`;
    throw new UsageError({ code: "E_RESUME", problem, next: "name its file: solvay resume FILE" });
  }
  if (others.length > 0) {
    const all = [file, ...others];
    const problem = `there are ${all.length} unfinished pictures: ${all.map((each) => shownPath(cwd, each)).join(", ")}`;
    throw new UsageError({ code: "E_RESUME", problem, next: "name one: solvay resume FILE" });
  }
  if (isSeriesFile(file)) await resumeSeries(context, file, options);
  else await resumePicture(context, file, options);
}

/** Its pictures that were begun, then those that were not. */
async function resumeSeries(context: CliContext, file: string, options: ResumeFlags): Promise<void> {
  const { cwd } = context;
  const read = await readSeries(file);
  if (options.output !== undefined) {
    const problem = "the pictures of a series have names of their own";
    throw new UsageError({ code: "E_USAGE", subject: "--output", problem, next: "leave --output away" });
  }
  for (const part of await partsOf(context, read.id, path.dirname(file))) await resumePicture(context, part, options);
  // What was finished just now is left in it no more.
  const still = await readSeries(file).catch(() => undefined);
  if (!still || still.left.length === 0) return;
  const { checkJob, checkOpen } = await import("../job/schema.ts");
  const { budgets, ...open_ } = openRequestOf(options);
  const recorded = checkOpen({ ...still.request });
  const left = still.left.map((picture) => ({ ...picture, job: jobHere(checkJob(picture.job), still.cwd, cwd) }));
  const head = { id: still.id, cwd: still.cwd, request: recorded };
  await paint(context, {
    request: { ...recorded, ...open_, budgets: { ...recorded.budgets, ...budgets } },
    ...{ json: options.json, preview: previewOf(options), saveEvery: saveEveryOf(options) },
    jobs: left.map(({ job }) => job),
    targets: left.map(({ output }) => freeTarget(context, path.dirname(file), output)),
    series: new KeptSeries(file, head, left),
  });
}

/** Beside the file of the series; what is there meanwhile is not replaced. */
function freeTarget({ cwd, env }: CliContext, beside: string, output: string | null): Target | undefined {
  const folder = beside === stateFolderOf(env) ? cwd : beside;
  if (output === null || existsSync(path.join(folder, output))) return undefined;
  return { shown: shownPath(cwd, path.join(folder, output)), file: path.join(folder, output) };
}

/** Files of pictures of a series that were begun, in its order. */
async function partsOf(context: CliContext, id: string, folder: string): Promise<string[]> {
  const files = new Set([...(await unfinishedIn(folder)), ...(await allUnfinished(context))]);
  const found: { readonly file: string; readonly index: number }[] = [];
  for (const file of files) {
    if (isSeriesFile(file)) continue;
    const place = (await open(context, file).catch(() => undefined))?.place;
    if (place?.series === id) found.push({ file, index: place.index });
  }
  return found.toSorted((a, b) => a.index - b.index).map(({ file }) => file);
}

/** Without the pictures of series that are among them. */
async function withoutParts(context: CliContext, files: readonly string[]): Promise<string[]> {
  const parts = new Set<string>();
  for (const file of files.filter(isSeriesFile)) {
    const id = (await readSeries(file).catch(() => undefined))?.id;
    if (id !== undefined) for (const part of await partsOf(context, id, path.dirname(file))) parts.add(part);
  }
  return files.filter((file) => !parts.has(file));
}

/** The picture is no more left of its series. */
async function tickOff(context: CliContext, { series, index }: PlaceInSeries, folder: string): Promise<void> {
  const { cwd, env } = context;
  for (const where of new Set([folder, cwd, stateFolderOf(env)])) {
    for (const file of await seriesIn(where)) {
      const read = await readSeries(file).catch(() => undefined);
      if (read?.id !== series) continue;
      const left = read.left.map((picture) => ({ ...picture, job: picture.job as unknown as GenerateJob }));
      await new KeptSeries(file, read, left).done(index);
    }
  }
}

async function resumePicture(context: CliContext, file: string, options: ResumeFlags): Promise<void> {
  const { cwd, env } = context;
  const read = await interruptible(context, (signal) => open(context, file, signal));
  const shown = shownPath(cwd, file);
  const { checkJob, checkOpen } = await import("../job/schema.ts");
  const { output } = options;
  const target = output === undefined ? undefined : { shown: output, file: path.resolve(cwd, output) };
  const begun = checkJob(read.job);
  const job = renamed(jobHere(begun, read.cwd, cwd), target);
  const { budgets, ...open_ } = openRequestOf(options);
  const recorded = checkOpen({ ...read.request });
  const request: OpenRequest = {
    ...recorded,
    // What "auto" chose: another would give other pixels.
    backend: OPEN_FIELDS.backend.kind.values.find((name) => name === read.computed.backend) ?? recorded.backend,
    ...open_,
    budgets: { ...recorded.budgets, ...budgets },
  };
  const say = new StatusLine(context);
  const note = (text: string) => {
    if (options.json) context.stdout.write(`${JSON.stringify({ type: "note", text })}\n`);
    else say.say(printable(`Note: ${text}`));
  };
  const pictures = hashesHere(read, begun, job);
  await requireSameFiles(context, { shown, read: { ...read, pictures }, job, request: recorded }, note);
  const folder = path.dirname(file) === stateFolderOf(env) ? cwd : path.dirname(file);
  if (!options.json) say.say(printable(`Going on after step ${read.state.step} of ${read.steps}: ${job.prompt}`));
  await paint(context, {
    ...{ request, json: options.json, preview: previewOf(options), jobs: [job], targets: [target] },
    saveEvery: saveEveryOf(options),
    resumed: { state: read.state, file, output: read.output, folder, pictures },
    place: read.place,
    onOpened: (info) => {
      for (const text of differences(read, info)) note(text);
    },
  });
  if (read.place) await tickOff(context, read.place, path.dirname(file));
}

async function allUnfinished({ cwd, env }: CliContext): Promise<string[]> {
  const found: string[] = [];
  for (const folder of new Set([cwd, stateFolderOf(env)])) {
    found.push(...(await unfinishedIn(folder)), ...(await seriesIn(folder)));
  }
  return found;
}

async function open(context: CliContext, file: string, signal?: AbortSignal): Promise<ReadUnfinished> {
  await using source = await libraryOf(context).openFile(file);
  return await readUnfinished(source, signal);
}

async function list(context: CliContext, files: readonly string[], json: boolean): Promise<void> {
  for (const file of files) {
    const shown = shownPath(context.cwd, file);
    if (isSeriesFile(file)) {
      const series = await readSeries(file).catch((error: unknown) => error as Error);
      const [first] = series instanceof Error ? [] : series.left;
      const told = series instanceof Error ? { problem: series.message } : { pictures: series.left.length };
      const words =
        series instanceof Error ? series.message : `${series.left.length} pictures of a series: ${first?.job.prompt}`;
      context.stdout.write(json ? `${JSON.stringify({ file, ...told })}\n` : `${printable(`${shown}: ${words}`)}\n`);
      continue;
    }
    const read = await open(context, file).catch((error: unknown) => error as Error);
    if (json) {
      const { state, ...rest } = read instanceof Error ? { state: undefined, problem: read.message } : read;
      context.stdout.write(`${JSON.stringify({ file, step: state?.step, ...rest })}\n`);
    } else if (read instanceof Error) context.stdout.write(`${printable(`${shown}: ${read.message}`)}\n`);
    else {
      const { state, steps, job, computed } = read;
      const what = `step ${state.step} of ${steps}, ${computed.model} (${computed.backend}): ${String(job.prompt)}`;
      context.stdout.write(`${printable(`${shown}: ${what}`)}\n`);
    }
  }
  if (files.length === 0 && !json) context.stdout.write("No unfinished picture is here.\n");
}

/** In the format that another name asks for. */
function renamed(job: GenerateJob, target: Target | undefined): GenerateJob {
  const format = target && formatNamed(target.shown);
  if (format === undefined || format === (job.format ?? "png")) return job;
  return { ...job, format, quality: undefined, lossless: undefined };
}

interface Reopened {
  readonly shown: string;
  readonly read: ReadUnfinished;
  readonly job: GenerateJob;
  readonly request: OpenRequest;
}

/** Rejects with ArtifactError `E_RESUME_CHANGED` where the picture would be half of one model's, half of another's. */
async function requireSameFiles(
  context: CliContext,
  { shown, read, job, request }: Reopened,
  note: (text: string) => void,
): Promise<void> {
  const changed = (what: string) => changedSince(shown, what);
  if (read.modelContent === undefined) note("whether the model is still the same was not noted");
  else if (read.modelContent !== (await modelContent(libraryOf(context), request))) {
    throw changed(`the model ${read.computed.model}`);
  }
  const pictures = await pictureContents(job, context.cwd);
  for (const [field, sha256] of Object.entries(pictures)) {
    if (read.pictures[field] !== undefined && read.pictures[field] !== sha256) throw changed(`the picture ${field}`);
  }
}

/** Why other bytes may come of it. */
function differences({ version, computed }: ReadUnfinished, info: EngineInfo): string[] {
  const pairs = [
    ["Solvay", version, SOLVAY_VERSION],
    ["the backend", computed.backend, info.backend],
    ["the adapter", computed.adapter ?? "none", info.adapter ?? "none"],
    ["the precision", computed.precision, info.precision],
  ] as const;
  const told = pairs.filter(([, then, now]) => then !== now);
  return told.map(([what, then, now]) => `${what} was ${then}, now it is ${now}: the rest may come out otherwise`);
}

function shownPath(cwd: string, file: string): string {
  return path.dirname(file) === cwd ? path.basename(file) : file;
}
