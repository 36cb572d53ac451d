/**
 * @file Runs the tests: `npm test`, or `npm test -- test/unit test/cli/pack.test.ts` for some of them.
 * One line a file, details of failures, skipped tests with their reasons; the last line is `N passed, N failed`.
 */
import { globSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { run } from "node:test";
import { inspect } from "node:util";

const root = path.resolve(import.meta.dirname, "..");
const asked = process.argv.slice(2).map((name) => path.resolve(root, name));
const files = globSync("test/**/*.test.ts", { cwd: root })
  .map((name) => path.join(root, name))
  .filter((file) => asked.length === 0 || asked.some((name) => file === name || file.startsWith(name + path.sep)))
  .sort();

interface FileCount {
  passed: number;
  failed: number;
  skipped: number;
  readonly startedMs: number;
}
const counts = new Map<string, FileCount>();
const skips: string[] = [];
const failures: string[] = [];

const say = (line: string) => process.stdout.write(`${line}\n`);
const relative = (file: string | undefined) => (file ? path.relative(root, file) : "?");
const label = (data: { file?: string; line?: number; name: string }) =>
  `${relative(data.file)}:${data.line ?? 0} ${data.name}`;

function countOf(file: string | undefined): FileCount {
  const key = relative(file);
  let count = counts.get(key);
  if (!count) {
    count = { passed: 0, failed: 0, skipped: 0, startedMs: performance.now() };
    counts.set(key, count);
  }
  return count;
}

// What this machine remembers of itself (speeds, graphics devices) is neither read nor changed by tests.
const state = mkdtempSync(path.join(tmpdir(), "solvay-state-"));
process.env.SOLVAY_STATE = state;
process.on("exit", () => rmSync(state, { recursive: true, force: true }));

if (files.length > 0) {
  const stream = run({ files, concurrency: 2, cwd: root });
  stream.on("test:dequeue", (data) => countOf(data.file));
  stream.on("test:pass", (data) => {
    if (data.details.type === "suite") return;
    if (data.skip !== undefined || data.todo !== undefined) {
      const reason = data.skip ?? data.todo;
      countOf(data.file).skipped++;
      skips.push(`skipped: ${label(data)}: ${typeof reason === "string" && reason ? reason : "no reason given"}`);
    } else {
      countOf(data.file).passed++;
    }
  });
  stream.on("test:fail", (data) => {
    const error = data.details.error as Error & { failureType?: string };
    if (error.failureType === "subtestsFailed") return;
    countOf(data.file).failed++;
    const cause =
      error.cause instanceof Error ? (error.cause.stack ?? error.cause.message) : inspect(error.cause ?? error);
    failures.push(`FAILED: ${label(data)}\n${cause.replace(/^/gm, "    ")}`);
    say(failures.at(-1)!);
  });
  stream.on("test:stderr", (data) => process.stderr.write(data.message));
  stream.on("test:summary", (data) => {
    if (!data.file) return;
    const count = countOf(data.file);
    const seconds = ((performance.now() - count.startedMs) / 1000).toFixed(1);
    const skipped = count.skipped ? `, ${count.skipped} skipped` : "";
    const verdict = count.failed ? "FAILED" : "ok";
    say(`${verdict} ${relative(data.file)}: ${count.passed} passed, ${count.failed} failed${skipped} (${seconds} s)`);
  });
  for await (const _ of stream);
}

const total = { passed: 0, failed: 0, skipped: 0 };
for (const count of counts.values()) {
  total.passed += count.passed;
  total.failed += count.failed;
  total.skipped += count.skipped;
}
if (failures.length > 0) say(`\nFailures again:\n${failures.join("\n")}`);
if (skips.length > 0) say(`\n${skips.join("\n")}`);
if (total.passed + total.failed === 0) say(asked.length > 0 ? "no test ran: nothing matches" : "no test ran");
if (total.skipped > 0) say(`${total.skipped} skipped`);
say(`${total.passed} passed, ${total.failed} failed`);
process.exitCode = total.failed > 0 || total.passed + total.failed === 0 ? 1 : 0;
