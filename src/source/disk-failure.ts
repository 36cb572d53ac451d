/** @file What to say where a disk fails. */
import { DeviceError } from "../errors.ts";

/** `what`: the system's words, in parentheses. */
export function diskFailure(subject: string, what: string, cause: unknown): DeviceError {
  const problem = `the disk or its file system failed ${what}`;
  const next = "run it again; if it stays so, check the disk";
  return new DeviceError({ code: "E_DISK", subject, problem, next, cause });
}
