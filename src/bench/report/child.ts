/** @file Runs one program with a time limit: all that it starts ends with it. */
import { spawn } from "node:child_process";

export interface ChildRequest {
  readonly command: string;
  readonly args: readonly string[];
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly input?: string;
  readonly limitMs: number;
}

export interface ChildResult {
  readonly stdout: string;
  /** The last 2,000 characters. */
  readonly stderrTail: string;
  /** Why it counts as failed: its exit, its end by a signal, its time, or that it can't be started. */
  readonly failure?: string;
}

export type ChildRunner = (request: ChildRequest) => Promise<ChildResult>;

const TAIL_CHARACTERS = 2000;

const GROUPS = process.platform !== "win32";

const running = new Set<number>();

/** Ends all that is still running. */
export function endChildren(): void {
  for (const pid of running) endGroup(pid);
}

/** Never rejects. What was printed before a failure is kept. */
export function runChild({ command, args, cwd, env, input, limitMs }: ChildRequest): Promise<ChildResult> {
  return new Promise((resolve) => {
    // A group of its own, so that helpers of it are ended as well. Windows has none, and would open a window.
    const child = spawn(command, args, { cwd, env, detached: GROUPS, stdio: ["pipe", "pipe", "pipe"] });
    if (child.pid !== undefined) running.add(child.pid);
    let stdout = "";
    let stderr = "";
    let timedOut = false;
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr = (stderr + text).slice(-TAIL_CHARACTERS);
    });
    const timer = setTimeout(() => {
      timedOut = true;
      if (child.pid !== undefined) endGroup(child.pid);
    }, limitMs);
    const finish = (failure: string | undefined) => {
      clearTimeout(timer);
      if (child.pid !== undefined) running.delete(child.pid);
      resolve({ stdout, stderrTail: stderr.trim(), failure });
    };
    child.on("error", (error) => finish(`can't be started: ${error.message}`));
    child.on("close", (code, signal) => {
      if (timedOut) finish(`stopped after ${(limitMs / 1000).toFixed(0)} s`);
      else if (signal) finish(`ended by ${signal}`);
      else finish(code === 0 ? undefined : `exit code ${code}`);
    });
    child.stdin.on("error", () => {
      // It ended without reading: its exit says so.
    });
    child.stdin.end(input);
  });
}

function endGroup(pid: number): void {
  try {
    process.kill(GROUPS ? -pid : pid, "SIGKILL");
  } catch {
    // It has just ended by itself.
  }
}
