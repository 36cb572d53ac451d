/** @file One test file in a process of its own: what came of it, within a time, with everything it started ended afterwards. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { TestLine } from "./reporter.ts";

export interface FileRunOptions {
  readonly cwd: string;
  readonly env: NodeJS.ProcessEnv;
  /** For its events and its temporary files; what is put there goes away again. */
  readonly folder: string;
  readonly limitMs: number;
}

export interface FileResult {
  readonly passed: number;
  /** "LINE NAME" and the error's text; LINE is 0 where none is known, as of the file as a whole. */
  readonly failures: readonly { readonly where: string; readonly error: string }[];
  readonly skips: readonly { readonly where: string; readonly reason: string }[];
  readonly elapsedMs: number;
  /** With what it started and saw end; undefined where it didn't come to its end. */
  readonly cpuSeconds: number | undefined;
}

const REPORTER = new URL("./reporter.ts", import.meta.url).href;
/** JavaScript's heap, MiB: a test that needs more fails by itself, before the machine does. */
const HEAP_MIB = 2048;

const running = new Set<ChildProcess>();

/** Kills all files that run, with what they started. */
export function killRunning(): void {
  for (const child of running) killGroup(child);
}

export async function runFile(file: string, { cwd, env, folder, limitMs }: FileRunOptions): Promise<FileResult> {
  const own = mkdtempSync(path.join(folder, "t-"));
  const events = `${own}.events`;
  writeFileSync(events, "");
  const startedMs = performance.now();
  const reporting = ["--import", REPORTER, `--test-reporter=${REPORTER}`, "--test-reporter-destination=stdout"];
  const child = spawn(process.execPath, [`--max-old-space-size=${HEAP_MIB}`, ...reporting, file], {
    cwd,
    env: { ...env, SOLVAY_TEST_EVENTS: events, TMPDIR: own },
    stdio: ["ignore", "ignore", "inherit"],
    // A group of its own, which can be killed as a whole.
    detached: process.platform !== "win32",
  });
  running.add(child);
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    killGroup(child);
  }, limitMs);
  const ended = await new Promise<string>((resolve) => {
    child.once("error", (error) => resolve(`it can't be started: ${error.message}`));
    child.once("exit", (code, signal) => resolve(signal ? `it was ended by ${signal}` : `exit code ${code}`));
  });
  clearTimeout(timer);
  killGroup(child);
  running.delete(child);
  const lines = readLines(events);
  rmSync(own, { recursive: true, force: true, maxRetries: 3 });
  rmSync(events, { force: true });
  const result = resultOf(lines, performance.now() - startedMs);
  const complete = result.cpuSeconds !== undefined;
  if (late) return withFailure(result, `no end after ${describeTime(limitMs)}: killed ${placeOf(lines)}`);
  if (ended === "exit code 0" && complete) return result;
  if (ended === "exit code 1" && complete && result.failures.length > 0) return result;
  return withFailure(result, `${ended} ${placeOf(lines)}`);
}

function killGroup(child: ChildProcess): void {
  try {
    if (process.platform === "win32") child.kill("SIGKILL");
    else if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
  } catch {
    // Nothing of it is left.
  }
}

function readLines(events: string): TestLine[] {
  const lines: TestLine[] = [];
  for (const text of readFileSync(events, "utf8").split("\n")) {
    // The last one may have been cut.
    if (text.endsWith("}")) lines.push(JSON.parse(text) as TestLine);
  }
  return lines;
}

function resultOf(lines: readonly TestLine[], elapsedMs: number): FileResult {
  const failures: { where: string; error: string }[] = [];
  const skips: { where: string; reason: string }[] = [];
  let passed = 0;
  let cpuSeconds: number | undefined;
  for (const line of lines) {
    if (line.type === "pass") passed++;
    else if (line.type === "skip") skips.push({ where: `${line.line} ${line.name}`, reason: line.reason });
    else if (line.type === "fail") failures.push({ where: `${line.line} ${line.name}`, error: line.error });
    else if (line.type === "complete") cpuSeconds = line.cpuSeconds;
  }
  return { passed, failures, skips, elapsedMs, cpuSeconds };
}

function withFailure(result: FileResult, error: string): FileResult {
  return { ...result, failures: [...result.failures, { where: "0 the file as a whole", error }] };
}

/** What a process that didn't end well was at. */
function placeOf(lines: readonly TestLine[]): string {
  const open: string[] = [];
  let last: string | undefined;
  for (const line of lines) {
    if (line.type === "begin") open.push(line.name);
    if (line.type !== "end") continue;
    const at = open.lastIndexOf(line.name);
    if (at >= 0) open.splice(at, 1);
    last = line.name;
  }
  if (open.length > 0) return `while "${open.at(-1)}" ran`;
  if (last === undefined) return "before its first test began";
  return `after "${last}"`;
}

function describeTime(ms: number): string {
  return ms >= 60_000 ? `${Math.round(ms / 6000) / 10} minutes` : `${ms / 1000} seconds`;
}
