/** @file What is wrong with a command line that the parser refuses, in a line that says what to write instead. Pure. */
import type { Command, CommanderError } from "commander";
import { UsageError } from "../errors.ts";
import { type Fields, fieldMeant, flagName } from "../job/field-type.ts";
import { BUDGET_FIELDS, JOB_FIELDS, OPEN_FIELDS } from "../job/fields.ts";

/** As many options as can be chosen from. */
const FEW = 3;

/** The error for the person who wrote `argv`. */
export function misuse(error: CommanderError, program: Command, argv: readonly string[]): UsageError {
  return unquoted(error, argv) ?? misused(error, program, argv);
}

/** What is wrong where a prompt came without quotes, in as many words. */
function unquoted({ code }: CommanderError, [command = "", ...rest]: readonly string[]): UsageError | undefined {
  if (code !== "commander.excessArguments" || !["generate", "tokens"].includes(command)) return undefined;
  const firstFlag = rest.findIndex((word) => word.startsWith("-"));
  const words = firstFlag < 0 ? rest : rest.slice(0, firstFlag);
  const prompt = words.length > 1 ? words.join(" ") : "PROMPT";
  return new UsageError({
    code: "E_USAGE",
    problem: "the prompt must be one argument",
    next: `put it in quotes: solvay ${command} ${JSON.stringify(prompt)}`,
  });
}

/** What is wrong with a command line, and where its own command tells what it takes. */
function misused(error: CommanderError, program: Command, argv: readonly string[]): UsageError {
  const words = ["solvay"];
  let command = program;
  for (const word of argv) {
    const named = command.commands.find((other) => other.name() === word);
    if (!named) break;
    command = named;
    words.push(word);
  }
  // Without a command's name it is the loop.
  if (command === program) command = program.commands.find((other) => other.name() === "loop") ?? program;
  const problem = error.message.replace(/^error: /, "").replace(/\.$/, "");
  const [, unknown] = /^unknown option '(--?[^'=]*)/.exec(problem) ?? [];
  const next = unknown !== undefined && instead(unknown, command, words);
  if (!next) return new UsageError({ code: "E_USAGE", problem, next: `run ${words.join(" ")} --help` });
  return new UsageError({ code: "E_USAGE", problem: `unknown option '${unknown}'`, next });
}

/** What to write in place of an option that `command` lacks: what other programs call one of its own, the start of one, or its argument. */
function instead(unknown: string, command: Command, words: readonly string[]): string | undefined {
  const name = unknown.replace(/^-+/, "");
  const own = command.options.flatMap(({ long }) => long ?? []);
  for (const fields of [JOB_FIELDS, OPEN_FIELDS, BUDGET_FIELDS] as readonly Fields[]) {
    const { flag } = fields[fieldMeant(fields, name) ?? ""] ?? {};
    if (flag && own.includes(flagName(flag))) return `write ${flag.usage}`;
  }
  const begun = own.filter((long) => name.length > 1 && long.startsWith(`--${name}`));
  if (begun.length > 0 && begun.length <= FEW) return `write ${begun.join(" or ")}`;
  const argument = command.registeredArguments.find((each) => each.name() === name);
  return argument && `give it without ${unknown}: ${words.join(" ")} ${argument.required ? `<${name}>` : `[${name}]`}`;
}
