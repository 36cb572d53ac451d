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

/**
 * Runs the command line of `main` (a path) on `node`, in `cwd` or where this process is. Returns its exit code. `isTerminal`: stderr is
 * one, where Dawn's lines would stand before everything. There the command writes to the terminal by its descriptor 3, and what
 * native code writes to stderr passes here. (Windows hands on no such descriptors to consoles.)
 */
export function launch(node, main, args, cwd, isTerminal = process.stderr.isTTY && process.platform !== "win32") {
  // ONNX Runtime reports to its maker unless its environment says this from the start (docs/decisions/no-telemetry.md).
  const env = { ...MEMORY.malloc, ...process.env, ORT_DISABLE_TELEMETRY: "1" };
  const argv = [...MEMORY.nodeOptions, main, ...args];
  if (!isTerminal) return run(node, argv, { cwd, env });
  const stdio = ["inherit", "inherit", "pipe", 2];
  return run(node, argv, { cwd, env: { ...env, SOLVAY_STDERR_FD: "3" }, stdio });
}

/** Runs a command to its end, whatever signals come: the child decides what they mean. Returns its exit code. */
export function run(command, argv, options) {
  return new Promise((resolve) => {
    const child = spawn(command, argv, { stdio: "inherit", ...options });
    child.stderr?.on(
      "data",
      withoutKnownLines((text) => process.stderr.write(text)),
    );
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

/** What Dawn says of every Vulkan driver with more descriptors than it uses; it concerns nobody. */
const KNOWN_LINE =
  /^Warning: maxDynamic(Uniform|Storage)BuffersPerPipelineLayout artificially reduced from \d+ to \d+ to fit dynamic offset allocation limit\.\r?$/;
const KNOWN_START = "Warning: maxDynamic";

/** A function that takes chunks and hands all but known lines on: at once, also what has no end yet, unless it may become one. */
export function withoutKnownLines(write) {
  let held = Buffer.alloc(0);
  let isLineStart = true;
  return (chunk) => {
    let rest = Buffer.concat([held, chunk]);
    held = Buffer.alloc(0);
    while (rest.length > 0) {
      const end = rest.indexOf(10) + 1;
      const line = end > 0 ? rest.subarray(0, end) : rest;
      rest = rest.subarray(line.length);
      const text = line.toString("latin1");
      if (isLineStart && end === 0 && (text.startsWith(KNOWN_START) || KNOWN_START.startsWith(text))) held = line;
      else if (!isLineStart || end === 0 || !KNOWN_LINE.test(text.slice(0, -1))) write(line);
      isLineStart = end > 0 || (isLineStart && held.length > 0);
    }
  };
}
