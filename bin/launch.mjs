/**
 * @file How the command's own process is started: with the allocator's and Node's settings that its memory budgets count on, and
 * as a child that gets every signal. Plain JavaScript for whatever Node is there; shared by the package's command and the clone's.
 */
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { constants } from "node:os";

/**
 * `malloc`: one heap for all threads, which keeps what is freed, for what is small; what is large is mapped, in huge pages, and
 * given back, so that no small piece among large ones makes the heap grow (docs/decisions/memory-of-the-process.md). Other systems
 * ignore these. `nodeOptions`: short-lived objects are collected early instead of after tens of megabytes.
 */
const MEMORY = JSON.parse(readFileSync(new URL("memory-settings.json", import.meta.url), "utf8"));

/** Runs the command line of `main` (a path) on `node`, in `cwd` or where this process is. Returns its exit code. */
export function launch(node, main, args, cwd) {
  // ONNX Runtime reports to its maker unless its environment says this from the start (docs/decisions/no-telemetry.md).
  const env = { ...MEMORY.malloc, ...process.env, ORT_DISABLE_TELEMETRY: "1" };
  return run(node, [...MEMORY.nodeOptions, main, ...args], { cwd, env });
}

/** Runs a command to its end, whatever signals come: the child decides what they mean. Returns its exit code. */
export function run(command, argv, options) {
  return new Promise((resolve) => {
    const child = spawn(command, argv, { stdio: "inherit", ...options });
    // A terminal sends Ctrl-C to the child as well; without one only this process may have got it.
    const interrupt = () => process.stdin.isTTY || child.kill("SIGINT");
    const terminate = (signal) => child.kill(signal);
    process.on("SIGINT", interrupt);
    process.on("SIGTERM", terminate);
    process.on("SIGHUP", terminate);
    const finish = (code) => {
      process.off("SIGINT", interrupt);
      process.off("SIGTERM", terminate);
      process.off("SIGHUP", terminate);
      resolve(code);
    };
    child.on("error", (error) => {
      process.stderr.write(`E_SPAWN ${command}: ${error.message}. Next: check that it is installed.\n`);
      finish(5);
    });
    child.on("close", (code, signal) => finish(code ?? 128 + (constants.signals[signal] ?? 0)));
  });
}
