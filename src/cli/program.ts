/** @file The commands, put together, and their errors turned into exit codes. */
import { Command, CommanderError } from "commander";
import { UsageError } from "../errors.ts";
import { type Fields, flagName } from "../job/field-type.ts";
import { BUDGET_FIELDS, JOB_FIELDS, OPEN_FIELDS } from "../job/fields.ts";
import { runLoop } from "../repl/loop.ts";
import type { CliContext } from "../terminal/context.ts";
import { EXIT, reportFailure } from "../terminal/failure.ts";
import { addImageOptions, type OptionValues, previewOption, saveEveryOption } from "../terminal/options.ts";
import { SOLVAY_VERSION } from "../version.ts";
import { addAgain } from "./again.ts";
import { addBench } from "./bench.ts";
import { addDoctor } from "./doctor.ts";
import { addGenerate } from "./generate.ts";
import { addGrid } from "./grid.ts";
import { addImport } from "./import.ts";
import { addInspect } from "./inspect.ts";
import { addJobs } from "./jobs.ts";
import { misuse } from "./misuse.ts";
import { addPack } from "./pack.ts";
import { addPlan } from "./plan.ts";
import { addPull } from "./pull.ts";
import { addResume } from "./resume.ts";
import { addServe } from "./serve.ts";
import { addShow } from "./show.ts";
import { addStore } from "./store.ts";
import { addTokens } from "./tokens.ts";
import { addUpscale } from "./upscale.ts";
import { addVerify } from "./verify.ts";
import { addWorker } from "./worker.ts";

/** Runs one command line (without node and script). Resolves to the exit code and never rejects. */
export async function runCli(line: readonly string[], context: CliContext): Promise<number> {
  // pnpm hands the dashes on that npm takes away: `pnpm start -- --model X`.
  const argv = line[0] === "--" ? line.slice(1) : line;
  let held = "";
  const program = createProgram(context, (text) => (held = text));
  try {
    requireFlagsOfOurs(context.env);
    await program.parseAsync(argv, { from: "user" });
    return EXIT.ok;
  } catch (error) {
    if (!(error instanceof CommanderError)) return reportFailure(context, error, argv.includes("--json"));
    // Of a command that only has commands: its help, which is what was wanted.
    if (error.code === "commander.help") context.stdout.write(held);
    if (error.code === "commander.help" || error.exitCode === 0) return EXIT.ok;
    return reportFailure(context, misuse(error, program, argv), argv.includes("--json"));
  }
}

/** Throws UsageError if npm took an option for one of its own: `npm start --model X`. */
function requireFlagsOfOurs(env: CliContext["env"]): void {
  if (env.npm_lifecycle_event !== "start") return;
  const flags = [OPEN_FIELDS, BUDGET_FIELDS, JOB_FIELDS].flatMap((fields: Fields) => Object.values(fields));
  for (const { flag } of flags) {
    const name = flag && flagName(flag);
    const value = name && env[`npm_config_${name.slice(2).replaceAll("-", "_")}`];
    if (name === undefined || value === undefined) continue;
    throw new UsageError({
      code: "E_USAGE",
      subject: name,
      problem: "npm took this option for one of its own",
      next: `write two dashes before: npm start -- ${value === "true" ? flag?.usage : `${name} ${value}`}`,
    });
  }
}

function createProgram(context: CliContext, hold: (text: string) => void): Command {
  const program = new Command("solvay")
    .description("Stable Diffusion XL from a prompt to a picture. Without a command: the interactive loop.")
    .version(SOLVAY_VERSION)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => context.stdout.write(text),
      // Errors are thrown, and printed once, by reportFailure.
      writeErr: hold,
    })
    .commandsGroup("Pictures:");
  addImageOptions(
    program.command("loop", { isDefault: true }).description("the interactive loop").argument("[words...]"),
  )
    .addOption(previewOption())
    .addOption(saveEveryOption())
    .action(async (words: string[], options: OptionValues) => {
      if (words.length > 0) {
        const problem = `unknown command ${JSON.stringify(words[0])}`;
        const prompt = words.length > 1 ? words.join(" ") : "PROMPT";
        const next = `run solvay --help, or solvay generate ${JSON.stringify(prompt)}`;
        throw new UsageError({ code: "E_USAGE", problem, next });
      }
      await runLoop(context, options);
    });
  addGenerate(program, context);
  addGrid(program, context);
  addAgain(program, context);
  addResume(program, context);
  addUpscale(program, context);
  addShow(program, context);
  addPlan(program, context);
  addTokens(program, context);
  program.commandsGroup("Models:");
  addInspect(program, context);
  addVerify(program, context);
  addPack(program, context);
  addPull(program, context);
  addImport(program, context);
  addStore(program, context);
  program.commandsGroup("This machine:");
  addServe(program, context);
  addWorker(program, context);
  addJobs(program, context);
  addDoctor(program, context);
  addBench(program, context);
  return program;
}
