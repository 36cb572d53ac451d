/**
 * @file Names of the UNet in the original layout of single files (Stability's generative-models, `openaimodel.py`), as diffusers' names
 * (its `single_file_utils.py`, convert_ldm_unet_checkpoint). Which block belongs to which level is read from the names themselves.
 */

const ORIGINAL = /^(input_blocks|middle_block|output_blocks|time_embed|label_emb|out)\./;

/** Whether a UNet with these names, without prefixes, is in the original layout. */
export function isOriginalUnet(name: string): boolean {
  return ORIGINAL.test(name);
}

const OUTSIDE_BLOCKS: readonly (readonly [string, string])[] = [
  ["time_embed.0.", "time_embedding.linear_1."],
  ["time_embed.2.", "time_embedding.linear_2."],
  ["label_emb.0.0.", "add_embedding.linear_1."],
  ["label_emb.0.2.", "add_embedding.linear_2."],
  ["input_blocks.0.0.", "conv_in."],
  ["out.0.", "conv_norm_out."],
  ["out.2.", "conv_out."],
];

const IN_RESNET: readonly (readonly [string, string])[] = [
  ["in_layers.0.", "norm1."],
  ["in_layers.2.", "conv1."],
  ["emb_layers.1.", "time_emb_proj."],
  ["out_layers.0.", "norm2."],
  ["out_layers.3.", "conv2."],
  ["skip_connection.", "conv_shortcut."],
];

const BLOCK = /^(input_blocks|middle_block|output_blocks)\.(\d{1,4})\.(.+)$/;
const RESAMPLER = /^(?:(\d)\.(?:op|conv))\.(.+)$/;

/** diffusers' name of each of `names` that is in the original layout; undefined for what no such UNet has. */
export function originalUnetNames(names: Iterable<string>): (name: string) => string | undefined {
  const all = [...names];
  const down = placesOf(all, "input_blocks", 1);
  const up = placesOf(all, "output_blocks", 0);
  return (name) => {
    const outside = replaceStart(name, OUTSIDE_BLOCKS);
    if (outside !== undefined) return outside;
    const [, part, index, rest] = BLOCK.exec(name) ?? [];
    if (part === undefined) return undefined;
    const at = Number(index);
    if (part === "middle_block") {
      return at % 2 === 0
        ? inResnet(`mid_block.resnets.${at / 2}`, rest!)
        : `mid_block.attentions.${(at - 1) / 2}.${rest}`;
    }
    const place = (part === "input_blocks" ? down : up).get(at);
    if (!place) return undefined;
    const level = `${part === "input_blocks" ? "down" : "up"}_blocks.${place.level}`;
    const [, , resampled] = RESAMPLER.exec(rest!) ?? [];
    if (resampled !== undefined) {
      return `${level}.${part === "input_blocks" ? "down" : "up"}samplers.0.conv.${resampled}`;
    }
    const [kind, inner] = [rest!.slice(0, 2), rest!.slice(2)];
    if (kind === "0.") return inResnet(`${level}.resnets.${place.layer}`, inner);
    return kind === "1." ? `${level}.attentions.${place.layer}.${inner}` : undefined;
  };
}

interface Place {
  readonly level: number;
  readonly layer: number;
}

/** A level ends with the block that resamples: a block of its own on the way down, part of the last on the way up. */
function placesOf(names: readonly string[], part: string, first: number): ReadonlyMap<number, Place> {
  const blocks = new Map<number, { resamples: boolean }>();
  for (const name of names) {
    const [, found, index, rest] = BLOCK.exec(name) ?? [];
    if (found !== part) continue;
    const block = blocks.get(Number(index)) ?? { resamples: false };
    block.resamples ||= RESAMPLER.test(rest!);
    blocks.set(Number(index), block);
  }
  const places = new Map<number, Place>();
  let level = 0;
  let layer = 0;
  for (let at = first; blocks.has(at); at++) {
    places.set(at, { level, layer });
    layer++;
    if (!blocks.get(at)!.resamples) continue;
    level++;
    layer = 0;
  }
  return places;
}

function inResnet(resnet: string, rest: string): string | undefined {
  const inner = replaceStart(rest, IN_RESNET);
  return inner && `${resnet}.${inner}`;
}

/** `text` with the start of the first pair that fits replaced; undefined if none does. */
function replaceStart(text: string, pairs: readonly (readonly [string, string])[]): string | undefined {
  const pair = pairs.find(([from]) => text.startsWith(from));
  return pair && pair[1] + text.slice(pair[0].length);
}

/** Names in the original layout of a UNet's modules, by which other files than checkpoints call them -> diffusers' names. */
export function originalUnetModules(modules: Iterable<string>): ReadonlyMap<string, string> {
  const all = new Set(modules);
  const originals = new Map<string, string>();
  const blocks = blockNames(all);
  for (const module of all) {
    const outside = OUTSIDE_BLOCKS.find(([, name]) => name === `${module}.`);
    if (outside) {
      originals.set(outside[0].slice(0, -1), module);
      continue;
    }
    const [, block, rest] = PLACED.exec(module) ?? [];
    const original = block && blocks.get(block);
    if (original === undefined || original === "") continue;
    const inner = block!.includes(".resnets.")
      ? IN_RESNET.find(([, name]) => name === `${rest}.`)?.[0].slice(0, -1)
      : block!.includes(".downsamplers.")
        ? "op"
        : rest;
    if (inner !== undefined) originals.set(`${original}.${inner}`, module);
  }
  return originals;
}

const PLACED =
  /^((?:down_blocks\.\d+|up_blocks\.\d+|mid_block)\.(?:resnets|attentions|downsamplers|upsamplers)\.\d+)\.(.+)$/;

/** diffusers' name of a block's part -> the original's. A level's resnets are counted through, and a resampler ends it. */
function blockNames(modules: ReadonlySet<string>): ReadonlyMap<string, string> {
  const parts = new Set([...modules].map((module) => PLACED.exec(module)?.[1]).filter((part) => part !== undefined));
  const names = new Map<string, string>();
  for (let i = 0; parts.has(`mid_block.resnets.${i}`); i++) {
    names.set(`mid_block.resnets.${i}`, `middle_block.${2 * i}`);
    names.set(`mid_block.attentions.${i}`, `middle_block.${2 * i + 1}`);
  }
  for (const [way, original, first] of [
    ["down", "input_blocks", 1],
    ["up", "output_blocks", 0],
  ] as const) {
    let at: number = first;
    for (let level = 0; parts.has(`${way}_blocks.${level}.resnets.0`); level++) {
      const start = `${way}_blocks.${level}`;
      for (let layer = 0; parts.has(`${start}.resnets.${layer}`); layer++, at++) {
        names.set(`${start}.resnets.${layer}`, `${original}.${at}.0`);
        names.set(`${start}.attentions.${layer}`, `${original}.${at}.1`);
      }
      if (parts.has(`${start}.downsamplers.0`)) names.set(`${start}.downsamplers.0`, `${original}.${at++}.0`);
      const inner = parts.has(`${start}.attentions.0`) ? 2 : 1;
      if (parts.has(`${start}.upsamplers.0`)) names.set(`${start}.upsamplers.0`, `${original}.${at - 1}.${inner}`);
    }
  }
  return names;
}
