/** @file Strict readers of the tokenizer files: each value is checked before it is used, whatever the file says. */
import { ArtifactError } from "../errors.ts";
import { isJsonObject, type JsonObject, parseJsonObject } from "../source/json-fields.ts";
import type { AddedToken } from "./added-tokens.ts";
import { MAX_TOKEN_ID, type Merge, type MergeTable, pairKey } from "./byte-pairs.ts";

/** Twenty times CLIP's 49,408: far above any real vocabulary of this kind. */
const MAX_ENTRIES = 2 ** 20;

/** An `ArtifactError` for a malformed tokenizer file. */
export function malformed(file: string, problem: string, cause?: unknown): ArtifactError {
  return new ArtifactError({
    code: "E_TOKENIZER",
    subject: file,
    problem,
    next: "fetch the tokenizer folder again from where the model comes from",
    cause,
  });
}

/** Parses a JSON file whose root must be an object. */
export function parseObject(text: string, file: string): JsonObject {
  return parseJsonObject(text, (problem, cause) => malformed(file, problem, cause));
}

/** The vocabulary: token to id. Accepts an object, or a list whose places are the ids. */
export function readVocabulary(value: unknown, file: string): Map<string, number> {
  const entries: [string, unknown][] = Array.isArray(value)
    ? value.map((item: unknown, id) => [String(Array.isArray(item) ? item[0] : item), id])
    : isJsonObject(value)
      ? Object.entries(value)
      : [];
  if (entries.length === 0) throw malformed(file, "no vocabulary in it");
  if (entries.length > MAX_ENTRIES) {
    throw malformed(file, `the vocabulary is too large (found ${entries.length} entries, allowed ${MAX_ENTRIES})`);
  }
  const vocabulary = new Map<string, number>();
  for (const [token, id] of entries) {
    if (!isTokenId(id)) {
      const found = JSON.stringify(id)?.slice(0, 40);
      throw malformed(file, `token ${quote(token)} has no usable id (found ${found}, allowed 0..${MAX_TOKEN_ID - 1})`);
    }
    vocabulary.set(token, id);
  }
  return vocabulary;
}

/** The lines of merges.txt as pairs. */
export function readMergeLines(text: string, file: string): [string, string][] {
  const lines = text.split("\n").map((line) => (line.endsWith("\r") ? line.slice(0, -1) : line));
  if (lines.at(-1) === "") lines.pop();
  const pairs: [string, string][] = [];
  lines.forEach((line, index) => {
    if (line.startsWith("#version")) return;
    pairs.push(splitPair(line, file, `line ${index + 1}`));
  });
  return pairs;
}

/** The `merges` list of tokenizer.json: "a b" strings or pairs. */
export function readMergeList(value: unknown, file: string): [string, string][] {
  if (!Array.isArray(value)) throw malformed(file, "model.merges is not a list");
  return value.map((item: unknown, index) => {
    if (typeof item === "string") return splitPair(item, file, `merge ${index}`);
    if (Array.isArray(item) && item.length === 2 && typeof item[0] === "string" && typeof item[1] === "string") {
      return [item[0], item[1]];
    }
    throw malformed(file, `merge ${index} is not a pair of strings`);
  });
}

function splitPair(text: string, file: string, where: string): [string, string] {
  const parts = text.split(" ");
  if (parts.length !== 2) throw malformed(file, `${where} is not two symbols with one space between them`);
  return [parts[0]!, parts[1]!];
}

/** Ranks the pairs in file order. Both symbols and their union must be in the vocabulary. */
export function rankMerges(
  pairs: readonly (readonly [string, string])[],
  vocabulary: ReadonlyMap<string, number>,
  file: string,
): MergeTable {
  if (pairs.length > MAX_ENTRIES) {
    throw malformed(file, `too many merges (found ${pairs.length}, allowed ${MAX_ENTRIES})`);
  }
  const table = new Map<number, Merge>();
  pairs.forEach(([left, right], rank) => {
    const ids = [left, right, left + right].map((symbol) => {
      const id = vocabulary.get(symbol);
      if (id === undefined) throw malformed(file, `merge ${rank} needs ${quote(symbol)}, which the vocabulary lacks`);
      return id;
    });
    table.set(pairKey(ids[0]!, ids[1]!), { rank, newId: ids[2]! });
  });
  return table;
}

/** An added token as the files write it. `special` tokens given by name alone are matched in the text as typed. */
export function readAddedToken(value: unknown, file: string, what: string): AddedToken {
  if (typeof value === "string") {
    return { content: value, normalized: false, singleWord: false, lstrip: false, rstrip: false };
  }
  if (!isJsonObject(value) || typeof value.content !== "string") {
    throw malformed(file, `${what} is neither a string nor a token with a content`);
  }
  const flag = (name: string, fallback: boolean): boolean => {
    const found = value[name] ?? fallback;
    if (typeof found !== "boolean") throw malformed(file, `${what}.${name} is not true or false`);
    return found;
  };
  return {
    content: value.content,
    normalized: flag("normalized", !flag("special", false)),
    singleWord: flag("single_word", false),
    lstrip: flag("lstrip", false),
    rstrip: flag("rstrip", false),
  };
}

export function isTokenId(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value < MAX_TOKEN_ID;
}

export function quote(token: string): string {
  return JSON.stringify(token.length > 40 ? `${token.slice(0, 40)}...` : token);
}
