/** @file The loop's commands that change a field, made of its table: `:seed 7`, `:size 64x128`, `:vram 4G`. */

import { UsageError } from "../errors.ts";
import { explained, type Field, type Fields, type LoopWord } from "../job/field-type.ts";
import { textOfValue, valueFromText } from "../job/text.ts";

export type Values = Readonly<Record<string, unknown>>;

/** Settings that commands read and change; a value that is taken away is undefined. */
export interface Settings {
  read(): Values;
  change(values: Values): void | Promise<void>;
}

export interface FieldCommand {
  readonly usage: string;
  readonly help: string;
  /** Returns what to print: the value as it is then. Throws UsageError on an argument that does not fit. */
  readonly run: (settings: Settings, argument: string) => Promise<string>;
}

interface LoopField extends Field {
  readonly loop: LoopWord;
}

/** Fields of one word, by name. */
type Members = readonly [readonly [string, LoopField], ...(readonly [string, LoopField])[]];

/** Name (without colon) -> command, in the table's order. */
export function fieldCommands(fields: Fields): Readonly<Record<string, FieldCommand>> {
  const words = new Map<string, Members>();
  for (const [name, field] of Object.entries(fields)) {
    if (!field.loop) continue;
    const member = [name, { ...field, loop: field.loop }] as const;
    const before = words.get(field.loop.word);
    words.set(field.loop.word, before ? [...before, member] : [member]);
  }
  return Object.fromEntries([...words].map(([word, members]) => [word, fieldCommand(word, members)]));
}

/** Fields of one word share its argument, with an "x" between them. */
function fieldCommand(word: string, members: Members): FieldCommand {
  const [[, first], ...others] = members;
  const { usage = "", title = word.charAt(0).toUpperCase() + word.slice(1), clear, cleared = "none" } = first.loop;
  const name = `:${word}`;
  const read = (argument: string): Values => {
    if (argument === clear) return Object.fromEntries(members.map(([key]) => [key, undefined]));
    const parts = members.length === 1 ? [argument] : argument.split("x");
    if (parts.length !== members.length) {
      const problem = `${name} must be ${members.length} values with an x between them (found ${JSON.stringify(argument)})`;
      throw new UsageError({ code: "E_USAGE", problem, next: `write ${name} ${usage}` });
    }
    return Object.fromEntries(members.map(([key, { kind }], i) => [key, valueFromText(kind, name, parts[i]!)]));
  };
  return {
    usage: `${name} ${usage}`.trimEnd(),
    help: explained(first, ...others.map(([, field]) => field)) + (clear === "" ? "; without text: cleared" : ""),
    run: async (settings, argument) => {
      if (argument !== "" || clear === "") await settings.change(read(argument));
      const values = settings.read();
      const shown = members.map(([key, field]) => textOf(field, values[key] ?? field.default));
      return `${title}: ${shown.includes(undefined) ? cleared : shown.join("x")}`;
    },
  };
}

function textOf({ kind }: Field, value: unknown): string | undefined {
  return value === undefined ? undefined : textOfValue(kind, value);
}
