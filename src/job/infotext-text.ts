/**
 * @file An infotext taken apart, by the rules of `parse_generation_parameters` of A1111's web UI 1.10 (modules/infotext_utils.py): the
 * last line counts as settings only with three entries or more, values may be JSON strings. Two things that it leaves in pieces are read
 * whole: JSON as a value, which Civitai writes unquoted, and the templates that dynamic prompts add below. Takes linear time.
 */

export interface Infotext {
  readonly prompt: string;
  /** Absent: the text has no such line. */
  readonly negativePrompt?: string | undefined;
  /** Entries of the line of settings, unquoted, by name; of equal names the last. */
  readonly entries: ReadonlyMap<string, string>;
  /** What the prompts were drawn from. */
  readonly template?: string | undefined;
  readonly negativeTemplate?: string | undefined;
}

/** A line with fewer is part of a prompt. */
const MIN_ENTRIES = 3;
const NEGATIVE = "Negative prompt:";
/** Each look for the end of a JSON value may go through the whole line. */
const MAX_BROKEN_JSON = 8;

export function parseInfotext(text: string): Infotext {
  const lines = text.replaceAll("\r\n", "\n").trim().split("\n");
  const templates = takeTemplates(lines);
  const settings = settingsOf(lines.at(-1)!);
  if (settings.length >= MIN_ENTRIES) lines.pop();
  const prompt: string[] = [];
  let negative: string[] | undefined;
  for (const line of lines.map((each) => each.trim())) {
    const begins = line.startsWith(NEGATIVE);
    if (begins) negative ??= [];
    (negative ?? prompt).push(begins ? line.slice(NEGATIVE.length).trim() : line);
  }
  const entries = new Map(settings.length >= MIN_ENTRIES ? settings : []);
  return { prompt: joined(prompt), negativePrompt: negative && joined(negative), entries, ...templates };
}

/** As A1111 joins them: lines before the first that is not empty are lost. */
function joined(lines: readonly string[]): string {
  const first = lines.findIndex((line) => line !== "");
  return first < 0 ? "" : lines.slice(first).join("\n");
}

/** Takes the templates off the end of `lines`; they follow the settings. */
function takeTemplates(lines: string[]): Pick<Infotext, "template" | "negativeTemplate"> {
  const isTemplate = (line: string) => /^(?:Negative )?Template:/.test(line);
  const first = lines.findIndex(
    (line, i) => i > 0 && isTemplate(line) && settingsOf(lines[i - 1]!).length >= MIN_ENTRIES,
  );
  if (first < 0) return {};
  const found = new Map<string, string[]>();
  let current = "";
  for (const line of lines.splice(first)) {
    const [, name, rest] = /^((?:Negative )?Template):(.*)$/.exec(line) ?? [];
    if (name !== undefined) {
      current = name;
      found.set(name, []);
    }
    found.get(current)!.push(rest ?? line);
  }
  const textOf = (name: string) => found.get(name)?.join("\n").trim();
  return { template: textOf("Template"), negativeTemplate: textOf("Negative Template") };
}

/** The entries that A1111's pattern finds in a line: `\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)`. */
function settingsOf(line: string): [name: string, value: string][] {
  const entries: [string, string][] = [];
  let from = 0;
  let jsonTries = MAX_BROKEN_JSON;
  for (let colon = line.indexOf(":"); colon >= 0; colon = line.indexOf(":", Math.max(colon + 1, from))) {
    const name = nameBefore(line, from, colon);
    if (name === undefined) continue;
    let start = colon + 1;
    while (/\s/.test(line[start] ?? "")) start++;
    const json = jsonTries > 0 && /[{[]/.test(line[start] ?? "");
    const whole = json ? jsonEnd(line, start) : quotedEnd(line, start);
    if (json && whole === undefined) jsonTries--;
    const end = whole ?? plainEnd(line, start);
    entries.push([name, unquoted(line.slice(start, end))]);
    from = end + 1;
  }
  return entries;
}

/** The longest name that ends at `colon`, from `from` on: two characters or more, of which the first is no space or dash. */
function nameBefore(line: string, from: number, colon: number): string | undefined {
  let start = colon;
  while (start > from && /[\p{L}\p{N}_ \-/]/u.test(line[start - 1]!)) start--;
  while (start < colon && !/[\p{L}\p{N}_]/u.test(line[start]!)) start++;
  return colon - start >= 2 ? line.slice(start, colon) : undefined;
}

function plainEnd(line: string, start: number): number {
  const comma = line.indexOf(",", start);
  return comma < 0 ? line.length : comma;
}

/** Behind a JSON string that a comma or the line's end follows. */
function quotedEnd(line: string, start: number): number | undefined {
  if (line[start] !== '"') return undefined;
  for (let at = start + 1; at < line.length; at++) {
    if (line[at] === "\\") at++;
    else if (line[at] === '"') {
      const end = at + 1;
      return at > start + 1 && (end === line.length || line[end] === ",") ? end : undefined;
    }
  }
  return undefined;
}

/** Behind a JSON object or list that a comma or the line's end follows. */
function jsonEnd(line: string, start: number): number | undefined {
  let depth = 0;
  let inString = false;
  for (let at = start; at < line.length; at++) {
    const character = line[at]!;
    if (inString) {
      if (character === "\\") at++;
      else if (character === '"') inString = false;
    } else if (character === '"') inString = true;
    else if (character === "{" || character === "[") depth++;
    else if (character === "}" || character === "]") {
      if (--depth > 0) continue;
      const end = at + 1;
      return (end === line.length || line[end] === ",") && parsed(line.slice(start, end)) !== undefined
        ? end
        : undefined;
    }
  }
  return undefined;
}

/** The text of a JSON string; anything else as it is. */
function unquoted(value: string): string {
  if (!/^".*"$/s.test(value)) return value.trim();
  const text = parsed(value);
  return typeof text === "string" ? text : value;
}

function parsed(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}
