/**
 * @file Runs in each test process, as `--import` and as `--test-reporter`: writes what happens to the file that
 * SOLVAY_TEST_EVENTS names, a line of JSON each, at once, so that what a killed process did is known.
 */
import asyncHooks from "node:async_hooks";
import { appendFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { inspect } from "node:util";
import { isMainThread } from "node:worker_threads";

/** What a test process tells. */
export type TestLine =
  | { readonly type: "begin" | "end"; readonly name: string }
  | { readonly type: "pass"; readonly name: string; readonly line: number }
  | { readonly type: "skip"; readonly name: string; readonly line: number; readonly reason: string }
  | { readonly type: "fail"; readonly name: string; readonly line: number; readonly error: string }
  | { readonly type: "complete"; readonly cpuSeconds: number };

/** Of node:test's events, what is used. */
interface RunnerEvent {
  readonly type: string;
  readonly data: {
    readonly name: string;
    readonly line?: number;
    readonly skip?: string | boolean;
    readonly todo?: string | boolean;
    readonly details?: { readonly type?: string; readonly error?: Error & { readonly failureType?: string } };
  };
}

/** USER_HZ, which is 100 on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100;

/** Characters: the difference of two long texts is of no use to anyone. */
const LONGEST_ERROR = 20_000;

const eventsFile = process.env.SOLVAY_TEST_EVENTS;

function write(line: TestLine): void {
  if (eventsFile) appendFileSync(eventsFile, `${JSON.stringify(line)}\n`);
}

if (isMainThread && eventsFile) {
  hookWithoutPromises();
  const { beforeEach, afterEach } = await import("node:test");
  // The runner's own events come too late where a test never lets go of the thread.
  const nameOf = (context: object) => ("fullName" in context ? String(context.fullName) : "a test");
  let running = "no test";
  beforeEach((context) => {
    running = nameOf(context);
    write({ type: "begin", name: running });
  });
  afterEach((context) => write({ type: "end", name: nameOf(context) }));
  process.on("unhandledRejection", (reason) => {
    const error = `nobody handled a promise's rejection: ${textOf(reason)}`;
    write({ type: "fail", name: running, line: 0, error });
  });
}

/**
 * node:test follows all asynchronous work, to know whose an error is that nobody caught. Promises among it took a fifth of the CPU
 * time of tests that read many small things, and only tell whose an unhandled rejection is: that of the test that runs.
 */
function hookWithoutPromises(): void {
  const { createHook } = asyncHooks;
  asyncHooks.createHook = (callbacks) => createHook({ ...callbacks, trackPromises: false });
}

export default async function* report(source: AsyncIterable<RunnerEvent>): AsyncGenerator<string> {
  for await (const event of source) {
    const line = lineOf(event);
    if (line) write(line);
  }
  const { user, system } = process.cpuUsage();
  write({ type: "complete", cpuSeconds: (user + system) / 1e6 + (await childrensCpuSeconds()) });
  yield "";
}

/** Of the processes that this one started and that ended; 0 where the system doesn't tell. */
async function childrensCpuSeconds(): Promise<number> {
  const stat = await readFile("/proc/self/stat", "utf8").catch(() => "");
  // Behind the name in brackets, which may hold anything: fields 16 and 17 of proc_pid_stat(5), in ticks.
  const [user = 0, system = 0] = stat
    .slice(stat.lastIndexOf(")") + 2)
    .split(" ")
    .slice(13, 15)
    .map(Number);
  return (user + system) / TICKS_PER_SECOND;
}

function lineOf({ type, data }: RunnerEvent): TestLine | undefined {
  const { name, line = 0, details } = data;
  if (type === "test:pass" && details?.type !== "suite") {
    const reason = data.skip ?? data.todo;
    if (reason === undefined) return { type: "pass", name, line };
    return { type: "skip", name, line, reason: typeof reason === "string" && reason ? reason : "no reason given" };
  }
  if (type === "test:fail" && details?.error && details.error.failureType !== "subtestsFailed") {
    return { type: "fail", name, line, error: textOf(details.error.cause ?? details.error) };
  }
  return undefined;
}

function textOf(error: unknown): string {
  const text = error instanceof Error ? (error.stack ?? error.message) : inspect(error);
  const cut = text.length - LONGEST_ERROR;
  return cut > 0 ? `${text.slice(0, LONGEST_ERROR)}\n(${cut} characters more)` : text;
}
