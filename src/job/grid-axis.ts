/**
 * @file An axis of a grid: a field of a job with the values that it takes, or words put in place of others in the prompt. Ranges as in
 * A1111's X/Y/Z plot: `1-5`, `1-10 (+3)`, `1-10 [4]` for so many values; `20-40:10` is `20-40 (+10)`.
 */
import { UsageError } from "../errors.ts";
import { type Field, type Fields, flagName, type InfotextEntry } from "./field-type.ts";
import { JOB_FIELDS } from "./fields.ts";
import type { GenerateJob } from "./job.ts";
import type { UsePart } from "./parted-use.ts";
import { drawSeed } from "./seed.ts";
import { textOfValue, valueFromText } from "./text.ts";
import { useTable } from "./use-tables.ts";

export interface GridAxis {
  /** As the user named it. */
  readonly name: string;
  /** The values' texts, as legends show them. */
  readonly texts: readonly string[];
  /** The job with value number `i`. */
  readonly apply: (job: GenerateJob, i: number) => GenerateJob;
  /** The field that it changes; absent for prompts. */
  readonly field?: string;
  /** What is opened for value number `i`, where that is what it changes. */
  readonly opens?: (i: number) => Readonly<Record<string, string>>;
}

/** Words in place of the first ones. */
const SEARCH_AND_REPLACE = ["prompt-sr", "sr", "prompt s/r"];
/** What A1111's X/Y/Z plot calls fields, where it is none of their names here. */
const A1111_AXES: ReadonlyMap<string, string> = new Map([
  ["varseed", "subseed"],
  ["varstrength", "subseedStrength"],
  ["denoising", "strength"],
  ["scheduletype", "schedule"],
]);
/** Axes that change what is opened: fields of a request. */
const OPENING_AXES: ReadonlyMap<string, string> = new Map([
  ...["model", "checkpoint", "checkpointname"].map((name) => [name, "model"] as const),
  ["vae", "vae"],
]);
/** Entries of the infotext that several fields share. */
const ENTRIES_OF_MANY = ["size"];
/** Fields whose numbers the infotext counts from elsewhere. */
const COUNTED_OTHERWISE = ["clipSkip"];
/** No grid has more values on one axis. */
const MAX_VALUES = 200;
const NUMBER = String.raw`([+-]?\d*\.?\d+)`;
const RANGE = new RegExp(
  `^${NUMBER}\\s*-\\s*${NUMBER}(?:\\s*\\(([+-]?\\d*\\.?\\d+)\\)|:(\\d*\\.?\\d+)|\\s*\\[(\\d+)\\])?$`,
);

/** `text`: "steps=10,20-40:10". `flag`: how the user gave it. Throws UsageError. */
export function parseAxis(flag: string, text: string, fields: Fields = JOB_FIELDS): GridAxis {
  const [, name = "", list = ""] = /^\s*([\w ./[\]-]+?)\s*=(.*)$/s.exec(text) ?? [];
  const values = csvValues(list);
  if (name === "" || list.trim() === "") {
    throw refusal(
      flag,
      `an axis is a name and values (found ${JSON.stringify(text)})`,
      `write ${flag} "steps=10,20,30"`,
    );
  }
  const opened = OPENING_AXES.get(plain(name));
  if (opened !== undefined) {
    if (values.length > MAX_VALUES) throw tooMany(flag, values.length);
    const texts = values.map((value) => value.split(/[\\/]/).at(-1)!);
    return { name, texts, apply: (job) => job, opens: (i) => ({ [opened]: values[i]! }) };
  }
  if (SEARCH_AND_REPLACE.includes(name.toLowerCase())) return searchAndReplace(flag, name, values);
  const part = partNamed(name, fields);
  if (part) return partAxis(flag, name, values, part);
  const key = fieldNamed(name, fields);
  if (key === undefined) {
    const known = [
      ...Object.entries(fields).flatMap(([each, { flag: own }]) => (own ? [flagName(own).slice(2)] : [each])),
      ...listedParts(fields).map(({ shown }) => shown),
    ];
    const problem = `there is no field ${JSON.stringify(name)} (allowed ${[...known, SEARCH_AND_REPLACE[0]].join(", ")})`;
    throw refusal(flag, problem, "name one of them");
  }
  const { kind, infotext } = fields[key]!;
  // Fields that have one entry of the infotext between them, such as Size: each value says all of them.
  if (infotext?.read && isEntry(name, infotext.name)) return entryAxis(flag, name, values, infotext.read, fields);
  // Counted otherwise there: who writes A1111's name means its numbers.
  if (infotext?.read && COUNTED_OTHERWISE.includes(key) && name.toLowerCase() === infotext.name.toLowerCase()) {
    const counts = values.flatMap((value) => ranged(flag, value, true));
    return { ...entryAxis(flag, name, counts, infotext.read, fields), field: key };
  }
  const numeric = kind.type === "whole" || kind.type === "decimal" || kind.type === "seed";
  const texts = numeric ? values.flatMap((value) => ranged(flag, value, kind.type !== "decimal")) : values;
  if (texts.length > MAX_VALUES) throw tooMany(flag, texts.length);
  // A seed left to chance is drawn once, so that its whole column has the same.
  const read = texts.map((each) => valueFromText(kind, `${flag} ${name}`, each) ?? drawSeed());
  return {
    name,
    texts: read.map((value) => textOfValue(kind, value)),
    field: key,
    apply: (job, i) => ({ ...job, [key]: read[i] }),
  };
}

/** A setting of one of a job's ControlNets, or of its like. */
interface ListedPart {
  /** The field that lists them. */
  readonly list: string;
  readonly part: string;
  readonly kind: Exclude<UsePart["kind"], { readonly type: "pictures" }>;
  /** Its flag's name. */
  readonly shown: string;
}

function listedParts(fields: Fields): readonly ListedPart[] {
  return Object.entries(fields).flatMap(([list, field]) =>
    Object.entries(useTable(field.kind)?.parts ?? {}).flatMap(([part, { kind, usage }]) =>
      kind.type === "pictures" ? [] : [{ list, part, kind, shown: flagName({ usage }).slice(2) }],
    ),
  );
}

/** "control-weight" of the first, "control-weight 2" of the second; A1111's extension's "[ControlNet] Guidance Start". */
function partNamed(name: string, fields: Fields): (ListedPart & { readonly index: number }) | undefined {
  const [, text = "", number] = /^(.*?)(\d?)$/.exec(plain(name)) ?? [];
  const own = text.replace(/^controlnet(guidance)?/, "control");
  const found = listedParts(fields).find(({ shown }) => plain(shown) === own);
  return found && { ...found, index: Number(number || 1) - 1 };
}

function partAxis(
  flag: string,
  name: string,
  values: readonly string[],
  { list, part, kind, index }: ListedPart & { readonly index: number },
): GridAxis {
  const texts = kind.type === "decimal" ? values.flatMap((value) => ranged(flag, value, false)) : values;
  if (texts.length > MAX_VALUES) throw tooMany(flag, texts.length);
  const read = texts.map((text) => valueFromText(kind, `${flag} ${name}`, text));
  return {
    name,
    texts,
    field: `${list}.${index}.${part}`,
    apply(job, i) {
      const uses = (job[list as keyof GenerateJob] ?? []) as readonly { readonly file: string }[];
      if (!uses[index]) {
        const problem = `it is of number ${index + 1} of the job's ${list} (found ${uses.length})`;
        throw refusal(flag, problem, `name it in the job first`);
      }
      return { ...job, [list]: uses.map((use, at) => (at === index ? { ...use, [part]: read[i] } : use)) };
    },
  };
}

/** Two axes over one field would show each other's values under their own legends. `axes`: by flag. Throws UsageError. */
export function requireApart(axes: Readonly<Record<string, GridAxis>>): void {
  const taken = new Map<string, string>();
  for (const [flag, { field, opens }] of Object.entries(axes)) {
    const changed = field ?? (opens && Object.keys(opens(0))[0]);
    const other = changed === undefined ? undefined : taken.get(changed);
    if (other !== undefined) throw refusal(flag, `${other} is over ${changed} already`, "name another field");
    if (changed !== undefined) taken.set(changed, flag);
  }
}

/** Its own name in the infotext, where that is not the field's own. */
function isEntry(name: string, entry: string): boolean {
  return plain(name) === plain(entry) && ENTRIES_OF_MANY.includes(plain(entry));
}

function entryAxis(
  flag: string,
  name: string,
  texts: readonly string[],
  read: NonNullable<InfotextEntry["read"]>,
  fields: Fields,
): GridAxis {
  const jobs = texts.map((text) => {
    const values = read(text.trim(), new Map());
    if (!values)
      throw refusal(flag, `${name} can't be ${JSON.stringify(text)}`, "write its values as an infotext has them");
    const checked = Object.entries(values).map(
      ([key, value]) => [key, valueFromText(fields[key]!.kind, `${flag} ${name}`, String(value))] as const,
    );
    return Object.fromEntries(checked);
  });
  return { name, texts, apply: (job, i) => ({ ...job, ...jobs[i] }) };
}

/** A field by its own name, its flag's, its loop word, its infotext's or an alias. */
function fieldNamed(name: string, fields: Fields): string | undefined {
  const named = A1111_AXES.get(plain(name));
  if (named !== undefined && Object.hasOwn(fields, named)) return named;
  const names = ([key, { flag, loop, infotext, aliases = [] }]: [string, Field]) =>
    [key, flag && flagName(flag), loop?.word, infotext?.name, ...aliases].flatMap((each) =>
      each ? [plain(each)] : [],
    );
  return Object.entries(fields).find((entry) => names(entry).includes(plain(name)))?.[0];
}

function searchAndReplace(flag: string, name: string, values: readonly string[]): GridAxis {
  const [searched = ""] = values;
  if (searched === "" || values.length < 2) {
    throw refusal(flag, `${name} wants the words to replace, and others`, `write ${flag} "${name}=cat,dog,horse"`);
  }
  if (values.length > MAX_VALUES) throw tooMany(flag, values.length);
  return {
    name,
    texts: values,
    apply(job, i) {
      const { prompt, negativePrompt = "" } = job;
      if (!prompt.includes(searched) && !negativePrompt.includes(searched)) {
        throw refusal(
          flag,
          `the prompt does not have ${JSON.stringify(searched)}`,
          "name words that are in the prompt",
        );
      }
      const replaced = (text: string) => text.replaceAll(searched, () => values[i]!);
      const negative = job.negativePrompt === undefined ? {} : { negativePrompt: replaced(job.negativePrompt) };
      return { ...job, prompt: replaced(prompt), ...negative };
    },
  };
}

/** The numbers of a range, or the text itself. */
function ranged(flag: string, text: string, whole: boolean): string[] {
  const [match, from, to, step, colonStep, countText] = RANGE.exec(text) ?? [];
  if (match === undefined) return [text];
  const [start, end] = [Number(from), Number(to)];
  if (countText !== undefined) {
    const count = Number(countText);
    if (count > MAX_VALUES || count < 1) throw tooMany(flag, count);
    const values = Array.from({ length: count }, (_, i) =>
      count === 1 ? start : start + ((end - start) * i) / (count - 1),
    );
    return values.map((value) => (whole ? String(Math.trunc(value)) : plainDecimal(value)));
  }
  const by = Number(step ?? colonStep ?? (end >= start ? 1 : -1));
  const signed = colonStep !== undefined && end < start ? -by : by;
  const steps = Math.floor((end - start) / signed + 1e-9);
  if (!(steps >= 0))
    throw refusal(flag, `the range ${JSON.stringify(text)} leads nowhere`, "give its step the other sign");
  if (steps + 1 > MAX_VALUES) throw tooMany(flag, steps + 1);
  return Array.from({ length: steps + 1 }, (_, i) => plainDecimal(start + signed * i));
}

/** Without the dust of binary fractions. */
function plainDecimal(value: number): string {
  return String(Number(value.toFixed(6)));
}

/** Values between commas; one that has commas, spaces at its ends or quotes stands in double quotes, quotes in it twice. */
function csvValues(list: string): string[] {
  const values = [...list.matchAll(/\s*(?:"((?:[^"]|"")*)"\s*|([^,]*))(?:,|$)/g)];
  // The pattern matches nothing once more at the end.
  return values
    .slice(0, list.endsWith(",") ? undefined : -1)
    .map(([, quoted, plain = ""]) => (quoted === undefined ? plain.trim() : quoted.replaceAll('""', '"')));
}

/** Letters and digits, whatever is between them. */
function plain(text: string): string {
  return text.replace(/[-_ .[\]]/g, "").toLowerCase();
}

function tooMany(flag: string, count: number): UsageError {
  return refusal(flag, `too many values on one axis (found ${count}, allowed ${MAX_VALUES})`, "give fewer");
}

function refusal(flag: string, problem: string, next: string): UsageError {
  return new UsageError({ code: "E_GRID", subject: flag, problem, next });
}
