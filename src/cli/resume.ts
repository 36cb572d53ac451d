/** @file `solvay resume [FILE]`: goes on with a picture that was stopped, to the same bytes that it would have had. */
import path from "node:path";
import type { Command } from "commander";
import { printable, UsageError } from "../errors.ts";
import type { OpenRequest } from "../job/checked.ts";
import { BUDGET_FIELDS, OPEN_FIELDS } from "../job/fields.ts";
import { namedPictures, withNamedPictures } from "../job/named-pictures.ts";
import { pictureReference } from "../job/picture.ts";
import { type ReadUnfinished, readUnfinished } from "../job/resume-file.ts";
import type { EngineInfo, GenerateJob } from "../job/types.ts";
import { type CliContext, interruptible, libraryOf } from "../terminal/context.ts";
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
  const [file, ...others] = files;
  if (file === undefined) {
    const problem = `there is no unfinished picture here, nor in ${stateFolderOf(env)}`;
    throw new UsageError({ code: "E_RESUME", problem, next: "name its file: solvay resume FILE" });
  }
  if (others.length > 0) {
    const problem = `there are ${files.length} unfinished pictures: ${files.map((each) => shownPath(cwd, each)).join(", ")}`;
    throw new UsageError({ code: "E_RESUME", problem, next: "name one: solvay resume FILE" });
  }
  const read = await interruptible(context, (signal) => open(context, file, signal));
  const shown = shownPath(cwd, file);
  const { checkJob, checkOpen } = await import("../job/schema.ts");
  const { output } = options;
  const target = output === undefined ? undefined : { shown: output, file: path.resolve(cwd, output) };
  const job = renamed(jobHere(checkJob(read.job), read.cwd, cwd), target);
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
  await requireSameFiles(context, { shown, read, job, request: recorded }, note);
  const folder = path.dirname(file) === stateFolderOf(env) ? cwd : path.dirname(file);
  if (!options.json) say.say(printable(`Going on after step ${read.state.step} of ${read.steps}: ${job.prompt}`));
  await paint(context, {
    ...{ request, json: options.json, preview: previewOf(options), jobs: [job], targets: [target] },
    saveEvery: saveEveryOf(options),
    resumed: { state: read.state, file, output: read.output, folder, pictures: read.pictures },
    onOpened: (info) => {
      for (const text of differences(read, info)) note(text);
    },
  });
}

async function allUnfinished({ cwd, env }: CliContext): Promise<string[]> {
  return [...(await unfinishedIn(cwd)), ...(await unfinishedIn(stateFolderOf(env)))];
}

async function open(context: CliContext, file: string, signal?: AbortSignal): Promise<ReadUnfinished> {
  await using source = await libraryOf(context).openFile(file);
  return await readUnfinished(source, signal);
}

async function list(context: CliContext, files: readonly string[], json: boolean): Promise<void> {
  for (const file of files) {
    const read = await open(context, file).catch((error: unknown) => error as Error);
    const shown = shownPath(context.cwd, file);
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

/** Pictures that the job begins with lie where they lay; one whose path means another file here is named by its whole path. */
function jobHere(job: GenerateJob, then: string, now: string): GenerateJob {
  const moved = new Map<string, string>();
  for (const { name, reference: text } of namedPictures(job)) {
    if (pictureReference(name, text).kind !== "file") continue;
    if (path.resolve(then, text) !== path.resolve(now, text)) moved.set(name, path.resolve(then, text));
  }
  return withNamedPictures(job, moved);
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
