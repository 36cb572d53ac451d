/**
 * @file The interactive loop, with the published loader's manners: prompt `[1] Prompt > `, `Saved: output_001.png`, an empty
 * line is ignored, quit, exit and q leave, Ctrl-C stops a running image and else leaves, an error is shown and the loop goes on.
 */

import path from "node:path";
import { BudgetError, DeviceError, printable, type SolvayError, UsageError } from "../errors.ts";
import { type CliContext, Interrupted } from "../terminal/context.ts";
import { EXIT, reportFailure } from "../terminal/failure.ts";
import type { OptionValues } from "../terminal/options.ts";
import { checkNextOutput } from "../terminal/output-file.ts";
import { unfinishedIn } from "../terminal/resume-names.ts";
import { SOLVAY_VERSION } from "../version.ts";
import { completeLine, parseLine } from "./commands.ts";
import { openLines } from "./lines.ts";
import { Session } from "./session.ts";

/** Runs until the user leaves or the input ends. Rejects if the model can't be opened at the start. */
export async function runLoop(context: CliContext, options: OptionValues): Promise<void> {
  const say = (line: string) => context.stdout.write(`${line}\n`);
  let work: AbortController | undefined;
  let leaving = false;
  let close = () => {};
  const interrupt = () => {
    if (work && !work.signal.aborted) {
      work.abort(new Interrupted());
      return;
    }
    if (leaving) context.exitNow(EXIT.interrupted);
    leaving = true;
    close();
  };
  /** Runs `body` as the work that Ctrl-C stops. */
  const stoppable = async (body: (signal: AbortSignal) => Promise<void>) => {
    const controller = new AbortController();
    work = controller;
    try {
      await body(controller.signal);
    } catch (error) {
      throw controller.signal.aborted ? controller.signal.reason : error;
    } finally {
      work = undefined;
    }
  };
  const detach = context.onInterrupt(interrupt);
  try {
    if (context.stdin.isTTY) say(`Solvay ${SOLVAY_VERSION}: type a prompt, :help for commands, quit to leave.`);
    await checkNextOutput(context.cwd);
    await using session = new Session(context, options);
    const [unfinished, ...others] = await unfinishedIn(context.cwd);
    if (unfinished !== undefined) session.progress.say(unfinishedText(path.basename(unfinished), others.length));
    await stoppable((signal) => session.open(signal));
    using lines = openLines(context, (line) => completeLine(line, context.cwd), interrupt);
    close = () => lines[Symbol.dispose]();
    for (let number = 1; !leaving; ) {
      const line = await lines.next(`[${number}] Prompt > `);
      if (line === undefined) break;
      try {
        const asked = parseLine(line);
        if (asked.kind === "quit") break;
        if (asked.kind === "empty") continue;
        await stoppable(async (signal) => {
          if (asked.kind === "command") {
            say(await asked.run(session, signal));
            return;
          }
          say(`Saved: ${await session.paint(asked.kind === "prompt" ? asked.prompt : lastPrompt(session), signal)}`);
          number++;
        });
      } catch (error) {
        if (error instanceof Interrupted) say("Stopped.");
        else reportFailure(context, inLoopWords(error), false);
      }
    }
    say("Goodbye.");
  } finally {
    detach();
  }
}

function unfinishedText(name: string, others: number): string {
  const which = others === 0 ? `picture ${printable(name)} lies` : `pictures (${1 + others}) lie`;
  return `Unfinished ${which} here: solvay resume goes on with ${others === 0 ? "it" : "one of them"}.`;
}

function lastPrompt({ lastPrompt }: Session): string {
  if (lastPrompt !== undefined) return lastPrompt;
  throw new UsageError({ code: "E_USAGE", problem: "there is no prompt to repeat yet", next: "type a prompt" });
}

/** What an option would widen, a line of the loop does. */
function inLoopWords(error: unknown): unknown {
  const Kind = [BudgetError, UsageError, DeviceError].find((kind) => error instanceof kind);
  if (!Kind) return error;
  const words = (text: string) => text.replace(/--(vram|ram)\b/g, ":$1");
  const { code, subject, problem, next } = error as SolvayError;
  return new Kind({ code, subject: words(subject), problem: words(problem), next: words(next), cause: error });
}
