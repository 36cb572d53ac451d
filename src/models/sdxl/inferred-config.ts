/**
 * @file Config files of a model that comes without any, from its tensors' shapes: SDXL base's widths, with transformers as deep as they
 * are (SSD-1B and Segmind Vega differ in nothing else). What shapes don't tell, such as the number of heads, is the family's.
 */
import type { TensorTable } from "../../container/table.ts";
import { baseFile, SDXL_BASE_FILES } from "./base-files.ts";
import type { WeightFolder } from "./files.ts";

export type UNetKind = "base" | "refiner";

interface UNetWidths {
  /** Channels of the first level, of the text, and of what is added to the time. */
  readonly first: number;
  readonly context: number;
  readonly addition: number;
}

const UNET_WIDTHS: Readonly<Record<UNetKind, UNetWidths>> = {
  base: {
    first: SDXL_BASE_FILES["unet/config.json"].block_out_channels[0],
    context: SDXL_BASE_FILES["unet/config.json"].cross_attention_dim,
    addition: SDXL_BASE_FILES["unet/config.json"].projection_class_embeddings_input_dim,
  },
  // stabilityai/stable-diffusion-xl-refiner-1.0: the second encoder alone, and five numbers.
  refiner: { first: 384, context: 1280, addition: 2560 },
};

/** Text of the network's config.json; undefined where its widths are not those of SDXL base (or refiner): then they must be told. */
export function inferredConfig(folder: WeightFolder, table: TensorTable, kind: UNetKind = "base"): string | undefined {
  switch (folder) {
    case "unet":
      return inferredUnet(table, UNET_WIDTHS[kind]);
    case "vae": {
      const { block_out_channels: channels, latent_channels: latent } = SDXL_BASE_FILES["vae/config.json"];
      return hasShape(table, "decoder.conv_in.weight", [channels.at(-1)!, latent, 3, 3])
        ? baseFile("vae/config.json")
        : undefined;
    }
    case "text_encoder":
    case "text_encoder_2": {
      const { vocab_size: tokens, hidden_size: width } = SDXL_BASE_FILES[`${folder}/config.json`];
      const name = "embeddings.token_embedding.weight";
      const isBase = [name, `text_model.${name}`].some((key) => hasShape(table, key, [tokens, width]));
      return isBase ? baseFile(`${folder}/config.json`) : undefined;
    }
  }
}

const BLOCK = /^(down|up)_blocks\.(\d+)\.(resnets|attentions)\.(\d+)\.(?:transformer_blocks\.(\d+)\.)?/;
/** Of the name of a tensor in the middle. */
export const MID_DEPTH = /^mid_block\.attentions\.0\.transformer_blocks\.(\d+)\./;

function inferredUnet(table: TensorTable, { first, context, addition }: UNetWidths): string | undefined {
  const [width, inChannels] = table.get("conv_in.weight")?.shape ?? [];
  const [outChannels] = table.get("conv_out.weight")?.shape ?? [];
  const toKey = [...table.values()].find(({ name, shape }) => name.endsWith("attn2.to_k.weight") && shape.length === 2);
  const isBase =
    width === first &&
    toKey?.shape[1] === context &&
    hasShape(table, "add_embedding.linear_1.weight", [4 * width, addition]);
  if (!isBase) return undefined;
  const down = blocksOf(table, "down");
  const up = blocksOf(table, "up");
  const channels = down.map((_, i) => table.get(`down_blocks.${i}.resnets.0.conv1.weight`)?.shape[0] ?? 0);
  const midDepth = deepest(table.keys(), MID_DEPTH);
  const last = down.at(-1)?.depths[0];
  // diffusers has one field for both.
  if (midDepth > 0 && last !== undefined && midDepth !== last) return undefined;
  // In the middle are as many as on the last level, which may have no attention to say so.
  const downDepths = down.map((block, i) => (i === down.length - 1 && midDepth > 0 ? midDepth : depthOf(block)));
  const upDepths = up.map(depthOf);
  const isMirrored = JSON.stringify(upDepths) === JSON.stringify(downDepths.toReversed());
  return baseFile("unet/config.json", {
    in_channels: inChannels,
    out_channels: outChannels,
    block_out_channels: channels,
    cross_attention_dim: context,
    projection_class_embeddings_input_dim: addition,
    attention_head_dim: channels.map((count) => count / 64),
    layers_per_block: down.map(({ layers }) => layers),
    down_block_types: down.map(({ depths }) => (depths.length > 0 ? "CrossAttnDownBlock2D" : "DownBlock2D")),
    up_block_types: up.map(({ depths }) => (depths.length > 0 ? "CrossAttnUpBlock2D" : "UpBlock2D")),
    mid_block_type: midDepth > 0 ? "UNetMidBlock2DCrossAttn" : "UNetMidBlock2D",
    transformer_layers_per_block: downDepths,
    ...(isMirrored ? {} : { reverse_transformer_layers_per_block: upDepths }),
  });
}

interface Block {
  readonly layers: number;
  /** Transformer blocks of each attention; none without attention. */
  readonly depths: readonly number[];
}

/** As many as have names in a row. `way`: "down" or "up". */
export function blocksOf(table: TensorTable, way: string): Block[] {
  const found = new Map<number, { layers: number; depths: number[] }>();
  for (const name of table.keys()) {
    const [, side, level, kind, layer, depth] = BLOCK.exec(name) ?? [];
    // No model has as many: what is beyond is left for the check against the network.
    if (side !== way || Number(layer) > 255 || Number(depth ?? 0) > 255) continue;
    const block = found.get(Number(level)) ?? { layers: 0, depths: [] };
    found.set(Number(level), block);
    if (kind === "resnets") block.layers = Math.max(block.layers, Number(layer) + 1);
    else block.depths[Number(layer)] = Math.max(block.depths[Number(layer)] ?? 0, Number(depth ?? 0) + 1);
  }
  const blocks: Block[] = [];
  for (let level = 0; found.has(level); level++) {
    const { layers, depths } = found.get(level)!;
    blocks.push({ layers, depths: Array.from(depths, (depth) => depth ?? 0) });
  }
  return blocks;
}

/** As diffusers writes it: one number where all are as deep. */
function depthOf({ depths }: Block): number | readonly number[] {
  if (depths.length === 0) return 1;
  return depths.every((depth) => depth === depths[0]) ? depths[0]! : depths;
}

/** One more than the highest number that `pattern` finds. */
export function deepest(names: Iterable<string>, pattern: RegExp): number {
  let depth = 0;
  for (const name of names) {
    const [, index] = pattern.exec(name) ?? [];
    if (index !== undefined) depth = Math.max(depth, Number(index) + 1);
  }
  return depth;
}

function hasShape(table: TensorTable, name: string, shape: readonly number[]): boolean {
  return table.get(name)?.shape.join() === shape.join();
}
