/** @file From an error to one line and an exit code. */
import { ArtifactError, BudgetError, DeviceError, printable, SolvayError, UsageError } from "../errors.ts";
import { type CliContext, Interrupted } from "./context.ts";

/** The process's exit codes; docs/guide/commands.md lists them. */
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

/** What the system says and what helps, by its name for it. */
const SYSTEM: Readonly<Record<string, readonly [problem: string, next: string]>> = {
  ENOSPC: ["the disk is full", "free some space"],
  EDQUOT: ["the disk quota is used up", "free some space"],
  ENOENT: ["not found", "check the path"],
  ENOTDIR: ["a part of the path is no folder", "check the path"],
  EISDIR: ["this is a folder", "name a file"],
  ELOOP: ["its links lead in a circle", "check the path"],
  ENAMETOOLONG: ["the name is too long for the file system", "choose a shorter name"],
  EACCES: ["no permission", "check its access rights"],
  EPERM: ["no permission", "check its access rights"],
  EROFS: ["the disk is read-only", "choose another folder"],
  EBUSY: ["in use by another program", "close that program and try again"],
  EMFILE: ["too many files are open", "close other programs, or raise the limit (ulimit -n)"],
  ENFILE: ["too many files are open", "close other programs"],
  EIO: ["the disk can't be read or written", "check the disk"],
  EFBIG: ["the file is too large for the file system", "choose another disk"],
  EINVAL: ["the file system does not take it", "choose another name or folder"],
};
/** Codes of our own for some of them; for the others E_FILE. */
const SYSTEM_CODES: Readonly<Record<string, string>> = {
  ENOSPC: "E_DISK_FULL",
  EDQUOT: "E_DISK_FULL",
  ENOENT: "E_MISSING",
  EACCES: "E_ACCESS",
  EPERM: "E_ACCESS",
  EROFS: "E_ACCESS",
};

/** What the system said, in words. */
export function systemProblem(error: unknown): string {
  if (error instanceof SolvayError) return error.problem;
  const { code = "", message } = error as NodeJS.ErrnoException;
  return SYSTEM[code]?.[0] ?? message;
}

function translate(error: unknown): SolvayError {
  const cause = error instanceof Error ? error : new Error(String(error));
  const { code: systemCode = "", path: subject = "" } = cause as NodeJS.ErrnoException;
  const known = SYSTEM[systemCode];
  if (known) {
    const [problem, next] = known;
    const code = SYSTEM_CODES[systemCode] ?? "E_FILE";
    const Kind = code === "E_DISK_FULL" ? BudgetError : ArtifactError;
    return new Kind({ code, subject, problem, next, cause });
  }
  const problem = `unexpected: ${cause.message.replace(/\.$/, "")}`;
  return new SolvayError({ code: "E_INTERNAL", problem, next: "report it with the output of SOLVAY_DEBUG=1", cause });
}

/** Commands whose one JSON document on stdout has said it all before they fail. */
const REPORTED: ReadonlySet<string> = new Set(["E_VERIFY", "E_DOCTOR"]);

/** Prints the failure (stderr; in JSON mode also a line on stdout) and returns its exit code. */
export function reportFailure(
  context: Pick<CliContext, "stdout" | "stderr" | "env">,
  error: unknown,
  json: boolean,
): number {
  const failure = describeFailure(error);
  if (json && !REPORTED.has(failure.code)) {
    const line = { type: "error", code: failure.code, message: failure.message };
    context.stdout.write(`${JSON.stringify(line)}\n`);
  }
  context.stderr.write(`${printable(failure.message)}\n`);
  if (context.env.SOLVAY_DEBUG === "1" && error instanceof Error) context.stderr.write(`${error.stack}\n`);
  return failure.exitCode;
}
