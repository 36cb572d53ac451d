/** @file Where Solvay keeps what it remembers of this machine from one start to the next. */
import { homedir } from "node:os";
import path from "node:path";

/** `$SOLVAY_STATE`, or the user's folder for state. */
export function defaultStateFolder(env: Readonly<Record<string, string | undefined>>): string {
  return env.SOLVAY_STATE || path.join(env.XDG_STATE_HOME || path.join(homedir(), ".local", "state"), "solvay");
}
