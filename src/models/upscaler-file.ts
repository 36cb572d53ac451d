/**
 * @file Which network a file of an upscaler holds, by its keys and shapes: RRDBNet by new names (BasicSR) or old ones (ESRGAN's first release), in the
 * three ways they are wrapped; SRVGGNetCompact. Others are refused by what they are.
 */
import { kindOfTables } from "../checkpoint/file-kind.ts";
import type { TensorEntry, TensorTable } from "../container/table.ts";
import { ArtifactError } from "../errors.ts";
import { type UpscalerConfig, upscalerSchema } from "./upscaler.ts";

export interface UpscalerFile {
  readonly config: UpscalerConfig;
  /** By BasicSR's names. */
  readonly table: TensorTable;
}

/** Wrappers in the order in which BasicSR prefers them, and a bare dictionary. */
const WRAPPERS = ["params_ema", "params", "state_dict", "model", "model_state_dict", ""];
/** Deepest network that is sensible: 23 blocks are the rule. */
const MAX_BLOCKS = 64;
const MAX_FEATURES = 512;

/** Other networks that enlarge pictures, by a key that only they have. */
const OTHERS: readonly (readonly [RegExp, string])[] = [
  [/relative_position_bias_table|attn\.qkv/, "a transformer such as SwinIR, HAT or DAT"],
  [/\.conv_scale|\.gau\.|ese_/, "a network such as SPAN or OmniSR"],
  [/generator\.|style_/, "a face restorer such as GFPGAN"],
];

/**
 * Tells the network by its tensors. `tables`: by path, as of a file of torch.save; a .safetensors file has one, "".
 * @throws ArtifactError `E_UPSCALER` for another network, or one whose tensors don't fit
 */
export function recogniseUpscaler(tables: ReadonlyMap<string, TensorTable>, file: string): UpscalerFile {
  const found =
    WRAPPERS.map((path) => tables.get(path)).find((table) => table !== undefined) ?? tables.values().next().value;
  if (!found) throw refusal(file, "it holds no tensors");
  const table = renamed(found);
  const config = compactConfig(table) ?? rrdbConfig(table, file);
  if (!config) {
    const kind = kindOfTables(tables);
    const { words, next } = kind && kind.id !== "upscaler" ? kind : { words: otherKind(found), next: undefined };
    throw refusal(file, `it is ${words}, and neither RRDBNet (ESRGAN) nor SRVGGNetCompact`, next);
  }
  const schema = upscalerSchema(config);
  for (const [name, shape] of schema) {
    const entry = table.get(name);
    if (!entry) throw refusal(file, `tensor ${JSON.stringify(name)} of ${config.kind} is missing`);
    if (entry.shape.join() !== shape.join()) {
      throw refusal(
        file,
        `tensor ${JSON.stringify(name)} has another shape (found [${entry.shape}], expected [${shape}])`,
      );
    }
    if (!["f32", "f16", "bf16"].includes(entry.dtype))
      throw refusal(file, `tensor ${JSON.stringify(name)} is ${entry.dtype}`);
  }
  const extra = [...table.keys()].find((name) => !schema.has(name));
  if (extra !== undefined)
    throw refusal(file, `it has a tensor ${JSON.stringify(extra.slice(0, 80))} that ${config.kind} has not`);
  return { config, table };
}

/** ESRGAN's first names, numbered by place, as BasicSR's; others stay. Names of data parallel training lose their prefix. */
function renamed(table: TensorTable): TensorTable {
  const plain = [...table.values()].map(
    (entry): TensorEntry => ({ ...entry, name: entry.name.replace(/^module\./, "") }),
  );
  const isSequence = plain.some(({ name }) => /^model\.1\.sub\.\d+\.RDB1\./.test(name));
  const numbers = plain.flatMap(({ name }) => /^model\.(\d+)\.weight$/.exec(name)?.[1] ?? []).map(Number);
  const tail = [...new Set(numbers)].filter((number) => number > 1).sort((a, b) => a - b);
  const places = new Map([[0, "conv_first"], ...tail.map((number, i) => [number, tailName(i, tail.length)] as const)]);
  const rename = (name: string) => (isSequence ? ofSequence(name, places) : ofTrunk(name));
  return new Map(plain.map((entry) => ({ ...entry, name: rename(entry.name) })).map((entry) => [entry.name, entry]));
}

/** Convolutions behind the trunk: one a doubling, then conv_hr and conv_last. */
function tailName(index: number, count: number): string {
  if (index === count - 1) return "conv_last";
  return index === count - 2 ? "conv_hr" : `conv_up${index + 1}`;
}

function ofSequence(name: string, places: ReadonlyMap<number, string>): string {
  const block = /^model\.1\.sub\.(\d+)\.RDB([123])\.conv([1-5])\.0\.(weight|bias)$/.exec(name);
  if (block) return `body.${block[1]}.rdb${block[2]}.conv${block[3]}.${block[4]}`;
  const end = /^model\.1\.sub\.\d+\.(weight|bias)$/.exec(name);
  if (end) return `conv_body.${end[1]}`;
  const place = /^model\.(\d+)\.(weight|bias)$/.exec(name);
  const known = place && places.get(Number(place[1]));
  return known === undefined || known === null ? name : `${known}.${place![2]}`;
}

/** Names of ESRGAN's second release: RRDB_trunk, upconv1, HRconv. */
function ofTrunk(name: string): string {
  return name
    .replace(/^RRDB_trunk\.(\d+)\.RDB/, "body.$1.rdb")
    .replace(/^trunk_conv\./, "conv_body.")
    .replace(/^upconv(\d)\./, "conv_up$1.")
    .replace(/^HRconv\./, "conv_hr.");
}

function rrdbConfig(table: TensorTable, file: string): UpscalerConfig | undefined {
  const first = table.get("conv_first.weight")?.shape;
  const growth = table.get("body.0.rdb1.conv1.weight")?.shape[0];
  if (first?.length !== 4 || growth === undefined) return undefined;
  const [features, inputs] = first as [number, number];
  const blocks = countOf(table, /^body\.(\d+)\./);
  const doublings = countOf(table, /^conv_up(\d+)\./);
  const fold = Math.sqrt(inputs / 3);
  const scale = 2 ** doublings / fold;
  if (
    ![1, 2, 4].includes(fold) ||
    ![1, 2, 4, 8].includes(scale) ||
    blocks > MAX_BLOCKS ||
    Math.max(features, growth) > MAX_FEATURES
  ) {
    const found = `${inputs} channels in, ${features} features, ${growth} growth, ${blocks} blocks, ${doublings} doublings`;
    throw refusal(file, `its RRDBNet has sizes that no known one has (found ${found})`);
  }
  return { kind: "RRDBNet", scale, fold, features, growth, blocks, doublings };
}

function compactConfig(table: TensorTable): UpscalerConfig | undefined {
  const first = table.get("body.0.weight")?.shape;
  if (first?.length !== 4 || first[1] !== 3 || table.get("body.1.weight")?.shape.length !== 1) return undefined;
  const last = Math.max(...[...table.keys()].map((name) => Number(/^body\.(\d+)\.weight$/.exec(name)?.[1] ?? 0)));
  const outputs = table.get(`body.${last}.weight`)?.shape[0] ?? 0;
  const scale = Math.sqrt(outputs / 3);
  if (![1, 2, 3, 4, 8].includes(scale) || last % 2 !== 0 || last > 4 * MAX_BLOCKS || first[0]! > MAX_FEATURES)
    return undefined;
  return { kind: "SRVGGNetCompact", scale, fold: 1, features: first[0]!, layers: last / 2 - 1 };
}

/** One more than the highest number (or as many as there are, counted from 1). */
function countOf(table: TensorTable, pattern: RegExp): number {
  return new Set([...table.keys()].flatMap((name) => pattern.exec(name)?.[1] ?? [])).size;
}

function otherKind(table: TensorTable): string {
  const names = [...table.keys()];
  return (
    OTHERS.find(([pattern]) => names.some((name) => pattern.test(name)))?.[1] ?? "a network that is not known here"
  );
}

function refusal(
  file: string,
  problem: string,
  next = "use an ESRGAN, Real-ESRGAN or compact upscaler as .pth or .safetensors",
): ArtifactError {
  return new ArtifactError({ code: "E_UPSCALER", subject: file, problem, next });
}
