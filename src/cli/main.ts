/** @file The `solvay` command: this process as a CliContext. Whatever happens is told in one line, and by the exit code. */
import "../node/disposal.ts";
import tty from "node:tty";
import { UsageError } from "../errors.ts";
import { type CliContext, libraryOf } from "../terminal/context.ts";
import { reportFailure } from "../terminal/failure.ts";
import { runCli } from "./program.ts";

/** Ctrl-Z stops a job at once, where anything can stop it: a process that no shell waits for goes on. */
const STOPPED_WITHIN_MS = 500;
/** Its number everywhere, also where Node has no such signal (Windows). */
const SIGPIPE = 13;

const { stdin, stdout, env } = process;
const stderr = ownStderr();
let outputFailure: Error | undefined;

stdout.on("error", (error: NodeJS.ErrnoException) => {
  // Whoever reads our output has gone (`| head`): nothing is left to tell.
  if (error.code === "EPIPE") process.exit(128 + SIGPIPE);
  if (outputFailure) return;
  outputFailure = error;
  fail(Object.assign(error, { path: "standard output" }));
});
// Messages that nobody can get are no reason to stop.
for (const stream of [stderr, process.stderr]) stream.on("error", () => {});
process.on("uncaughtException", fail);

/** The terminal by a descriptor of its own where this process's stderr is only for native code (bin/launch.mjs). */
function ownStderr(): NodeJS.WriteStream {
  const fd = Number(env.SOLVAY_STDERR_FD);
  // Not for whatever is started from here.
  delete env.SOLVAY_STDERR_FD;
  if (!tty.isatty(fd)) return process.stderr;
  const terminal = new tty.WriteStream(fd);
  // Node keeps the width of its own streams alone up to date.
  if (!stdout.isTTY) return terminal;
  return Object.defineProperty(terminal, "columns", { get: () => stdout.columns });
}

/** Ends the process with one line about `error`. */
function fail(error: unknown): void {
  const exitCode = reportFailure({ stdout, stderr, env }, error, false);
  stderr.write("", () => process.exit(exitCode));
}

function workingFolder(): string | undefined {
  try {
    return process.cwd();
  } catch (error) {
    const problem = "the working folder does not exist any more";
    const next = "change to a folder that exists";
    fail(new UsageError({ code: "E_NO_FOLDER", problem, next, cause: error }));
    return undefined;
  }
}

async function main(cwd: string): Promise<void> {
  const context: CliContext = {
    stdin,
    stdout,
    stderr,
    cwd,
    env,
    openEngine: async (options) => (await import("../node.ts")).openEngine(options),
    checkModel: async (request) => {
      const { findModel } = await import("../library/open.ts");
      await findModel(libraryOf({ cwd, env }), request);
    },
    onInterrupt: (handler) => {
      process.on("SIGINT", handler);
      process.on("SIGTERM", handler);
      return () => {
        process.off("SIGINT", handler);
        process.off("SIGTERM", handler);
      };
    },
    suspend: () =>
      new Promise((goOn) => {
        process.once("SIGCONT", goOn);
        // The whole job: whoever started this process keeps the terminal from the shell else.
        process.kill(0, "SIGTSTP");
        setTimeout(goOn, STOPPED_WITHIN_MS);
      }),
    exitNow: (code) => process.exit(code),
  };
  const exitCode = await runCli(process.argv.slice(2), context);
  stdout.write("", () => {
    // An error of the writes before is told after this.
    setImmediate(() => outputFailure ?? process.exit(exitCode));
  });
}

const cwd = workingFolder();
if (cwd !== undefined) await main(cwd);
