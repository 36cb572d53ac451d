/** @file Solvay's command as a report runs it, again and again: a step that crashes or hangs costs only itself. */
import path from "node:path";
import { type ChildResult, type ChildRunner, runChild } from "./child.ts";

export interface CommandOptions {
  readonly limitMs: number;
  /** As on a card that has no subgroup matrices. */
  readonly withoutMatrices?: boolean;
}

export class SolvayCommand {
  readonly #run: ChildRunner;
  /** Node with its settings, and the command line's main file. */
  readonly #words: readonly string[];
  readonly #env: NodeJS.ProcessEnv;

  constructor(main: string, env: NodeJS.ProcessEnv, run: ChildRunner = runChild) {
    this.#words = [...process.execArgv, main];
    this.#env = env;
    this.#run = run;
  }

  run(args: readonly string[], { limitMs, withoutMatrices = false }: CommandOptions): Promise<ChildResult> {
    const hook = withoutMatrices ? ["--import", WITHOUT_MATRICES] : [];
    return this.#run({ command: process.execPath, args: [...hook, ...this.#words, ...args], env: this.#env, limitMs });
  }
}

/** Beside this file, as source or as it is packed. */
const WITHOUT_MATRICES = new URL(`without-matrices${path.extname(import.meta.filename)}`, import.meta.url).href;

/** Of a failed command: how it ended, and its last words, without this machine's folders. */
export function failureOf({ failure, stderrTail }: ChildResult): string | undefined {
  if (failure === undefined) return undefined;
  const said = stderrTail.split("\n").slice(-3).join(" ");
  const folders = [process.cwd(), process.env.HOME].filter((folder) => folder !== undefined && folder.length > 1);
  return `${failure}${said ? `: ${folders.reduce((text, folder) => text!.replaceAll(folder!, "..."), said)}` : ""}`;
}
