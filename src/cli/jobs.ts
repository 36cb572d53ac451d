/** @file `solvay jobs ...`: the queue of a server, from any terminal: what waits, runs and is over, and what to do about it. */
import { readFile } from "node:fs/promises";
import path from "node:path";
import { type Command, Option } from "commander";
import { printable, UsageError } from "../errors.ts";
import { wholeFromText } from "../job/text.ts";
import type { JobDesk } from "../server/job-desk.ts";
import { JOB_STATES, type JobRecord, type JobState } from "../server/queue/job-record.ts";
import { type CliContext, interruptible } from "../terminal/context.ts";

interface DeskFlags {
  readonly server?: string;
  readonly database?: string;
  readonly apiKeyFile?: string;
  readonly json?: boolean;
}

interface ListFlags extends DeskFlags {
  readonly state?: JobState;
  readonly limit: number;
}

const SERVER = "http://127.0.0.1:7860";
const MAX_LIMIT = 500;
const MAX_PRIORITY = 100;
const PROMPT_CHARS = 60;

export function addJobs(program: Command, context: CliContext): void {
  const group = program.command("jobs").description("the jobs of a server: list, show, cancel, retry, priority");
  const command = (name: string, description: string) =>
    group
      .command(name)
      .description(description)
      .option("--server <url>", `a server's address, also by SOLVAY_SERVER (default: ${SERVER})`)
      .option("--database <url>", "the database that servers and workers share, in place of a server")
      .option("--api-key-file <file>", "its first key is sent; also by SOLVAY_API_KEY")
      .option("--json", "one JSON document");
  const print = ({ json }: DeskFlags, document: object, lines: readonly string[]) => {
    const text = json ? [JSON.stringify(document)] : lines.map(printable);
    for (const line of text) context.stdout.write(`${line}\n`);
  };
  /** A command that does the same to each of some jobs. */
  const each = (name: string, description: string, work: (desk: JobDesk, id: string) => Promise<JobRecord>) =>
    command(name, description)
      .argument("<id...>", "their numbers")
      .action((ids: string[], options: DeskFlags) =>
        withDesk(context, options, async (desk) => {
          const jobs: JobRecord[] = [];
          for (const id of ids) jobs.push(await work(desk, id));
          print(options, { jobs }, jobs.map(lineOf));
        }),
      );

  command("list", "the newest jobs first")
    .addOption(new Option("--state <state>", "only those").choices(JOB_STATES))
    .option("--limit <n>", "how many", (text) => wholeFromText("--limit", text, 1, MAX_LIMIT), 50)
    .action((options: ListFlags) =>
      withDesk(context, options, async (desk) => {
        const jobs = await desk.list(options.limit, options.state);
        print(options, { jobs }, jobs.length > 0 ? jobs.map(lineOf) : ["no jobs"]);
      }),
    );
  command("show", "all that is known of one job")
    .argument("<id>", "its number")
    .action((id: string, options: DeskFlags) =>
      withDesk(context, options, async (desk) => {
        const job = await desk.get(id);
        print(options, job, linesOf(job));
      }),
    );
  each("cancel", "take jobs out of the queue, or stop them within a step", (desk, id) => desk.cancel(id));
  each("retry", "put failed or cancelled jobs into the queue again", (desk, id) => desk.retry(id));
  command("priority", "put a waiting job before or behind others")
    .argument("<id>", "its number")
    .argument("<n>", `higher ones come first (-${MAX_PRIORITY} to ${MAX_PRIORITY})`, priorityOf)
    .action((id: string, priority: number, options: DeskFlags) =>
      withDesk(context, options, async (desk) => {
        const job = await desk.prioritise(id, priority);
        print(options, job, [lineOf(job)]);
      }),
    );
}

async function withDesk(
  context: CliContext,
  options: DeskFlags,
  work: (desk: JobDesk) => Promise<void>,
): Promise<void> {
  const { cwd, env } = context;
  const { server, database, apiKeyFile } = options;
  if (server !== undefined && database !== undefined) {
    const problem = "a server and a database at once";
    throw new UsageError({ code: "E_USAGE", subject: "--server", problem, next: "give one of them" });
  }
  const { serverDesk, databaseDesk } = await import("../server/job-desk.ts");
  await interruptible(context, async (signal) => {
    const key =
      apiKeyFile === undefined ? env.SOLVAY_API_KEY : firstKey(await readFile(path.resolve(cwd, apiKeyFile), "utf8"));
    await using desk =
      database === undefined
        ? serverDesk(server ?? env.SOLVAY_SERVER ?? SERVER, key, signal)
        : await databaseDesk(database);
    await work(desk);
  });
}

/** Commander takes what begins with a dash and a digit for an argument. */
function priorityOf(text: string): number {
  const priority = /^-?\d{1,3}$/.test(text) ? Number(text) : Number.NaN;
  if (Math.abs(priority) <= MAX_PRIORITY) return priority;
  const problem = `no priority (found ${JSON.stringify(text)}, allowed -${MAX_PRIORITY} to ${MAX_PRIORITY})`;
  throw new UsageError({ code: "E_USAGE", problem, next: "give a whole number in that range" });
}

/** Of lines such as serve takes: name:KEY, or a key alone. */
function firstKey(text: string): string | undefined {
  const lines = text.split(/\r?\n/).map((line) => line.trim());
  const line = lines.find((each) => each !== "" && !each.startsWith("#"));
  return line?.slice(line.indexOf(":") + 1).trim();
}

function lineOf({ id, state, priority, step, steps, job, error }: JobRecord): string {
  const far = state === "running" && steps !== undefined ? `${step}/${steps}` : "";
  const what =
    error?.code ?? (job.prompt.length > PROMPT_CHARS ? `${job.prompt.slice(0, PROMPT_CHARS)}...` : job.prompt);
  return `${id}  ${state.padEnd(9)}  ${far.padEnd(7)}  ${String(priority).padStart(4)}  ${what}`;
}

function linesOf(record: JobRecord): readonly string[] {
  const { id, state, model, owner, priority, step, steps, job, error, asset } = record;
  const { createdAt, startedAt, finishedAt } = record;
  const said: Readonly<Record<string, unknown>> = {
    ...{ id, state, model, owner, priority, step: steps === undefined ? undefined : `${step} of ${steps}` },
    ...{ asked: createdAt, began: startedAt, ended: finishedAt, picture: asset, error: error?.message },
    ...job,
  };
  return Object.entries(said).flatMap(([name, value]) => {
    if (value === undefined || value === "") return [];
    return [`${name}: ${typeof value === "object" ? JSON.stringify(value) : String(value)}`];
  });
}
