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
