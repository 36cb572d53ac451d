/**
 * @file What is typed into the gallery's search: words and "phrases" of the infotext, the last of each word open at its end, -without; and settings
 * by a job's field names, steps:30, guidance:>6, width:768-1024, sampler:euler. Pure: text to conditions with values beside them.
 */
import { JOB_FIELDS } from "../../job/fields.ts";

/** A part of a where clause; `$` stands for each value in turn. */
export interface Condition {
  readonly text: string;
  readonly values: readonly (string | number)[];
}

const MAX_TERMS = 24;
const MAX_CHARS = 500;
/** A field's name and what is wanted of it, or a phrase, or a word. */
const TERM = /(-?)(?:([A-Za-z][A-Za-z0-9]{1,30}):("[^"]*"|\S+)|"([^"]*)"|(\S+))/g;
const RANGE = /^(\d+(?:\.\d+)?)?(?:-(\d+(?:\.\d+)?))?$/;
const COMPARED = /^(>=|<=|>|<)(\d+(?:\.\d+)?)$/;

/** Conditions over `g` (solvay.gallery) and `j` (solvay.jobs), all of which must hold. What is no setting is looked for as words. */
export function galleryConditions(query: string): readonly Condition[] {
  const terms = [...query.slice(0, MAX_CHARS).replaceAll("\0", " ").matchAll(TERM)].slice(0, MAX_TERMS);
  return terms.flatMap(([whole, minus, name, wanted, phrase, word]) => {
    const not = minus === "-";
    const setting = name === undefined ? undefined : settingCondition(name, wanted!.replaceAll('"', ""));
    const found = setting ?? wordCondition(phrase ?? word ?? (not ? whole.slice(1) : whole));
    if (!found) return [];
    return [not ? { ...found, text: `not coalesce(${found.text}, false)` } : found];
  });
}

function wordCondition(words: string): Condition | undefined {
  // A lexeme in quotes: PostgreSQL takes it apart as it did the infotext. Only characters of words get there.
  const lexeme = words.replaceAll(/[^\p{L}\p{N}_.-]+/gu, " ").trim();
  if (!/[\p{L}\p{N}]/u.test(lexeme)) return undefined;
  return { text: "to_tsvector('simple', g.infotext) @@ to_tsquery('simple', $)", values: [`'${lexeme}':*`] };
}

function settingCondition(name: string, wanted: string): Condition | undefined {
  const field = Object.keys(JOB_FIELDS).find((each) => each.toLowerCase() === name.toLowerCase());
  if (field === undefined || wanted === "") return undefined;
  const { kind, infotext } = JOB_FIELDS[field as keyof typeof JOB_FIELDS] as (typeof JOB_FIELDS)["steps"];
  // What the job leaves to the model stands in the infotext alone.
  const said = infotext === undefined ? "null" : `substring(g.infotext from '${infotext.name}: ([^,\n]+)')`;
  const side = { width: "'Size: (\\d+)x'", height: "'Size: \\d+x(\\d+)'" }[field as string];
  const value = `coalesce(j.job->>'${field}', ${side === undefined ? said : `substring(g.infotext from ${side})`})`;
  const isNumber = kind.type === "whole" || (kind.type as string) === "decimal" || (kind.type as string) === "seed";
  if (!isNumber) return { text: `${value} ilike $`, values: [`%${likeText(wanted)}%`] };
  const number = `substring(${value} from '^-?[0-9.]{1,30}')::numeric`;
  const [, operator, bound] = COMPARED.exec(wanted) ?? [];
  if (operator !== undefined) return { text: `${number} ${operator} $::numeric`, values: [bound!] };
  const [, from, to] = RANGE.exec(wanted) ?? [];
  if (from === undefined) return undefined;
  return { text: `${number} between $::numeric and $::numeric`, values: [from, to ?? from] };
}

function likeText(text: string): string {
  return text.replaceAll(/[\\%_]/g, (char) => `\\${char}`);
}
