/** @file What an adapter's file is, without a model: kinds, ranks, what it was made for, and what its metadata says of how it is used. */
import { isJsonObject } from "../source/json-fields.ts";
import { type SamplingAdvice, samplingAdvice } from "./few-steps.ts";
import { adapterFor, contextWidthOf, familyOfContext, familyOfMetadata, foreignWords } from "./foreign-files.ts";
import { type Role, splitKey } from "./key-table.ts";
import { kindsOf, titleOf } from "./kinds/kinds.ts";

interface Tensor {
  readonly name: string;
  readonly shape: readonly number[];
}

export interface AdapterDescription {
  /** Layers by kind: "LoRA", "LoCon", "DoRA (LoKr)". */
  readonly kinds: Readonly<Record<string, number>>;
  /** Each once, rising. */
  readonly ranks: readonly number[];
  /** "an adapter for SDXL"; undefined where nothing tells. */
  readonly madeFor: string | undefined;
  /** The file that it was trained on, as it says. */
  readonly trainedOn: string | undefined;
  /** Words that its author says it listens to. */
  readonly triggers: readonly string[];
  /** Of its training pictures' captions, the most frequent first. */
  readonly tags: readonly { readonly tag: string; readonly count: number }[];
  readonly advice: SamplingAdvice | undefined;
}

/** A longer text is left unread. */
const MAX_JSON_CHARS = 16 * 1024 ** 2;
const TAGS_SHOWN = 12;

/** Undefined where the tensors are no adapter's. `file`: its name. */
export function describeAdapter(
  file: string,
  tensors: Iterable<Tensor>,
  metadata: ReadonlyMap<string, string>,
): AdapterDescription | undefined {
  const all = [...tensors];
  const roots = new Map<string, Map<Role, Tensor>>();
  for (const tensor of all) {
    const key = splitKey(tensor.name);
    if (!key) continue;
    const roles = roots.get(key.root) ?? new Map<Role, Tensor>();
    roots.set(key.root, roles.set(key.role, tensor));
  }
  const kinds: Record<string, number> = {};
  const ranks = new Set<number>();
  for (const roles of roots.values()) {
    for (const kind of kindsOf(roles)) {
      // A weight by itself is a model's.
      if (roles.has("weight") && !roles.has("onInput")) continue;
      const title = titleOf(roles, kind);
      kinds[title] = (kinds[title] ?? 0) + 1;
      const rank = kind.rank?.(roles);
      if (rank !== undefined) ranks.add(rank);
    }
  }
  if (Object.keys(kinds).length === 0) return undefined;
  const width = contextWidthOf(new Map(all.map((tensor) => [tensor.name, tensor])));
  const family = (width === undefined ? undefined : familyOfContext(width)) ?? familyOfMetadata(metadata);
  return {
    kinds,
    ranks: [...ranks].sort((a, b) => a - b),
    madeFor: foreignWords(all.map(({ name }) => name)) ?? (family && adapterFor(family)),
    trainedOn: metadata.get("ss_sd_model_name"),
    triggers: triggersOf(metadata),
    tags: tagsOf(metadata),
    advice: samplingAdvice(file, metadata),
  };
}

function triggersOf(metadata: ReadonlyMap<string, string>): string[] {
  const phrase = metadata.get("modelspec.trigger_phrase") ?? metadata.get("ss_trigger_words") ?? "";
  return phrase
    .slice(0, 4000)
    .split(",")
    .map((word) => word.trim())
    .filter((word) => word !== "");
}

/** kohya's ss_tag_frequency: {folder: {tag: count}}. */
function tagsOf(metadata: ReadonlyMap<string, string>): AdapterDescription["tags"] {
  const text = metadata.get("ss_tag_frequency");
  if (text === undefined || text.length > MAX_JSON_CHARS) return [];
  const counts = new Map<string, number>();
  const root = parsed(text);
  for (const folder of isJsonObject(root) ? Object.values(root) : []) {
    for (const [tag, count] of isJsonObject(folder) ? Object.entries(folder) : []) {
      if (typeof count === "number" && Number.isFinite(count))
        counts.set(tag.trim(), (counts.get(tag.trim()) ?? 0) + count);
    }
  }
  return [...counts]
    .sort(([, a], [, b]) => b - a)
    .slice(0, TAGS_SHOWN)
    .map(([tag, count]) => ({ tag: tag.slice(0, 200), count }));
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
