/** @file What a ControlNet is, from its config.json or, without one, from its tensors and the model that it is to steer. */
import type { JsonConfig } from "../../checkpoint/json-config.ts";
import type { TensorTable } from "../../container/table.ts";
import type { UNetConfig } from "./config.ts";
import { isControlLoraFactor } from "./control-lora.ts";
import { diffusersControlNames } from "./control-names.ts";
import type { ControlNetConfig } from "./controlnet.ts";
import { blocksOf, deepest, MID_DEPTH } from "./inferred-config.ts";
import { halfConfig } from "./network-config.ts";
import type { T2iAdapterConfig } from "./t2i-adapter.ts";
import type { UNetHalf } from "./unet-blocks.ts";

/** Each halves the picture's sides. */
const MAX_HINT_LEVELS = 8;

/** What `json` says; without it, what shapes don't tell, such as the number of heads, is as in `base`. Undefined where the levels are not a ControlNet's. */
export function controlNetConfig(
  table: TensorTable,
  json: JsonConfig | undefined,
  base: UNetConfig,
): ControlNetConfig | undefined {
  json?.require("global_pool_conditions", [false, null]);
  json?.require("num_class_embeds", [null]);
  json?.require("controlnet_conditioning_channel_order", ["rgb", "bgr", null]);
  const shapeOf = (name: string) => table.get(name)?.shape ?? [];
  const hint = hintOf(table);
  const half = json ? halfConfig(json) : inferredHalf(table, base);
  if (!hint || !half) return undefined;
  const [types, width = 0] = shapeOf("task_embedding");
  const heads = json?.int("num_trans_head", 1, MAX_UNION, UNION_HEADS) ?? Math.min(UNION_HEADS, width);
  return {
    ...{ ...half, kind: "controlnet", ...hint },
    bgr: json?.string("controlnet_conditioning_channel_order", "rgb") === "bgr",
    ...(types &&
      types <= MAX_UNION && { modes: types, union: { types, heads, layers: deepest(table.keys(), UNION_LAYER) } }),
  };
}

function hintOf(table: TensorTable): Pick<ControlNetConfig, "pictureChannels" | "hintChannels"> | undefined {
  const shapeOf = (name: string) => table.get(`controlnet_cond_embedding.${name}.weight`)?.shape ?? [];
  const [firstHint, pictureChannels] = shapeOf("conv_in");
  if (!firstHint || !pictureChannels) return undefined;
  const hintChannels = [firstHint];
  while (hintChannels.length < MAX_HINT_LEVELS) {
    const [channels] = shapeOf(`blocks.${2 * hintChannels.length - 1}`);
    if (!channels) break;
    hintChannels.push(channels);
  }
  return { pictureChannels, hintChannels };
}

/** Of a Control-LoRA: the model's half, with the file's own hint. Undefined without one. */
export function controlLoraConfig(stored: TensorTable, base: UNetConfig, file: string): ControlNetConfig | undefined {
  const whole = [...stored].filter(([name]) => !isControlLoraFactor(name));
  const hint = hintOf(diffusersControlNames(new Map(whole), file));
  const { outChannels: _, sampleSize: __, upLevels: ___, ...half } = base;
  return hint && { ...half, kind: "controlnet", ...hint, bgr: false };
}

/** xinsir's have eight, six of them in the first release, and one layer. */
const UNION_HEADS = 8;
const MAX_UNION = 64;
const UNION_LAYER = /^transformer_layes\.(\d{1,2})\./;

function inferredHalf(table: TensorTable, base: UNetConfig): UNetHalf | undefined {
  const shapeOf = (name: string) => table.get(name)?.shape ?? [];
  const blocks = blocksOf(table, "down");
  const [, inChannels] = shapeOf("conv_in.weight");
  if (!inChannels || blocks.length === 0) return undefined;
  const midDepth = deepest(table.keys(), MID_DEPTH);
  const { outChannels: _, sampleSize: __, upLevels: ___, ...half } = base;
  return {
    ...half,
    inChannels,
    levels: blocks.map(({ layers, depths }, i) => ({
      channels: shapeOf(`down_blocks.${i}.resnets.0.conv1.weight`)[0] ?? 0,
      layers,
      heads: base.levels[i]?.heads ?? 1,
      crossAttention: depths.length > 0,
      transformerLayers: depths,
    })),
    mid: { crossAttention: midDepth > 0, transformerLayers: midDepth, heads: base.mid.heads },
  };
}

/** Of a T2I-Adapter, from its shapes; undefined where they are none. */
export function t2iAdapterConfig(table: TensorTable): T2iAdapterConfig | undefined {
  const shapeOf = (name: string) => table.get(name)?.shape ?? [];
  const [, folded = 0] = shapeOf("adapter.conv_in.weight");
  const fold = Math.sqrt(folded / PICTURE_CHANNELS);
  const channels: number[] = [];
  for (let own = shapeOf("adapter.body.0.resnets.0.block2.weight"); own[0]; ) {
    channels.push(own[0]);
    own = shapeOf(`adapter.body.${channels.length}.resnets.0.block2.weight`);
    if (channels.length > MAX_BODIES) return undefined;
  }
  const layers = deepest(table.keys(), /^adapter\.body\.0\.resnets\.(\d{1,2})\./);
  if (!Number.isInteger(fold) || fold < 2 || channels.length === 0) return undefined;
  return { kind: "t2i-adapter", guesses: false, pictureChannels: PICTURE_CHANNELS, fold, channels, layers };
}

const PICTURE_CHANNELS = 3;
const MAX_BODIES = 8;
