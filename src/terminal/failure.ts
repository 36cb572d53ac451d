/** @file From an error to one line and an exit code. */
import { CommanderError } from "commander";
import { ArtifactError, BudgetError, DeviceError, printable, SolvayError, UsageError } from "../errors.ts";
import { type CliContext, Interrupted } from "./context.ts";

/** The process's exit codes; README lists them. */
export const EXIT = { ok: 0, internal: 1, usage: 2, artifact: 3, budget: 4, device: 5, interrupted: 130 } as const;

/** Machine name, full line and exit code of whatever was thrown. */
export interface Failure {
  readonly code: string;
  readonly message: string;
  readonly exitCode: number;
}

/** The reaction to each kind of error, as an exit code; a kind of none of these is a fault of ours. */
const EXIT_CODES = [
  [UsageError, EXIT.usage],
  [ArtifactError, EXIT.artifact],
  [BudgetError, EXIT.budget],
  [DeviceError, EXIT.device],
] as const;

export function describeFailure(error: unknown): Failure {
  if (error instanceof Interrupted)
    return { code: "E_INTERRUPTED", message: error.message, exitCode: EXIT.interrupted };
  const known = error instanceof SolvayError ? error : translate(error);
  const [, exitCode = EXIT.internal] = EXIT_CODES.find(([Class]) => known instanceof Class) ?? [];
  return { code: known.code, message: known.message, exitCode };
}

function translate(error: unknown): SolvayError {
  if (error instanceof CommanderError) {
    const problem = error.message.replace(/^error: /, "").replace(/\.$/, "");
    return new UsageError({ code: "E_USAGE", problem, next: "run solvay --help" });
  }
  const cause = error instanceof Error ? error : new Error(String(error));
  const { code, path } = cause as NodeJS.ErrnoException;
  const subject = path ?? "";
  switch (code) {
    case "ENOSPC":
    case "EDQUOT":
      return new BudgetError({
        code: "E_DISK_FULL",
        subject,
        problem: "the disk is full",
        next: "free some space",
        cause,
      });
    case "ENOENT":
      return new ArtifactError({ code: "E_MISSING", subject, problem: "not found", next: "check the path", cause });
    case "EACCES":
    case "EPERM":
    case "EROFS":
      return new ArtifactError({
        code: "E_ACCESS",
        subject,
        problem: "no permission",
        next: "check its access rights",
        cause,
      });
    default: {
      const problem = `unexpected: ${cause.message.replace(/\.$/, "")}`;
      return new SolvayError({
        code: "E_INTERNAL",
        problem,
        next: "report it with the output of SOLVAY_DEBUG=1",
        cause,
      });
    }
  }
}

/** Commands whose one JSON document on stdout has said it all before they fail. */
const REPORTED: ReadonlySet<string> = new Set(["E_VERIFY", "E_DOCTOR"]);

/** Prints the failure (stderr; in JSON mode also a line on stdout) and returns its exit code. */
export function reportFailure(context: CliContext, error: unknown, json: boolean): number {
  const failure = describeFailure(error);
  if (json && !REPORTED.has(failure.code)) {
    const line = { type: "error", code: failure.code, message: failure.message };
    context.stdout.write(`${JSON.stringify(line)}\n`);
  }
  context.stderr.write(`${printable(failure.message)}\n`);
  if (context.env.SOLVAY_DEBUG === "1" && error instanceof Error) context.stderr.write(`${error.stack}\n`);
  return failure.exitCode;
}
