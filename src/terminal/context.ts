/** @file What a command may touch: streams, folder, environment, interrupts and the engine. Tests pass their own. */
import path from "node:path";
import type { OpenRequest } from "../job/checked.ts";
import type { Engine, OpenEngineOptions } from "../job/types.ts";
import type { LibraryHost } from "../library/host.ts";
import { nodeLibraryHost } from "../node/library-host.ts";

export interface CliContext {
  readonly stdin: NodeJS.ReadableStream & { readonly isTTY?: boolean };
  readonly stdout: NodeJS.WritableStream & { readonly isTTY?: boolean };
  readonly stderr: NodeJS.WritableStream & { readonly isTTY?: boolean };
  /** Absolute; relative paths of the user start here. */
  readonly cwd: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly openEngine: (options: OpenEngineOptions) => Promise<Engine>;
  /** Finds what such a request names, and opens nothing. Rejects with ArtifactError or UsageError. */
  readonly checkModel: (request: OpenRequest) => Promise<void>;
  /** Calls `handler` at every Ctrl-C until the returned function is called. */
  readonly onInterrupt: (handler: () => void) => () => void;
  /** Stops this process and those that it was started by, as Ctrl-Z does; resolves when they go on. */
  readonly suspend: () => Promise<void>;
  /** Ends the process at once: for the second Ctrl-C of someone who can't wait. */
  readonly exitNow: (code: number) => void;
}

/** The models of this machine, by paths as the user writes them. */
export function libraryOf({ cwd, env }: Pick<CliContext, "cwd" | "env">): LibraryHost {
  return nodeLibraryHost((name) => path.resolve(cwd, name), env);
}

/** The user pressed Ctrl-C: exit code 130. */
export class Interrupted extends Error {
  constructor() {
    super("Interrupted.");
    this.name = "Interrupted";
  }
}

/** Runs `work` with a signal that the first Ctrl-C aborts. Rejects with `Interrupted` then, whatever `work` made of it. */
export async function interruptible<T>(context: CliContext, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const detach = context.onInterrupt(() => {
    if (controller.signal.aborted) context.exitNow(130);
    controller.abort(new Interrupted());
  });
  try {
    return await work(controller.signal);
  } catch (error) {
    throw controller.signal.aborted ? controller.signal.reason : error;
  } finally {
    detach();
  }
}
