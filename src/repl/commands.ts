/** @file The loop's line commands: `:help`, `:seed 7`, ... */

import { UsageError } from "../errors.ts";
import { parseBudget } from "../ledger/budget.ts";
import { parseGuidance, parseSeed, parseSide, parseSteps } from "../terminal/options.ts";
import { planText } from "../terminal/plan-text.ts";
import type { Session } from "./session.ts";

interface LineCommand {
  readonly usage: string;
  readonly help: string;
  /** Returns what to print. Throws UsageError on an argument that does not fit. */
  readonly run: (session: Session, argument: string, signal: AbortSignal) => string | Promise<string>;
}

const COMMANDS: Readonly<Record<string, LineCommand>> = {
  help: { usage: ":help", help: "this list", run: () => helpText() },
  seed: {
    usage: ":seed N|random",
    help: "seed of the images to come",
    run: ({ settings }, argument) => {
      if (argument !== "") settings.seed = argument === "random" ? undefined : parseSeed(argument);
      return `Seed: ${settings.seed ?? "random"}`;
    },
  },
  steps: {
    usage: ":steps N",
    help: "1 to 1000",
    run: ({ settings }, argument) => {
      if (argument !== "") settings.steps = parseSteps(argument);
      return `Steps: ${settings.steps}`;
    },
  },
  size: {
    usage: ":size WxH|default",
    help: "pixels, multiples of 8",
    run: ({ settings }, argument) => {
      if (argument === "default") {
        settings.width = undefined;
        settings.height = undefined;
      } else if (argument !== "") {
        const [width = "", height = ""] = argument.split("x");
        const sides = [parseSide("width")(width), parseSide("height")(height)] as const;
        [settings.width, settings.height] = sides;
      }
      return `Size: ${settings.width === undefined ? "the model's own" : `${settings.width}x${settings.height}`}`;
    },
  },
  negative: {
    usage: ":negative [TEXT]",
    help: "what images should not show; nothing clears it",
    run: ({ settings }, argument) => {
      settings.negative = argument === "" ? undefined : argument;
      return `Negative: ${argument === "" ? "none" : argument}`;
    },
  },
  guidance: {
    usage: ":guidance N",
    help: "0 to 100; 1 or less turns it off",
    run: ({ settings }, argument) => {
      if (argument !== "") settings.guidance = parseGuidance(argument);
      return `Guidance: ${settings.guidance}`;
    },
  },
  vram: {
    usage: ":vram AMOUNT",
    help: "bound of device memory from the next image on: 4G, 512M, -1G",
    run: (session, argument) => changeBudget(session, "vram", argument),
  },
  ram: {
    usage: ":ram AMOUNT",
    help: "bound of other memory",
    run: (session, argument) => changeBudget(session, "ram", argument),
  },
  plan: {
    usage: ":plan",
    help: "what the next image takes, and why",
    run: async (session, _, signal) => planText(await session.plan(signal)),
  },
  model: {
    usage: ":model DIR|HUB-ID|demo",
    help: "another model",
    run: async (session, argument, signal) => {
      if (argument !== "") await session.changeModel(argument, signal);
      return `Model: ${session.modelName}`;
    },
  },
};

async function changeBudget(session: Session, tier: "vram" | "ram", argument: string): Promise<string> {
  const name = tier === "vram" ? "VRAM" : "RAM";
  if (argument !== "") {
    parseBudget(`:${tier}`, argument);
    await session.changeBudgets({ [tier]: argument });
  }
  return `${name}: ${session.settings[tier] ?? "chosen by what is free"}`;
}

/** Handled by the loop itself, since it makes an image. */
const AGAIN = { usage: ":again", help: "the last prompt once more" };

function helpText(): string {
  const rows = [...Object.values(COMMANDS), AGAIN, { usage: "quit, exit, q", help: "leave (or Ctrl-C)" }];
  return rows.map(({ usage, help }) => `  ${usage.padEnd(24)}${help}`).join("\n");
}

export type Line =
  | { readonly kind: "empty" | "quit" | "again" }
  | { readonly kind: "prompt"; readonly prompt: string }
  | { readonly kind: "command"; readonly run: (session: Session, signal: AbortSignal) => string | Promise<string> };

/** What a line asks for. Throws UsageError for an unknown `:command`. */
export function parseLine(line: string): Line {
  const text = line.trim();
  if (text === "") return { kind: "empty" };
  if (/^(quit|exit|q)$/i.test(text)) return { kind: "quit" };
  if (!text.startsWith(":")) return { kind: "prompt", prompt: text };
  const [, name = "", argument = ""] = /^:(\S*)\s*(.*)$/su.exec(text) ?? [];
  if (/^(quit|exit|q)$/.test(name)) return { kind: "quit" };
  if (name === "again") return { kind: "again" };
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (!command) throw new UsageError({ code: "E_USAGE", problem: `unknown command :${name}`, next: "type :help" });
  return { kind: "command", run: (session, signal) => command.run(session, argument, signal) };
}

/** For readline: the commands that begin like the line. */
export function completeLine(line: string): [string[], string] {
  const all = [...Object.keys(COMMANDS), "again", "quit"].map((name) => `:${name}`);
  return [line.startsWith(":") ? all.filter((name) => name.startsWith(line)) : [], line];
}
