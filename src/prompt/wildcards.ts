/**
 * @file Prompts drawn from templates, as dynamic prompts writes them (adieyal/dynamicprompts, docs/SYNTAX.md): `{a|b}`, `{0.5::a|b}`, `{2$$a|b|c}`,
 * `{1-2$$ and $$a|b}`, `__file__`, in one another. Pure: what files hold is asked of the caller. All that a template can ask for is bounded.
 */
import { UsageError } from "../errors.ts";
import type { SplitMix64 } from "./split-mix.ts";

/** The options that a wildcard's file holds. Rejects with UsageError `E_WILDCARD` or ArtifactError. */
export type ReadWildcard = (name: string, signal?: AbortSignal) => Promise<readonly string[]>;

/** Options and wildcards in one another. */
const MAX_DEPTH = 30;
/** Characters gone through for one prompt, of templates and of what they draw. */
const MAX_WORK_CHARS = 4 * 1024 ** 2;
/** As long as a prompt may be. */
const MAX_RESULT_CHARS = 65_536;

/** `*` is no name here, but is meant as one. */
const WILDCARD = /__([\p{L}\p{N}_\-./* ]+?)__/uy;
const WEIGHT = /^\s*(\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})::/;
const COUNT = /^\s*(?:(\d{1,9})|(\d{1,9})?\s*-\s*(\d{1,9})?)\s*\$\$/;
const SEPARATOR = /^([^{}|$]*)\$\$/;
/** Of several options that are drawn together. */
const COMMA = ",";

interface Option {
  readonly weight: number;
  readonly text: string;
}

/** Whether a prompt has something in it that would be drawn. */
export function isTemplate(prompt: string): boolean {
  return /[{}]/.test(prompt) || new RegExp(WILDCARD.source, "u").test(prompt);
}

/** A wildcard file's options: a line each; lines that begin with # are comments. */
export function wildcardLines(text: string): readonly string[] {
  const lines = text.split(/\r\n|\n|\r/).map((line) => line.trim());
  return lines.filter((line) => line !== "" && !line.startsWith("#"));
}

/**
 * Yields the names of wildcards, wants their options in turn, and returns the prompt. `\{`, `\}`, `\|` and `\__` are text. Several options are drawn
 * without putting back, as many as there are at most, in the order of the draws; of a wildcard alone its lines are the options.
 * Throws UsageError `E_WILDCARD`.
 */
export function* drawnPrompt(template: string, draws: SplitMix64): Generator<string, string, readonly string[]> {
  return yield* new Drawing(draws).text(template, 0);
}

class Drawing {
  readonly #draws: SplitMix64;
  #workChars = MAX_WORK_CHARS;

  constructor(draws: SplitMix64) {
    this.#draws = draws;
  }

  *text(template: string, depth: number): Generator<string, string, readonly string[]> {
    if (depth > MAX_DEPTH) {
      const problem = `options and wildcards lie more than ${MAX_DEPTH} deep in one another`;
      throw refusal(problem, "look for a wildcard that leads back to itself");
    }
    this.#spend(template.length);
    let drawn = "";
    for (let at = 0; at < template.length; ) {
      const rest = escaped(template, at);
      if (rest !== undefined) {
        drawn += rest.text;
        at = rest.end;
        continue;
      }
      const character = template[at]!;
      const name = character === "_" ? wildcardAt(template, at) : undefined;
      if (character === "{") {
        const end = closing(template, at);
        drawn += yield* this.#choice(template.slice(at + 1, end), depth + 1);
        at = end + 1;
      } else if (name !== undefined) {
        const [line] = this.#pick(yield* this.#lines(name), 1);
        drawn += yield* this.text(line!, depth + 1);
        at += name.length + 4;
      } else if (character === "}") {
        throw refusal(`a } closes nothing, at character ${at + 1}`, "write \\} for one that is text");
      } else if (template.startsWith("${", at)) {
        throw refusal(
          `variables (a $ before a {) are not known here, at character ${at + 1}`,
          "write what they stand for",
        );
      } else {
        drawn += character;
        at++;
      }
      if (drawn.length > MAX_RESULT_CHARS) {
        throw refusal(`what is drawn is too long (allowed ${MAX_RESULT_CHARS} characters)`, "draw less");
      }
    }
    return drawn;
  }

  *#choice(body: string, depth: number): Generator<string, string, readonly string[]> {
    const count = COUNT.exec(body);
    const behind = count ? body.slice(count[0].length) : body;
    const [whole = "", between = COMMA] = (count && SEPARATOR.exec(behind)) ?? [];
    const parts = apart(behind.slice(whole.length));
    const alone = count && parts.length === 1 ? soleWildcard(parts[0]!) : undefined;
    const options = alone === undefined ? parts.map(optionOf) : yield* this.#lines(alone);
    const [, exact, from, to] = count ?? [];
    const most = count ? Number(exact ?? to ?? options.length) : 1;
    const least = Math.min(count ? Number(exact ?? from ?? 1) : 1, most);
    const wanted = least + Math.floor(this.#unit(least !== most) * (most - least + 1));
    const texts: string[] = [];
    for (const text of this.#pick(options, wanted)) texts.push(yield* this.text(text, depth));
    return texts.join(between);
  }

  /** A draw, or where there is nothing to draw none. */
  #unit(isOpen: boolean): number {
    return isOpen ? this.#draws.unit() : 0;
  }

  *#lines(name: string): Generator<string, readonly Option[], readonly string[]> {
    const lines = yield name;
    this.#spend(lines.length);
    if (lines.length === 0) throw refusal(`__${name}__ holds no line that could be drawn`, "write one into its file");
    return lines.map(optionOf);
  }

  /** Texts of `count` of them, each at most once, by their weights. */
  #pick(options: readonly Option[], count: number): string[] {
    const left = options.filter(({ weight }) => weight > 0);
    if (left.length === 0) throw refusal("all weights are 0", "give one option another weight");
    const picked: string[] = [];
    while (picked.length < count && left.length > 0) {
      this.#spend(left.length);
      let ahead = this.#draws.unit() * left.reduce((sum, { weight }) => sum + weight, 0);
      let place = 0;
      while (place < left.length - 1 && ahead >= left[place]!.weight) ahead -= left[place++]!.weight;
      picked.push(...left.splice(place, 1).map(({ text }) => text));
    }
    return picked;
  }

  #spend(characters: number): void {
    this.#workChars -= characters;
    if (this.#workChars >= 0) return;
    throw refusal(
      `it asks for too much (allowed ${MAX_WORK_CHARS} characters of templates)`,
      "draw less in one prompt",
    );
  }
}

/** At a backslash: what it and the next character stand for. A1111's own escapes stay for its parser. */
function escaped(text: string, at: number): { readonly text: string; readonly end: number } | undefined {
  if (text[at] !== "\\") return undefined;
  if (text.startsWith("__", at + 1)) return { text: "__", end: at + 3 };
  const next = text[at + 1] ?? "";
  return { text: /^[{}|]$/.test(next) ? next : `\\${next}`, end: at + 2 };
}

function wildcardAt(text: string, at: number): string | undefined {
  WILDCARD.lastIndex = at;
  return WILDCARD.exec(text)?.[1];
}

function soleWildcard(text: string): string | undefined {
  const trimmed = text.trim();
  const name = wildcardAt(trimmed, 0);
  return name !== undefined && trimmed.length === name.length + 4 ? name : undefined;
}

/** Where the brace that opens at `from` closes. */
function closing(text: string, from: number): number {
  let depth = 0;
  for (let at = from; at < text.length; at++) {
    const character = text[at];
    if (character === "\\") at++;
    else if (character === "{") depth++;
    else if (character === "}" && --depth === 0) return at;
  }
  throw refusal(`a { is never closed, at character ${from + 1}`, "close it, or write \\{ for one that is text");
}

/** At the bars that lie in no further braces. */
function apart(body: string): string[] {
  const parts: string[] = [];
  let depth = 0;
  let start = 0;
  for (let at = 0; at < body.length; at++) {
    const character = body[at];
    if (character === "\\") at++;
    else if (character === "{") depth++;
    else if (character === "}") depth--;
    else if (character === "|" && depth === 0) {
      parts.push(body.slice(start, at));
      start = at + 1;
    }
  }
  return [...parts, body.slice(start)];
}

function optionOf(text: string): Option {
  const [whole = "", weight = "1"] = WEIGHT.exec(text) ?? [];
  return { weight: Number(weight), text: text.slice(whole.length) };
}

function refusal(problem: string, next: string): UsageError {
  return new UsageError({ code: "E_WILDCARD", subject: "prompt", problem, next });
}
