/**
 * @file Which decoder a file of a tiny autoencoder holds: diffusers' AutoencoderTiny ("decoder.layers.0.weight"), or the author's own
 * taesdxl_decoder ("1.weight", one number higher). Others are refused by what they are.
 */
import { fileKind } from "../checkpoint/file-kind.ts";
import type { TensorEntry, TensorTable } from "../container/table.ts";
import { ArtifactError } from "../errors.ts";
import { type TinyDecoderConfig, tinyDecoderSchema } from "./tiny-decoder.ts";

export interface TinyDecoderFile {
  readonly config: TinyDecoderConfig;
  /** By diffusers' names without "decoder.". */
  readonly table: TensorTable;
}

/** TAESD has 3 blocks a level and 64 channels. */
const MAX_BLOCKS = 32;
const MAX_CHANNELS = 512;
const LEVELS = 4;

/** @throws ArtifactError `E_PREVIEWER` */
export function recogniseTinyDecoder(stored: TensorTable, file: string): TinyDecoderFile {
  const table = renamed(stored);
  const first = table.get("layers.0.weight")?.shape;
  if (first?.length !== 4) {
    const kind = fileKind(stored.keys());
    throw kind ? refusal(file, `it is ${kind.words}`, kind.next) : refusal(file, "it is none");
  }
  const [channels, latentChannels] = first as [number, number];
  if (channels > MAX_CHANNELS || latentChannels > MAX_CHANNELS)
    throw refusal(file, `its layers are too wide (found ${channels} and ${latentChannels}, allowed ${MAX_CHANNELS})`);
  const config: TinyDecoderConfig = { latentChannels, channels, blocks: blocksOf(table, file) };
  const schema = tinyDecoderSchema(config);
  for (const [name, shape] of schema) {
    const entry = table.get(name);
    if (!entry) throw refusal(file, `its tensor ${name} is missing`);
    if (entry.shape.join() !== shape.join())
      throw refusal(file, `its tensor ${name} has another shape (found [${entry.shape}], expected [${shape}])`);
    if (!["f32", "f16", "bf16"].includes(entry.dtype)) throw refusal(file, `its tensor ${name} is ${entry.dtype}`);
  }
  const extra = [...table.keys()].find((name) => !schema.has(name));
  if (extra !== undefined) throw refusal(file, `it has a tensor ${JSON.stringify(extra.slice(0, 80))} too many`);
  return { config, table };
}

/** What is in diffusers' "decoder.", or the author's numbers, which count a first layer without parameters. */
function renamed(stored: TensorTable): TensorTable {
  const entries = [...stored.values()];
  const own = (entry: TensorEntry): TensorEntry[] => {
    const [, name] = /^decoder\.(layers\..*)$/.exec(entry.name) ?? [];
    if (name !== undefined) return [{ ...entry, name }];
    const [, number, rest] = /^(?:taesd_decoder\.|decoder\.)?(\d{1,3})\.(.*)$/.exec(entry.name) ?? [];
    return number === undefined ? [] : [{ ...entry, name: `layers.${Number(number) - 1}.${rest}` }];
  };
  return new Map(entries.flatMap(own).map((entry) => [entry.name, entry]));
}

/** Blocks up to each convolution by itself: those end the levels. */
function blocksOf(table: TensorTable, file: string): TinyDecoderConfig["blocks"] {
  const counts: number[] = [];
  let [layer, count] = [2, 0];
  while (counts.length < LEVELS) {
    if (count > MAX_BLOCKS) throw refusal(file, `a level of it has more than ${MAX_BLOCKS} blocks`);
    if (table.has(`layers.${layer}.conv.0.weight`)) {
      layer++;
      count++;
    } else {
      const isLast = table.has(`layers.${layer}.weight`);
      counts.push(count);
      count = 0;
      if (isLast || !table.has(`layers.${layer + 1}.weight`)) break;
      layer += 2;
    }
  }
  if (counts.length !== LEVELS) throw refusal(file, `it has ${counts.length} levels (expected ${LEVELS})`);
  return counts as unknown as TinyDecoderConfig["blocks"];
}

function refusal(
  file: string,
  problem: string,
  next = "name madebyollin/taesdxl: its folder, taesdxl_decoder.safetensors or .pth",
): ArtifactError {
  return new ArtifactError({
    code: "E_PREVIEWER",
    subject: file,
    problem: `no decoder of a tiny autoencoder: ${problem}`,
    next,
  });
}
