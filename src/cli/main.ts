/** @file The `solvay` command: this process as a CliContext. */
import "../node/disposal.ts";
import { constants } from "node:os";
import type { CliContext } from "../terminal/context.ts";
import { runCli } from "./program.ts";

// Whoever reads our output has gone (`| head`): nothing is left to tell.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(128 + constants.signals.SIGPIPE);
  throw error;
});

const context: CliContext = {
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  cwd: process.cwd(),
  env: process.env,
  openEngine: async (options) => (await import("../node.ts")).openEngine(options),
  onInterrupt: (handler) => {
    process.on("SIGINT", handler);
    process.on("SIGTERM", handler);
    return () => {
      process.off("SIGINT", handler);
      process.off("SIGTERM", handler);
    };
  },
  exitNow: (code) => process.exit(code),
};

const exitCode = await runCli(process.argv.slice(2), context);
process.stdout.write("", () => process.exit(exitCode));
