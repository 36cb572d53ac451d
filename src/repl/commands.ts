/** @file The loop's line commands: `:help`, `:seed 7`, ... */

import { homedir } from "node:os";
import { UsageError } from "../errors.ts";
import { BUDGET_FIELDS, JOB_FIELDS } from "../job/fields.ts";
import { nearestName } from "../sampler/name-table.ts";
import { planText } from "../terminal/plan-text.ts";
import { completion } from "./completion.ts";
import { type FieldCommand, fieldCommands, type Settings } from "./field-commands.ts";
import type { Session } from "./session.ts";

interface LineCommand {
  readonly usage: string;
  readonly help: string;
  /** Returns what to print. Throws UsageError on an argument that does not fit. */
  readonly run: (session: Session, argument: string, signal: AbortSignal) => string | Promise<string>;
}

const COMMANDS: Readonly<Record<string, LineCommand>> = {
  help: { usage: ":help", help: "this list", run: () => helpText() },
  ...bound(fieldCommands(JOB_FIELDS), jobSettings),
  ...bound(fieldCommands(BUDGET_FIELDS), budgetSettings),
  plan: {
    usage: ":plan",
    help: "what the next image takes, and why",
    run: async (session, _, signal) => planText(await session.plan(signal)),
  },
  load: {
    usage: ":load FILE",
    help: "the settings and the prompt of a picture; :again draws it",
    run: (session, argument, signal) => {
      if (argument === "")
        throw new UsageError({ code: "E_USAGE", problem: "no picture is named", next: "type :load FILE" });
      return session.loadSettings(typedPath(argument), signal);
    },
  },
  model: {
    usage: ":model DIR|FILE|HUB-ID|demo",
    help: "another model",
    run: async (session, argument, signal) => {
      if (argument !== "") await session.changeModel(typedPath(argument), signal);
      return `Model: ${session.modelName}`;
    },
  },
};

/** A path as shells take it: in quotes, or from the home folder. */
export function typedPath(text: string): string {
  const [, , path = text] = /^(["'])(.*)\1$/s.exec(text) ?? [];
  return path.replace(/^~(?=$|[\\/])/, () => homedir());
}

function bound(
  commands: Readonly<Record<string, FieldCommand>>,
  settingsOf: (session: Session) => Settings,
): Record<string, LineCommand> {
  const lines = Object.entries(commands).map(([name, { usage, help, run }]) => {
    const line: LineCommand = { usage, help, run: (session, argument) => run(settingsOf(session), argument) };
    return [name, line] as const;
  });
  return Object.fromEntries(lines);
}

function jobSettings(session: Session): Settings {
  return {
    read: () => ({ ...session.job }),
    change: (values) => {
      session.job = { ...session.job, ...values };
    },
  };
}

/** They hold from the next image on. */
function budgetSettings(session: Session): Settings {
  return { read: () => session.budgets, change: (values) => session.changeBudgets(values) };
}

/** Handled by the loop itself, since it makes an image. */
const AGAIN = { usage: ":again", help: "the last prompt once more" };

/** Where what a command does stands in the list of them. */
const HELP_COLUMN = 24;

function helpText(): string {
  const rows = [...Object.values(COMMANDS), AGAIN, { usage: "quit, exit, q", help: "leave (or Ctrl-C)" }];
  // A long usage has a line of its own.
  const gap = (usage: string) => (usage.length < HELP_COLUMN ? "" : `\n  ${" ".repeat(HELP_COLUMN)}`);
  return rows.map(({ usage, help }) => `  ${usage.padEnd(HELP_COLUMN)}${gap(usage)}${help}`).join("\n");
}

export type Line =
  | { readonly kind: "empty" | "quit" | "again" }
  | { readonly kind: "prompt"; readonly prompt: string }
  | { readonly kind: "command"; readonly run: (session: Session, signal: AbortSignal) => string | Promise<string> };

/** What a line asks for. Throws UsageError for an unknown `:command`. */
export function parseLine(line: string): Line {
  const text = line.trim();
  if (text === "") return { kind: "empty" };
  // With the sign of other programs, too: nobody wants a picture of "/quit".
  if (/^[:/]?(quit|exit|q)$/i.test(text)) return { kind: "quit" };
  if (!text.startsWith(":")) return { kind: "prompt", prompt: text };
  const [, name = "", argument = ""] = /^:(\S*)\s*(.*)$/su.exec(text) ?? [];
  if (name === "again") return { kind: "again" };
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (!command) {
    const nearest = nearestName([...Object.keys(COMMANDS), "again"], name);
    const hint = nearest === undefined ? "" : ` (nearest is :${nearest})`;
    throw new UsageError({ code: "E_USAGE", problem: `unknown command :${name}${hint}`, next: "type :help" });
  }
  return { kind: "command", run: (session, signal) => command.run(session, argument, signal) };
}

/** For readline: see completion.ts. */
export function completeLine(line: string, cwd: string): [string[], string] {
  return completion(line, { commands: [...Object.keys(COMMANDS), "again", "quit"], cwd });
}
