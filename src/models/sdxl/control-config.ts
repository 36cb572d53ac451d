/** @file What a ControlNet is, from its config.json or, without one, from its tensors and the model that it is to steer. */
import type { JsonConfig } from "../../checkpoint/json-config.ts";
import type { TensorTable } from "../../container/table.ts";
import type { UNetConfig } from "./config.ts";
import type { ControlNetConfig } from "./controlnet.ts";
import { blocksOf, deepest, MID_DEPTH } from "./inferred-config.ts";
import { halfConfig } from "./network-config.ts";

const MAX_HINT_CHANNELS = 4096;
/** Each halves the picture's sides. */
const MAX_HINT_LEVELS = 8;

/** Throws ArtifactError `E_CONFIG`. */
export function controlNetConfig(json: JsonConfig): ControlNetConfig {
  json.require("global_pool_conditions", [false, null]);
  json.require("num_class_embeds", [null]);
  json.require("controlnet_conditioning_channel_order", ["rgb", "bgr", null]);
  const hintChannels = json.has("conditioning_embedding_out_channels")
    ? json.ints("conditioning_embedding_out_channels", 1, MAX_HINT_CHANNELS, MAX_HINT_LEVELS)
    : [16, 32, 96, 256];
  return {
    kind: "controlnet",
    ...halfConfig(json),
    pictureChannels: json.int("conditioning_channels", 1, 64, 3),
    hintChannels,
    bgr: json.string("controlnet_conditioning_channel_order", "rgb") === "bgr",
  };
}

/** Undefined where its levels are not those of a ControlNet. What shapes don't tell, such as the number of heads, is as in `base`. */
export function inferredControlNet(table: TensorTable, base: UNetConfig): ControlNetConfig | undefined {
  const shapeOf = (name: string) => table.get(name)?.shape ?? [];
  const blocks = blocksOf(table, "down");
  const hint = "controlnet_cond_embedding";
  const [firstHint, pictureChannels] = shapeOf(`${hint}.conv_in.weight`);
  const [, inChannels] = shapeOf("conv_in.weight");
  if (!firstHint || !pictureChannels || !inChannels || blocks.length === 0) return undefined;
  const hintChannels = [firstHint];
  while (hintChannels.length < MAX_HINT_LEVELS) {
    const [channels] = shapeOf(`${hint}.blocks.${2 * hintChannels.length - 1}.weight`);
    if (!channels) break;
    hintChannels.push(channels);
  }
  const midDepth = deepest(table.keys(), MID_DEPTH);
  const { outChannels: _, sampleSize: __, upLevels: ___, ...half } = base;
  return {
    ...half,
    kind: "controlnet",
    inChannels,
    levels: blocks.map(({ layers, depths }, i) => ({
      channels: shapeOf(`down_blocks.${i}.resnets.0.conv1.weight`)[0] ?? 0,
      layers,
      heads: base.levels[i]?.heads ?? 1,
      crossAttention: depths.length > 0,
      transformerLayers: depths,
    })),
    mid: { crossAttention: midDepth > 0, transformerLayers: midDepth, heads: base.mid.heads },
    ...{ pictureChannels, hintChannels, bgr: false },
  };
}
