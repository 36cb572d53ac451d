/** @file The commands, put together, and their errors turned into exit codes. */
import { Command, CommanderError } from "commander";
import { UsageError } from "../errors.ts";
import { runLoop } from "../repl/loop.ts";
import type { CliContext } from "../terminal/context.ts";
import { EXIT, reportFailure } from "../terminal/failure.ts";
import { addImageOptions, type OptionValues } from "../terminal/options.ts";
import { SOLVAY_VERSION } from "../version.ts";
import { addBench } from "./bench.ts";
import { addDoctor } from "./doctor.ts";
import { addGenerate } from "./generate.ts";
import { addImport } from "./import.ts";
import { addInspect } from "./inspect.ts";
import { addPack } from "./pack.ts";
import { addPlan } from "./plan.ts";
import { addPull } from "./pull.ts";
import { addStore } from "./store.ts";
import { addTokens } from "./tokens.ts";
import { addVerify } from "./verify.ts";

/** Runs one command line (without node and script). Resolves to the exit code and never rejects. */
export async function runCli(argv: readonly string[], context: CliContext): Promise<number> {
  try {
    await createProgram(context).parseAsync(argv, { from: "user" });
    return EXIT.ok;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return EXIT.ok;
    return reportFailure(context, error, argv.includes("--json"));
  }
}

function createProgram(context: CliContext): Command {
  const program = new Command("solvay")
    .description("Stable Diffusion XL from a prompt to a picture. Without a command: the interactive loop.")
    .version(SOLVAY_VERSION)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => context.stdout.write(text),
      // Errors are thrown, and printed once, by reportFailure.
      writeErr: () => {},
    });
  addImageOptions(
    program.command("loop", { isDefault: true }).description("the interactive loop").argument("[words...]"),
  ).action(async (words: string[], options: OptionValues) => {
    if (words.length > 0) {
      const problem = `unknown command ${JSON.stringify(words[0])}`;
      throw new UsageError({ code: "E_USAGE", problem, next: 'run solvay --help, or solvay generate "PROMPT"' });
    }
    await runLoop(context, options);
  });
  addGenerate(program, context);
  addPlan(program, context);
  addTokens(program, context);
  addInspect(program, context);
  addVerify(program, context);
  addPack(program, context);
  addPull(program, context);
  addImport(program, context);
  addStore(program, context);
  addDoctor(program, context);
  addBench(program, context);
  return program;
}
