/**
 * @file CLIP's tokenizer: text to exactly `modelMaxLength` ids, equal to transformers' `CLIPTokenizer`
 * (`padding="max_length", truncation=True`) for any string. Pure: files come in as text.
 */
import { ArtifactError } from "../errors.ts";
import { isJsonObject, type JsonObject } from "../source/json-fields.ts";
import { type Needle, splitAtTokens } from "./added-tokens.ts";
import { MAX_TOKEN_ID, type MergeTable, mergePairs } from "./byte-pairs.ts";
import type { CutText } from "./cut-text.ts";
import { malformed, parseObject, quote, rankMerges, readMergeLines, readMergeList, readVocabulary } from "./files.ts";
import { type NamedIds, wordSplitter } from "./learned-words.ts";
import { type Role, readSpecialTokens } from "./special-tokens.ts";
import { normalizeText, splitPieces } from "./unicode.ts";

/** The texts of a tokenizer folder; `tokenizerJson`, or `vocabJson` and `mergesTxt`, must be there. */
export interface ClipTokenizerFiles {
  readonly vocabJson?: string | undefined;
  readonly mergesTxt?: string | undefined;
  readonly tokenizerJson?: string | undefined;
  readonly tokenizerConfigJson?: string | undefined;
  readonly specialTokensMapJson?: string | undefined;
  readonly addedTokensJson?: string | undefined;
}

/** A loaded tokenizer. */
export interface ClipTokenizer {
  readonly bosId: number;
  readonly eosId: number;
  readonly padId: number;
  /** Ids that `encode` returns: 77 for every published CLIP. */
  readonly modelMaxLength: number;
  /** Largest id it can return, plus one: the least size of an embedding table that fits it. */
  readonly idLimit: number;
  /** bos, the text (cut to fit), eos, padding. Lone surrogates count as U+FFFD. */
  encode(text: string): number[];
  /** Ids of the text alone, however many: nothing around them, nothing cut. */
  textIds(text: string): number[];
  /** What of the text `encode` leaves out for want of room; undefined if nothing. */
  cut(text: string): CutText | undefined;
  /** The same, with words that stand for ids of their own. */
  withWords(words: readonly NamedIds[]): ClipTokenizer;
}

const DEFAULT_MAX_LENGTH = 77;
/** Above any positional table; transformers writes 1e30 for "not known". */
const MAX_LENGTH_LIMIT = 65_536;
const WORD_END = "</w>";
/** Long words recur in long prompts; more than this is not worth keeping. */
const CACHE_WORDS = 10_000;

/**
 * Loads a tokenizer. tokenizer.json wins over vocab.json and merges.txt, as in transformers.
 * @param name folder name for messages, e.g. "tokenizer_2"
 * @throws ArtifactError `E_TOKENIZER` for missing or malformed files
 */
export function loadClipTokenizer(files: ClipTokenizerFiles, name: string): ClipTokenizer {
  const path = (file: string): string => (name ? `${name}/${file}` : file);
  const object = (text: string | undefined, file: string): { file: string; value: JsonObject } | undefined =>
    text === undefined ? undefined : { file: path(file), value: parseObject(text, path(file)) };

  const tokenizer = object(files.tokenizerJson, "tokenizer.json");
  const config = object(files.tokenizerConfigJson, "tokenizer_config.json");
  const map = object(files.specialTokensMapJson, "special_tokens_map.json");
  const added = object(files.addedTokensJson, "added_tokens.json");
  const { vocabulary, merges } = tokenizer ? readModel(tokenizer) : readPair(files, path);
  const special = readSpecialTokens({ config, map, tokenizer, added });

  const ids = new Map(vocabulary);
  let largestAdded = -1;
  const needles = new Map<string, Needle>();
  for (const token of special.added) {
    if (token.content === "") continue;
    const id = ids.get(token.content) ?? Math.max(largestAdded + 1, vocabulary.size);
    ids.set(token.content, id);
    largestAdded = Math.max(largestAdded, id);
    const pattern = token.normalized ? normalizeText(token.content) : token.content;
    needles.set(token.content, { token, pattern, id });
  }
  const roleId = (role: Role): number => {
    const id = ids.get(special.roles.get(role)?.content ?? "");
    if (id !== undefined) return id;
    throw new ArtifactError({
      code: "E_TOKENIZER",
      subject: special.filesOfRoles.get(role) ?? path("tokenizer_config.json"),
      problem: `${role} is null or empty`,
      next: "take the field out of it: then CLIP's own token stands",
    });
  };
  return new Clip(
    {
      bosId: roleId("bos_token"),
      eosId: roleId("eos_token"),
      padId: roleId("pad_token"),
      modelMaxLength: readMaxLength(config),
      padLeft: config?.value.padding_side === "left",
      cutLeft: config?.value.truncation_side === "left",
      idLimit: Math.max(...[vocabulary.values(), ids.values()].map((values) => maxOf(values))) + 1,
    },
    vocabulary,
    vocabulary.get(special.roles.get("unk_token")?.content ?? ""),
    merges,
    [...needles.values()],
    path("vocab.json"),
  );
}

function maxOf(values: Iterable<number>): number {
  let max = 0;
  for (const value of values) if (value > max) max = value;
  return Math.min(max, MAX_TOKEN_ID - 1);
}

interface Model {
  readonly vocabulary: Map<string, number>;
  readonly merges: MergeTable;
}

function readModel({ file, value }: { file: string; value: JsonObject }): Model {
  const model = value.model;
  if (!isJsonObject(model)) throw malformed(file, "it has no model");
  if (model.type !== undefined && model.type !== "BPE") {
    throw malformed(file, `not byte-pair encoding (found model type ${quote(String(model.type))}, allowed "BPE")`);
  }
  const vocabulary = readVocabulary(model.vocab, file);
  return { vocabulary, merges: rankMerges(readMergeList(model.merges, file), vocabulary, file) };
}

function readPair(files: ClipTokenizerFiles, path: (file: string) => string): Model {
  if (files.vocabJson === undefined) throw malformed(path("vocab.json"), "missing, and so is tokenizer.json");
  if (files.mergesTxt === undefined) throw malformed(path("merges.txt"), "missing, and so is tokenizer.json");
  const vocabulary = readVocabulary(parseObject(files.vocabJson, path("vocab.json")), path("vocab.json"));
  const pairs = readMergeLines(files.mergesTxt, path("merges.txt"));
  return { vocabulary, merges: rankMerges(pairs, vocabulary, path("merges.txt")) };
}

function readMaxLength(config: { file: string; value: JsonObject } | undefined): number {
  const length = config?.value.model_max_length;
  if (length === undefined || length === null) return DEFAULT_MAX_LENGTH;
  if (typeof length !== "number" || !(length >= 2)) {
    throw malformed(
      config?.file ?? "",
      `model_max_length is not usable (found ${quote(String(length))}, allowed >= 2)`,
    );
  }
  return length <= MAX_LENGTH_LIMIT ? Math.floor(length) : DEFAULT_MAX_LENGTH;
}

interface Settings {
  readonly bosId: number;
  readonly eosId: number;
  readonly padId: number;
  readonly modelMaxLength: number;
  readonly padLeft: boolean;
  readonly cutLeft: boolean;
  readonly idLimit: number;
}

class Clip implements ClipTokenizer {
  readonly bosId: number;
  readonly eosId: number;
  readonly padId: number;
  readonly modelMaxLength: number;
  readonly idLimit: number;
  readonly #settings: Settings;
  readonly #vocabulary: ReadonlyMap<string, number>;
  readonly #unknownId: number | undefined;
  readonly #merges: MergeTable;
  readonly #asTyped: readonly Needle[];
  readonly #normalized: readonly Needle[];
  readonly #file: string;
  readonly #words: readonly NamedIds[];
  readonly #splitWords: ReturnType<typeof wordSplitter>;
  readonly #cache = new Map<string, readonly number[]>();

  constructor(
    settings: Settings,
    vocabulary: ReadonlyMap<string, number>,
    unknownId: number | undefined,
    merges: MergeTable,
    needles: readonly Needle[],
    file: string,
    words: readonly NamedIds[] = [],
  ) {
    this.bosId = settings.bosId;
    this.eosId = settings.eosId;
    this.padId = settings.padId;
    this.modelMaxLength = settings.modelMaxLength;
    this.idLimit = settings.idLimit;
    this.#settings = settings;
    this.#vocabulary = vocabulary;
    this.#unknownId = unknownId;
    this.#merges = merges;
    this.#asTyped = needles.filter(({ token }) => !token.normalized);
    this.#normalized = needles.filter(({ token }) => token.normalized);
    this.#file = file;
    this.#words = words;
    this.#splitWords = wordSplitter(words);
  }

  withWords(words: readonly NamedIds[]): ClipTokenizer {
    const needles = [...this.#asTyped, ...this.#normalized];
    return new Clip(this.#settings, this.#vocabulary, this.#unknownId, this.#merges, needles, this.#file, words);
  }

  encode(text: string): number[] {
    const { padLeft, cutLeft } = this.#settings;
    const all = this.textIds(text);
    const over = Math.max(0, all.length - this.#room);
    const ids = [this.bosId, ...(cutLeft ? all.slice(over) : all.slice(0, all.length - over)), this.eosId];
    const padding = new Array<number>(this.modelMaxLength - ids.length).fill(this.padId);
    return padLeft ? [...padding, ...ids] : [...ids, ...padding];
  }

  cut(text: string): CutText | undefined {
    const all = this.textIds(text);
    const tokens = all.length - this.#room;
    if (tokens <= 0) return undefined;
    const ids = this.#settings.cutLeft ? all.slice(0, tokens) : all.slice(-tokens);
    return { limit: this.#room, tokens, text: this.#textOf(ids) };
  }

  /** Ids of text that fit beside the two that enclose it. */
  get #room(): number {
    return this.modelMaxLength - 2;
  }

  /** Text that has these ids. */
  #textOf(ids: readonly number[]): string {
    const wanted = new Set(ids);
    const symbols = new Map<number, string>();
    for (const [symbol, id] of this.#vocabulary) if (wanted.has(id)) symbols.set(id, symbol);
    const added = new Map([...this.#asTyped, ...this.#normalized].map(({ id, token }) => [id, token.content]));
    for (const { name, ids } of this.#words)
      for (const [row, id] of ids.entries()) added.set(id, row === 0 ? name : "");
    const decoder = new TextDecoder();
    let text = "";
    for (const id of ids) {
      const content = added.get(id);
      if (content !== undefined) {
        text += `${decoder.decode()}${content} `;
        continue;
      }
      const symbol = symbols.get(id) ?? "";
      const ends = symbol.endsWith(WORD_END);
      const letters = ends ? symbol.slice(0, -WORD_END.length) : symbol;
      const bytes = Array.from(letters, (letter) => BYTE_LETTERS.indexOf(letter)).filter((byte) => byte >= 0);
      text += decoder.decode(Uint8Array.from(bytes), { stream: true }) + (ends ? " " : "");
    }
    return (text + decoder.decode()).trim();
  }

  textIds(text: string): number[] {
    if (!this.#splitWords) return this.#plainIds(text);
    return this.#splitWords(text).flatMap((part) => (typeof part === "string" ? this.#plainIds(part) : part));
  }

  #plainIds(text: string): number[] {
    const ids: number[] = [];
    for (const typed of splitAtTokens(text.toWellFormed(), this.#asTyped)) {
      if ("id" in typed) {
        ids.push(typed.id);
        continue;
      }
      for (const part of splitAtTokens(normalizeText(typed.text), this.#normalized)) {
        if ("id" in part) ids.push(part.id);
        else for (const piece of splitPieces(part.text)) for (const id of this.#pieceIds(piece)) ids.push(id);
      }
    }
    return ids;
  }

  #pieceIds(piece: string): readonly number[] {
    const known = this.#cache.get(piece);
    if (known) return known;
    const letters = Array.from(ENCODER.encode(piece), (byte) => BYTE_LETTERS[byte]!);
    const symbols = letters.map((letter, at) => this.#symbolId(at + 1 < letters.length ? letter : letter + WORD_END));
    const ids = mergePairs(symbols, this.#merges);
    if (this.#cache.size >= CACHE_WORDS) this.#cache.clear();
    this.#cache.set(piece, ids);
    return ids;
  }

  #symbolId(symbol: string): number {
    const id = this.#vocabulary.get(symbol) ?? this.#unknownId;
    if (id === undefined) throw malformed(this.#file, `it lacks both ${quote(symbol)} and the unknown token`);
    return id;
  }
}

const ENCODER = new TextEncoder();

/** GPT-2's printable letter for each byte: itself where it prints, else the next letter from U+0100 on. */
const BYTE_LETTERS: readonly string[] = (() => {
  let shifted = 256;
  return Array.from({ length: 256 }, (_, byte) => {
    const prints = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    return String.fromCharCode(prints ? byte : shifted++);
  });
})();
