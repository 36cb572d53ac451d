/** @file Lines from a terminal (editing, history, completion) or a pipe, one at a time. */
import { createInterface } from "node:readline";
import { Transform } from "node:stream";
import type { CliContext } from "../terminal/context.ts";

export interface LineReader extends Disposable {
  /** Shows `prompt` and resolves to the next line; undefined at the end of the input. */
  next(prompt: string): Promise<string | undefined>;
}

type Input = CliContext["stdin"] & { readonly setRawMode?: (on: boolean) => unknown };

/** `onInterrupt` is called for Ctrl-C in a terminal, which readline turns from a signal into a key, as it does with Ctrl-Z. */
export function openLines(
  { stdin, stdout, suspend }: Pick<CliContext, "stdin" | "stdout" | "suspend">,
  complete: (line: string) => [string[], string],
  onInterrupt: () => void,
): LineReader {
  const terminal = stdin.isTTY === true && stdout.isTTY === true;
  const input = withPlainLines(stdin);
  const readline = terminal
    ? createInterface({ input, output: stdout, terminal, completer: complete, removeHistoryDuplicates: true })
    : createInterface({ input, terminal });
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
  readline.on("SIGTSTP", async () => {
    input.setRawMode?.(false);
    await suspend();
    if (ended) return;
    // The shell may have set the terminal meanwhile: off and on, so that it is set again in any case.
    input.setRawMode?.(false);
    input.setRawMode?.(true);
    if (wake) readline.prompt(true);
  });
  return {
    async next(prompt) {
      // Typed or pasted while the line before was worked on, it stands far above what will be said of it.
      const shownAgain = terminal && waitingLines.length > 0;
      if (terminal && !shownAgain && !ended) {
        readline.setPrompt(prompt);
        readline.prompt();
      } else {
        stdout.write(prompt);
      }
      while (waitingLines.length === 0 && !ended) {
        const { promise, resolve } = Promise.withResolvers<void>();
        wake = resolve;
        await promise;
        wake = undefined;
      }
      const line = waitingLines.shift();
      // A terminal has shown the typed line already; a transcript of piped input should have it too.
      if (!terminal || shownAgain) stdout.write(`${line ?? ""}\n`);
      else if (line === undefined) stdout.write("\n");
      return line;
    },
    [Symbol.dispose]() {
      readline.close();
      stdin.unpipe(input);
      stdin.pause();
    },
  };
}

/** `stdin` without the two characters that readline, but no terminal and no one else, takes for the end of a line. */
function withPlainLines(stdin: Input): Transform & Pick<Input, "setRawMode"> {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  const plain = (text: string) => text.replace(/[\u2028\u2029]/g, " ");
  const input = new Transform({
    transform: (chunk: Uint8Array, _, done) => done(null, plain(decoder.decode(chunk, { stream: true }))),
    flush: (done) => done(null, decoder.decode()),
  });
  const setRawMode = stdin.setRawMode && ((on: boolean) => stdin.setRawMode?.(on));
  return Object.assign(stdin.pipe(input), { setRawMode });
}
