/**
 * @file Runs the tests: `npm test`, or `npm test -- test/unit test/cli/pack.test.ts` for some of them.
 * One line a file, details of failures, skipped tests with their reasons; the last line is `N passed, N failed`.
 * SOLVAY_TEST_PATIENCE=3 makes the time limits three times as long, SOLVAY_TEST_VULKAN chooses the graphics driver.
 */
import { globSync, mkdtempSync, rmSync } from "node:fs";
import { constants, tmpdir } from "node:os";
import path from "node:path";
import { chooseVulkan } from "../test/support/vulkan.ts";
import { killRunning, runFile } from "./test/file-run.ts";

const FILE_MINUTES = 10;
const WHOLE_MINUTES = 45;
/** One more than the two cores that the suite is measured on: some files wait for other processes and for clocks. */
const AT_ONCE = 3;
/** Begun first, those with most CPU time before: a long file that comes last would run alone. */
const LONG = [
  "node/card",
  "browser/studio",
  "node/budgets",
  "node/package",
  "node/webgpu-recovery",
  "backend/webgpu",
  "node/single-file-kinds",
  "node/picture-jobs",
  "node/serve-postgres",
  "node/webgpu-engine",
  "node/import",
  "node/single-file",
  "node/resume",
  "golden/pipeline",
  "node/again",
  "backend/webgpu-faults",
  "node/bench",
  "golden/pictures",
  "node/no-telemetry",
].map((name) => `test/${name}.test.ts`);

const root = path.resolve(import.meta.dirname, "..");
const asked = process.argv.slice(2).map((name) => path.resolve(root, name));
const files = globSync("test/**/*.test.ts", { cwd: root })
  .map((name) => path.join(root, name))
  .filter((file) => asked.length === 0 || asked.some((name) => file === name || file.startsWith(name + path.sep)))
  .sort((a, b) => placeOf(a) - placeOf(b) || (a < b ? -1 : 1));

function placeOf(file: string): number {
  const place = LONG.indexOf(path.relative(root, file).replaceAll(path.sep, "/"));
  return place < 0 ? LONG.length : place;
}

const say = (line: string) => process.stdout.write(`${line}\n`);
const total = { passed: 0, failed: 0, skipped: 0 };
const skips: string[] = [];
const failures: string[] = [];

function tellFailure(where: string, error: string): void {
  total.failed++;
  failures.push(`FAILED: ${where}\n${error.replace(/^/gm, "    ")}`);
  say(failures.at(-1)!);
}

const patience = Number(process.env.SOLVAY_TEST_PATIENCE ?? 1);
if (!(patience > 0)) throw new Error("SOLVAY_TEST_PATIENCE is a number above 0: time limits are so many times as long");
const endMs = performance.now() + WHOLE_MINUTES * 60_000 * patience;

// What tests leave behind goes away with this folder.
const folder = mkdtempSync(path.join(tmpdir(), "solvay-tests-"));
process.on("exit", () => {
  killRunning();
  rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
});
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
  process.on(signal, () => process.exit(128 + constants.signals[signal]));

async function runNext(env: NodeJS.ProcessEnv): Promise<void> {
  for (let file = files.shift(); file !== undefined; file = files.shift()) {
    const name = path.relative(root, file);
    const leftMs = endMs - performance.now();
    if (leftMs <= 0) {
      tellFailure(name, `not run: the whole took longer than ${WHOLE_MINUTES * patience} minutes`);
      continue;
    }
    const limitMs = Math.min(FILE_MINUTES * 60_000 * patience, leftMs);
    const found = await runFile(file, { cwd: root, env, folder, limitMs });
    total.passed += found.passed;
    total.skipped += found.skips.length;
    for (const { where, reason } of found.skips)
      skips.push(`skipped: ${name}:${where}: ${reason.replace(/^skipped: /, "")}`);
    for (const { where, error } of found.failures) tellFailure(`${name}:${where}`, error);
    const failed = found.failures.length;
    const skipped = found.skips.length > 0 ? `, ${found.skips.length} skipped` : "";
    const cpu = found.cpuSeconds === undefined ? "" : `, ${found.cpuSeconds.toFixed(1)} s of CPU`;
    const time = `${(found.elapsedMs / 1000).toFixed(1)} s${cpu}`;
    say(`${failed > 0 ? "FAILED" : "ok"} ${name}: ${found.passed} passed, ${failed} failed${skipped} (${time})`);
  }
}

if (files.length > 0) {
  const vulkan = await chooseVulkan();
  say(vulkan.told);
  const env = {
    ...process.env,
    ...vulkan.env,
    // What this machine remembers of itself (speeds, graphics devices) is neither read nor changed by tests.
    SOLVAY_STATE: mkdtempSync(path.join(folder, "state-")),
    // Hundreds of engines' threads and commands load the same files: their types are stripped once.
    NODE_COMPILE_CACHE: path.join(folder, "compiled"),
    // What imports are found by, in processes and threads that they start, too.
    NODE_OPTIONS:
      `${process.env.NODE_OPTIONS ?? ""} --import=${new URL("test/module-places.mjs", import.meta.url).href}`.trim(),
  };
  await Promise.all(Array.from({ length: AT_ONCE }, () => runNext(env)));
}

if (failures.length > 0) say(`\nFailures again:\n${failures.join("\n")}`);
if (skips.length > 0) say(`\n${skips.join("\n")}`);
if (total.passed + total.failed === 0) say(asked.length > 0 ? "no test ran: nothing matches" : "no test ran");
if (total.skipped > 0) say(`${total.skipped} skipped`);
say(`${total.passed} passed, ${total.failed} failed`);
process.exitCode = total.failed > 0 || total.passed + total.failed === 0 ? 1 : 0;
