/**
 * @file Which tokens are special and how they are looked for, from tokenizer_config.json, special_tokens_map.json,
 * added_tokens.json and tokenizer.json, with the precedence of transformers 5 (tokenization_utils_base.py, `_from_pretrained`).
 */

import { isJsonObject, type JsonObject } from "../source/json-fields.ts";
import type { AddedToken } from "./added-tokens.ts";
import { isTokenId, malformed, quote, readAddedToken } from "./files.ts";

/** In the order in which transformers gives new ids to those that the vocabulary lacks. */
const ROLES = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"] as const;

export type Role = (typeof ROLES)[number];

/** CLIP's own, used where no file names another. */
const DEFAULTS: Partial<Record<Role, string>> = {
  bos_token: "<|startoftext|>",
  eos_token: "<|endoftext|>",
  unk_token: "<|endoftext|>",
  pad_token: "<|endoftext|>",
};

export interface SpecialTokens {
  readonly roles: ReadonlyMap<Role, AddedToken>;
  /** The file that says what a role's token is, or that there is none; absent where CLIP's own stands. */
  readonly filesOfRoles: ReadonlyMap<Role, string>;
  /** All added tokens in the order in which they are added; the last of equal contents counts. */
  readonly added: readonly AddedToken[];
}

interface NamedObject {
  readonly file: string;
  readonly value: JsonObject;
}

/** Any of them may be absent. */
export interface SpecialTokenFiles {
  /** tokenizer_config.json */
  readonly config: NamedObject | undefined;
  /** special_tokens_map.json */
  readonly map: NamedObject | undefined;
  /** tokenizer.json */
  readonly tokenizer: NamedObject | undefined;
  /** added_tokens.json: token to id */
  readonly added: NamedObject | undefined;
}

/** Reads the special tokens. The config's added_tokens_decoder, where there is one, stands for all of the other three files. */
export function readSpecialTokens({ config, map, tokenizer, added }: SpecialTokenFiles): SpecialTokens {
  const listed = isJsonObject(config?.value.added_tokens_decoder) ? decoderTokens(config) : undefined;
  const sources = listed ? [config] : [map, config];
  const others = extraTokens(sources);
  const named = new Map<Role, AddedToken>();
  const filesOfRoles = new Map<Role, string>();
  for (const role of ROLES) {
    const source = sources.find((candidate) => candidate?.value[role] !== undefined);
    if (source) filesOfRoles.set(role, source.file);
    if (source && source.value[role] !== null) named.set(role, readRole(source.value[role], source.file, role));
  }
  const special = new Set([...named.values(), ...extraSpecial(config, map)].map(({ content }) => content));
  const known = inOrderOfIds(
    listed ?? [...(added ? addedFileTokens(added, special) : []), ...(tokenizer ? tokenizerTokens(tokenizer) : [])],
  );
  const roles = new Map<Role, AddedToken>();
  for (const role of ROLES) {
    const token = filesOfRoles.has(role) ? named.get(role) : defaultOf(role);
    if (token) roles.set(role, known.find((other) => other.content === token.content) ?? token);
  }
  const rest = [...roles.values(), ...others];
  const fresh = rest.filter((token) => known.every((other) => other.content !== token.content));
  return { roles, filesOfRoles, added: [...known, ...fresh] };
}

function defaultOf(role: Role): AddedToken | undefined {
  const content = DEFAULTS[role];
  return content === undefined ? undefined : readAddedToken(content, "", role);
}

/** A token and the id that its file gives it. */
interface NumberedToken {
  readonly id: number;
  readonly token: AddedToken;
}

/** Of two with one id the later. */
function inOrderOfIds(tokens: readonly NumberedToken[]): AddedToken[] {
  const byId = new Map(tokens.map(({ id, token }) => [id, token]));
  return [...byId].toSorted(([a], [b]) => a - b).map(([, token]) => token);
}

/** A role's token is special, whatever it says: looked for as typed, unless it asks for the contrary. */
function readRole(value: unknown, file: string, what: string): AddedToken {
  return readAddedToken(isJsonObject(value) ? { normalized: false, ...value } : value, file, what);
}

/** Of these lists alone transformers says that their tokens are special where added_tokens.json has them. */
function extraSpecial(config: NamedObject | undefined, map: NamedObject | undefined): AddedToken[] {
  const own = config?.value.extra_special_tokens;
  const ownKey = Array.isArray(own) && own.length > 0 ? "extra_special_tokens" : "additional_special_tokens";
  return [...tokenList(config, ownKey), ...tokenList(map, "extra_special_tokens")];
}

function extraTokens(sources: readonly (NamedObject | undefined)[]): AddedToken[] {
  return sources.flatMap((source) =>
    ["extra_special_tokens", "additional_special_tokens"].flatMap((key) => tokenList(source, key)),
  );
}

/** Empty where it is no list. */
function tokenList(source: NamedObject | undefined, key: string): AddedToken[] {
  const list: unknown = source?.value[key];
  if (!source || !Array.isArray(list)) return [];
  return list.map((value: unknown, index) => readAddedToken(value, source.file, `${key}[${index}]`));
}

function decoderTokens({ file, value }: NamedObject): NumberedToken[] {
  return Object.entries(value.added_tokens_decoder as JsonObject).map(([id, token]) => ({
    id: Number(id),
    token: readAddedToken(token, file, `added_tokens_decoder.${id}`),
  }));
}

/** `special`: contents of the tokens that the other files call special; those are looked for as typed. */
function addedFileTokens({ file, value }: NamedObject, special: ReadonlySet<string>): NumberedToken[] {
  return Object.entries(value).map(([content, id]) => {
    if (!isTokenId(id)) throw malformed(file, `token ${quote(content)} has no usable id`);
    const normalized = !special.has(content);
    return { id, token: { content, normalized, singleWord: false, lstrip: false, rstrip: false } };
  });
}

function tokenizerTokens({ file, value }: NamedObject): NumberedToken[] {
  const list = value.added_tokens ?? [];
  if (!Array.isArray(list)) throw malformed(file, "added_tokens is not a list");
  return list.map((item: unknown, index) => {
    const id = isJsonObject(item) ? item.id : undefined;
    if (!isTokenId(id)) throw malformed(file, `added_tokens[${index}] has no usable id`);
    return { id, token: readAddedToken(item, file, `added_tokens[${index}]`) };
  });
}
