/** @file Lines from a terminal (editing, history, completion) or a pipe, one at a time. */
import { createInterface } from "node:readline";
import type { CliContext } from "../terminal/context.ts";

export interface LineReader extends Disposable {
  /** Shows `prompt` and resolves to the next line; undefined at the end of the input. */
  next(prompt: string): Promise<string | undefined>;
}

/** `onInterrupt` is called for Ctrl-C in a terminal, which readline turns from a signal into a key. */
export function openLines(
  { stdin, stdout }: Pick<CliContext, "stdin" | "stdout">,
  complete: (line: string) => [string[], string],
  onInterrupt: () => void,
): LineReader {
  const terminal = stdin.isTTY === true && stdout.isTTY === true;
  const readline = terminal
    ? createInterface({ input: stdin, output: stdout, terminal, completer: complete, removeHistoryDuplicates: true })
    : createInterface({ input: stdin, terminal });
  const waitingLines: string[] = [];
  let ended = false;
  let wake: (() => void) | undefined;
  readline.on("line", (line) => {
    waitingLines.push(line);
    wake?.();
  });
  readline.on("close", () => {
    ended = true;
    wake?.();
  });
  readline.on("SIGINT", onInterrupt);
  return {
    async next(prompt) {
      if (terminal && !ended) {
        readline.setPrompt(prompt);
        readline.prompt();
      } else {
        stdout.write(prompt);
      }
      while (waitingLines.length === 0 && !ended) {
        const { promise, resolve } = Promise.withResolvers<void>();
        wake = resolve;
        await promise;
      }
      const line = waitingLines.shift();
      // A terminal has shown the typed line already; a transcript of piped input should have it too.
      if (!terminal) stdout.write(`${line ?? ""}\n`);
      else if (line === undefined) stdout.write("\n");
      return line;
    },
    [Symbol.dispose]: () => readline.close(),
  };
}
