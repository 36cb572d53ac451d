/**
 * @file What a field of a job, or of an open request, is: plain data from which the schema, the flags, the loop's words, the
 * infotext and the help are made. The tables are in fields.ts. No zod here: it takes 80 ms to load, and a face needs none.
 */
import type { Budget } from "../ledger/budget.ts";
import type { NameTable } from "../sampler/name-table.ts";
import { type LoraUse, MAX_LORA_WEIGHT, MAX_LORAS } from "./lora-use.ts";
import type { PairSeparator } from "./pair.ts";
import type { Seed } from "./seed.ts";
import { type UsesByKind, type UsesType, useTable } from "./use-tables.ts";

/** What values a field takes. Bounds are inclusive. */
export type Kind =
  | { readonly type: "text"; readonly maxChars: number }
  | { readonly type: "whole"; readonly min: number; readonly max: number; readonly multiple?: number }
  | { readonly type: "decimal"; readonly min: number; readonly max: number }
  | { readonly type: "choice"; readonly values: readonly string[] }
  /** A name among those that people use; the value is its meaning in ours. */
  | { readonly type: "named"; readonly table: NameTable }
  | { readonly type: "switch" }
  | { readonly type: "seed" }
  /** Two whole numbers in one text, such as 1024x768. */
  | { readonly type: "pair"; readonly separator: PairSeparator; readonly min: number; readonly max: number }
  /** One string for a picture (picture.ts): a file, a data: URL, or the hash of an asset. */
  | { readonly type: "picture" }
  /** Adapters with their strengths (lora-use.ts); as text one or several. A flag may come again. */
  | { readonly type: "loras" }
  /** Several pictures, each as above; as text a list (list-text.ts). A flag may come again. */
  | { readonly type: "pictures"; readonly maxCount: number }
  /** Files with settings of their own (use-tables.ts); as text one or several. A flag may come again, those of its parts follow it. */
  | { readonly type: UsesType }
  /** Files, as paths or names; as text one or several (list-text.ts). A flag may come again. */
  | { readonly type: "files"; readonly maxCount: number }
  /** Memory: text such as "6G", a number of bytes, or a Budget, which the others become. */
  | { readonly type: "amount" };

export type FieldValue =
  | string
  | number
  | boolean
  | Budget
  | readonly LoraUse[]
  | readonly UsesByKind[UsesType][]
  | readonly string[];

/** An option of the command line. */
export interface Flag {
  /** As in the help: "--steps <n>". */
  readonly usage: string;
  /** Heading in the help. */
  readonly group: "Model" | "Compute" | "Budgets" | "Picture" | "Prompts" | "From a picture" | "Second pass" | "Output";
}

/** A command of the interactive loop. Fields of one word share a line: `:size 64x128`. */
export interface LoopWord {
  /** "seed" is `:seed`. */
  readonly word: string;
  /** What follows it, in the help: "N|random". Of the first field of a word. */
  readonly usage?: string;
  /** What it is called in the answer. Default: the word with a capital letter. */
  readonly title?: string;
  /** The argument that takes the value away. */
  readonly clear?: string;
  /** How no value is told. */
  readonly cleared?: string;
}

/** An entry of the infotext's line of settings, by A1111's name, which gives it its place (infotext-order.ts). */
export interface InfotextEntry {
  readonly name: string;
  /** Its text where that is not the value's own; undefined leaves the entry out. */
  readonly write?: (record: Readonly<Record<string, unknown>>) => string | undefined;
  /**
   * The way back from such a text: values of fields by name, as text or as they are, each of which is then checked by its kind.
   * Undefined where the text can't be read. Wanted of every field with `write`.
   * @param entries all of the infotext, for a name that means different things beside others
   */
  readonly read?: (text: string, entries: ReadonlyMap<string, string>) => Readonly<Record<string, unknown>> | undefined;
  /** Names of further entries that `read` reads, too. */
  readonly beside?: readonly string[];
  /** Of a list: an entry for each item, "NAME 0" and so on, in place of one for all. `read` as above, of one item. */
  readonly each?: {
    readonly write: (item: unknown) => string;
    readonly read: (text: string, entries: ReadonlyMap<string, string>) => unknown;
  };
}

export interface Field {
  readonly kind: Kind;
  /** A phrase for the help and for API documents, without limits and default: those are added. */
  readonly description: string;
  readonly required?: true;
  readonly default?: FieldValue;
  /** What stands in for a value that nobody gave, where that is not `default`. */
  readonly absent?: string;
  readonly flag?: Flag;
  readonly loop?: LoopWord;
  readonly infotext?: InfotextEntry;
  /** A picture's records leave the default out: a field that comes later keeps the bytes of the pictures before it. */
  readonly omitsDefault?: true;
  /** What other programs call it: named in refusals, and by readers of other programs' requests. */
  readonly aliases?: readonly string[];
  /** A plan depends on it. */
  readonly shapesPlan?: true;
}

export type Fields = Readonly<Record<string, Field>>;

type KindValue<K> = K extends { readonly type: "text" | "picture" | "named" | "pair" }
  ? string
  : K extends { readonly type: "whole" | "decimal" }
    ? number
    : K extends { readonly type: "choice"; readonly values: readonly (infer Choice)[] }
      ? Choice
      : K extends { readonly type: "switch" }
        ? boolean
        : K extends { readonly type: "seed" }
          ? Seed
          : K extends { readonly type: "loras" }
            ? readonly LoraUse[]
            : K extends { readonly type: infer Type extends UsesType }
              ? readonly UsesByKind[Type][]
              : K extends { readonly type: "files" | "pictures" }
                ? readonly string[]
                : Budget;

/** Names of the fields that must be given. */
type Required<F extends Fields> = {
  [Name in keyof F]: F[Name] extends { readonly required: true } ? Name : never;
}[keyof F];

/** What a checked object with these fields is. */
export type ValuesOf<F extends Fields> = { readonly [Name in Required<F>]: KindValue<F[Name]["kind"]> } & {
  readonly [Name in Exclude<keyof F, Required<F>>]?: KindValue<F[Name]["kind"]>;
};

/** The values that are allowed, as in "... must be a whole number from 1 to 1000". */
export function allowed(kind: Kind): string {
  switch (kind.type) {
    case "text":
      return `text of at most ${kind.maxChars} characters`;
    case "whole": {
      const noun = kind.multiple === undefined ? "a whole number" : `a multiple of ${kind.multiple}`;
      return `${noun} from ${kind.min} to ${kind.max}`;
    }
    case "decimal":
      return `a number from ${kind.min} to ${kind.max}`;
    case "choice":
      return `one of ${kind.values.join(", ")}`;
    case "named":
      return `one of ${kind.table.names.join(", ")}, or what other programs call them`;
    case "switch":
      return "true or false";
    case "seed":
      return "a whole number from 0 to 18446744073709551615, or -1 for a random one";
    case "pair": {
      const { min, max, separator } = kind;
      return `two whole numbers from ${min} to ${max} with ${separator === "x" ? "an x" : "a comma"} between them`;
    }
    case "picture":
      return "a picture: a file, a data: URL of a PNG, JPEG or WebP, or sha256: and an asset's hash";
    case "pictures":
      return `up to ${kind.maxCount} pictures: files, data: URLs, or sha256: and an asset's hash`;
    case "loras":
      return `up to ${MAX_LORAS} files, each with weights from -${MAX_LORA_WEIGHT} to ${MAX_LORA_WEIGHT} and shares of steps from 0 to 1, as in FILE:0.8 or FILE:te=0.5:unet=1:to=0.6`;
    case "controls":
    case "ipAdapters": {
      const { max, example } = useTable(kind)!;
      return `up to ${max} files, each with its settings, as in ${example}`;
    }
    case "files":
      return `up to ${kind.maxCount} files`;
    case "amount":
      return "an amount of memory such as 6G, 512M, or -1G for all but 1 GiB";
  }
}

/** Of what `allowed` says, whether it is a range: of numbers, or of lengths. */
export function hasRange({ type }: Kind): boolean {
  return type === "text" || type === "whole" || type === "decimal" || type === "seed";
}

/** "; nearest is euler" of a text that none of the kind's names is, where one is near. */
export function nearestOf(kind: Kind, text: string): string {
  const near = kind.type === "named" ? kind.table.nearest(text) : undefined;
  return near === undefined ? "" : `; nearest is ${near}`;
}

/** Description with limits, for help; several fields of one kind share them. */
export function explained(...fields: readonly [Field, ...Field[]]): string {
  const [{ kind }] = fields;
  const text = fields.map(({ description }) => description).join(", ");
  if (kind.type === "seed") return `${text}, 0 to 2^64-1; -1: random`;
  if (kind.type === "named") return `${text}: ${kind.table.names.join(", ")}`;
  if (kind.type !== "whole" && kind.type !== "decimal") return text;
  const multiple = kind.type === "whole" && kind.multiple !== undefined ? `multiple of ${kind.multiple}, ` : "";
  return `${text}, ${multiple}${kind.min} to ${kind.max}`;
}

/** The flag without its value: "--steps". */
export function flagName(flag: Pick<Flag, "usage">): string {
  return flag.usage.split(" ", 1)[0]!;
}

/** The field that other programs call `name`, or that differs from it only in capitals and underscores. */
export function fieldMeant(fields: Fields, name: string): string | undefined {
  const plain = (text: string) => text.replace(/[-_]/g, "").toLowerCase();
  const same = (other: string) => plain(other) === plain(name);
  return Object.entries(fields).find(([own, { aliases }]) => same(own) || aliases?.some(same))?.[0];
}
