/**
 * @file Which tokens are special and how they are looked for, from tokenizer_config.json, special_tokens_map.json
 * and tokenizer.json, with the precedence of transformers 5 (tokenization_utils_base.py, `_from_pretrained`).
 */

import { isJsonObject, type JsonObject } from "../source/json-fields.ts";
import type { AddedToken } from "./added-tokens.ts";
import { isTokenId, malformed, readAddedToken } from "./files.ts";

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
  /** All added tokens in the order in which they are added; the last of equal contents counts. */
  readonly added: readonly AddedToken[];
}

interface NamedObject {
  readonly file: string;
  readonly value: JsonObject;
}

/** Reads the special tokens; any of the three files may be absent. */
export function readSpecialTokens(
  config: NamedObject | undefined,
  map: NamedObject | undefined,
  tokenizer: NamedObject | undefined,
): SpecialTokens {
  const listed = isJsonObject(config?.value.added_tokens_decoder) ? decoderTokens(config) : undefined;
  const sources = listed ? [config] : [map, config];
  const known = listed ?? (tokenizer ? tokenizerTokens(tokenizer) : []);
  const roles = new Map<Role, AddedToken>();
  for (const role of ROLES) {
    const source = sources.find((candidate) => candidate?.value[role] !== undefined);
    const value = source ? source.value[role] : DEFAULTS[role];
    if (value === undefined || value === null) continue;
    const token = readRole(value, source?.file ?? "", role);
    roles.set(role, known.find((other) => other.content === token.content) ?? token);
  }
  const others = [...roles.values(), ...extraTokens(sources)];
  const fresh = others.filter((token) => known.every((other) => other.content !== token.content));
  return { roles, added: [...known, ...fresh] };
}

/** A token given as an object in these two files is special, whether or not it says so. */
function readRole(value: unknown, file: string, what: string): AddedToken {
  return readAddedToken(isJsonObject(value) ? { normalized: true, ...value } : value, file, what);
}

function extraTokens(sources: readonly (NamedObject | undefined)[]): AddedToken[] {
  const tokens: AddedToken[] = [];
  for (const source of sources) {
    for (const key of ["extra_special_tokens", "additional_special_tokens"]) {
      const list = source?.value[key];
      if (!Array.isArray(list)) continue;
      for (const [index, value] of list.entries()) tokens.push(readRole(value, source?.file ?? "", `${key}[${index}]`));
    }
  }
  return tokens;
}

function decoderTokens({ file, value }: NamedObject): AddedToken[] {
  return Object.entries(value.added_tokens_decoder as JsonObject)
    .map(([id, token]) => ({ id: Number(id), token: readAddedToken(token, file, `added_tokens_decoder.${id}`) }))
    .toSorted((a, b) => a.id - b.id)
    .map(({ token }) => token);
}

function tokenizerTokens({ file, value }: NamedObject): AddedToken[] {
  const list = value.added_tokens ?? [];
  if (!Array.isArray(list)) throw malformed(file, "added_tokens is not a list");
  return list
    .map((item: unknown, index) => {
      const id = isJsonObject(item) ? item.id : undefined;
      if (!isTokenId(id)) throw malformed(file, `added_tokens[${index}] has no usable id`);
      return { id, token: readAddedToken(item, file, `added_tokens[${index}]`) };
    })
    .toSorted((a, b) => a.id - b.id)
    .map(({ token }) => token);
}
