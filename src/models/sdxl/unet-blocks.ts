/**
 * @file What an SDXL's UNet and the networks beside it (ControlNets) have in common (diffusers models/unets/unet_2d_blocks.py): the places of
 * blocks, time embeddings, cross-attention keys and values, the way down and through the middle. B batch, C channels, T tokens, S text tokens.
 */
import type { GraphBuilder, Tensor } from "../../ir/builder.ts";
import { add, conv, groupNorm, layerNorm, linear, resnet, silu } from "../layers.ts";
import type { UNetConfig } from "./config.ts";
import type { AttendPictures, imageLinks } from "./image-links.ts";

/** The half of a UNet up to its middle. */
export type UNetHalf = Omit<UNetConfig, "outChannels" | "sampleSize" | "upLevels">;

interface ResnetPlace {
  readonly name: string;
  readonly channels: number;
}
interface AttentionPlace {
  readonly name: string;
  /** Inside of it: all heads side by side, which is less than the level's channels where the heads don't divide them. */
  readonly channels: number;
  readonly heads: number;
  readonly depth: number;
}
export interface Stage {
  readonly resnet: ResnetPlace;
  readonly attention?: AttentionPlace | undefined;
}
export interface Level {
  readonly name: string;
  readonly channels: number;
  readonly stages: readonly Stage[];
  readonly resample: boolean;
}

/** `depth`: transformer blocks; undefined where there is no attention. */
export function stageOf(
  level: string,
  index: number,
  { channels, heads }: { readonly channels: number; readonly heads: number },
  depth: number | undefined,
): Stage {
  return {
    resnet: { name: `${level}.resnets.${index}`, channels },
    attention:
      depth === undefined
        ? undefined
        : {
            name: `${level}.attentions.${index}`,
            channels: heads * Math.floor(channels / heads),
            heads,
            depth,
          },
  };
}

export function downLevels({ levels }: UNetHalf): readonly Level[] {
  return levels.map((level, i): Level => {
    const name = `down_blocks.${i}`;
    const stages = Array.from({ length: level.layers }, (_, j) =>
      stageOf(name, j, level, level.crossAttention ? level.transformerLayers[j] : undefined),
    );
    return { name, channels: level.channels, stages, resample: i < levels.length - 1 };
  });
}

export function midStages({ levels, mid }: UNetHalf): readonly Stage[] {
  const { channels } = levels.at(-1)!;
  const first = stageOf("mid_block", 0, { channels, heads: mid.heads }, mid.transformerLayers);
  if (!mid.crossAttention) return [{ resnet: first.resnet }];
  return [first, { resnet: { name: "mid_block.resnets.1", channels } }];
}

export function halfStages(config: UNetHalf): readonly Stage[] {
  return [...downLevels(config).flatMap(({ stages }) => stages), ...midStages(config)];
}

/** Rows of the sinusoid's width. */
export function timeEmbeddingDim({ levels }: UNetHalf): number {
  return levels[0]!.channels;
}

export interface TimeOptions {
  /** Before the names of outputs. */
  readonly prefix?: string;
  /** Another input [R, width] that is embedded and added. */
  readonly further?: { readonly name: string; readonly embedding: string; readonly width: number } | undefined;
}

/** Inputs "sinusoid" [R, C0], "addition" [R, A]; outputs, per ResNet block, "<prefix><block>.time" [R, C]. */
export function addTimes(
  g: GraphBuilder,
  config: UNetHalf,
  stages: readonly Stage[],
  rows: number,
  { prefix = "", further }: TimeOptions = {},
): void {
  const width = timeEmbeddingDim(config);
  const hidden = 4 * width;
  const sinusoid = g.input("sinusoid", [rows, width]);
  const addition = g.input("addition", [rows, config.additionInputDim]);
  const mlp = (x: Tensor, name: string) =>
    linear(g, silu(g, linear(g, x, `${name}.linear_1`, hidden)), `${name}.linear_2`, hidden); // [R, 4 C0]
  const beside = further && g.input(further.name, [rows, further.width]);
  const embedding = g.segment("time_embedding", () => {
    const own = mlp(sinusoid, "time_embedding");
    const told = beside ? add(g, own, mlp(beside, further!.embedding)) : own;
    return silu(g, add(g, told, mlp(addition, "add_embedding")));
  });
  for (const { resnet } of stages) {
    const projected = g.segment(`${resnet.name}.time_emb_proj`, () =>
      linear(g, embedding, `${resnet.name}.time_emb_proj`, resnet.channels),
    );
    g.output(`${prefix}${resnet.name}.time`, projected);
  }
}

/** Input "context" [B, S, D]; outputs, per transformer block, "<prefix><block>.k" and "<prefix><block>.v" [B, S, C]. */
export function addTextKeys(
  g: GraphBuilder,
  config: UNetHalf,
  stages: readonly Stage[],
  { batch, textTokens }: { readonly batch: number; readonly textTokens: number },
  prefix = "",
): void {
  const context = g.input("context", [batch, textTokens, config.crossAttentionDim]);
  for (const { attention } of stages) {
    if (!attention) continue;
    for (let i = 0; i < attention.depth; i++) {
      const name = `${attention.name}.transformer_blocks.${i}.attn2`;
      g.segment(name, () => {
        const key = linear(g, context, `${name}.to_k`, attention.channels, false); // [B, S, C]
        g.output(`${prefix}${name}.k`, key);
        g.output(`${prefix}${name}.v`, linear(g, context, `${name}.to_v`, attention.channels, false));
      });
    }
  }
}

/** What blocks of a step read beside the image, and under which names. */
export interface StepInputs {
  readonly batch: number;
  readonly textTokens: number;
  /** Before the names of inputs that the time and the text graph give. */
  readonly prefix?: string;
  /** Pictures that are read beside the text. */
  readonly images?: ReturnType<typeof imageLinks>;
}

/** A ResNet block with what is concatenated before it, then its attention: x [B, C, H, W] -> [B, C', H, W]. */
export function runStage(
  g: GraphBuilder,
  x: Tensor,
  { resnet: { name, channels }, attention }: Stage,
  config: UNetHalf,
  inputs: StepInputs,
  joined: (x: Tensor) => Tensor = (own) => own,
): Tensor {
  const { groups, normEps } = config;
  const time = g.input(`${inputs.prefix ?? ""}${name}.time`, [inputs.batch, channels]);
  const h = g.segment(name, () => resnet(g, joined(x), name, { outChannels: channels, groups, eps: normEps, time }));
  return attention ? transformer(g, h, attention, config, inputs) : h;
}

/** From what the first convolution gives [B, C0, H, W]: the middle's result, and what the way down leaves for the way up. */
export function runDownAndMid(
  g: GraphBuilder,
  first: Tensor,
  config: UNetHalf,
  inputs: StepInputs,
  featured: (x: Tensor, level: number) => Tensor = (x) => x,
): { readonly middle: Tensor; readonly skips: readonly Tensor[] } {
  let x = first;
  const skips = [x];
  const levels = downLevels(config);
  for (const [i, level] of levels.entries()) {
    // Where diffusers adds features: behind a level's last attention, of a level without behind all of it.
    const attends = config.levels[i]!.crossAttention;
    for (const [j, stage] of level.stages.entries()) {
      x = runStage(g, x, stage, config, inputs);
      const isLast = j === level.stages.length - 1;
      if (isLast && (attends || !level.resample)) x = featured(x, i);
      skips.push(x);
    }
    if (level.resample) {
      const name = `${level.name}.downsamplers.0`;
      // diffusers' Downsample2D: without padding, a row and a column of zeros after the last ones.
      const pad = config.downsamplePadding === 0 ? ([0, 0, 1, 1] as const) : ([1, 1, 1, 1] as const);
      const options = { kernel: 3, stride: 2, pad };
      x = g.segment(name, () => conv(g, x, `${name}.conv`, level.channels, options));
      if (!attends) x = featured(x, i);
      skips.push(x);
    }
  }
  for (const stage of midStages(config)) x = runStage(g, x, stage, config, inputs);
  return { middle: featured(x, levels.length), skips };
}

/** Transformer2DModel: x [B, C, H, W] -> same; one segment per transformer block, and one each for what is around them. */
function transformer(
  g: GraphBuilder,
  x: Tensor,
  place: AttentionPlace,
  config: UNetHalf,
  { textTokens, prefix = "", images }: StepInputs,
): Tensor {
  const { name, channels, heads, depth } = place;
  const [batch, outer, height, width] = x.shape;
  let h = g.segment(`${name}.proj_in`, () => {
    const normed = groupNorm(g, x, `${name}.norm`, config.groups, 1e-6);
    if (config.linearProjection) return linear(g, g.node("toTokens", [normed], {}), `${name}.proj_in`, channels);
    return g.node("toTokens", [conv(g, normed, `${name}.proj_in`, channels, { kernel: 1 })], {}); // [B, T, C]
  });
  for (let i = 0; i < depth; i++) {
    const block = `${name}.transformer_blocks.${i}`;
    const k = g.input(`${prefix}${block}.attn2.k`, [batch!, textTokens, channels]);
    const v = g.input(`${prefix}${block}.attn2.v`, [batch!, textTokens, channels]);
    const grid = { height: height!, width: width! };
    const seen = images?.(`${block}.attn2`, { batch: batch!, channels, heads }, grid);
    h = transformerBlock(g, h, block, { k, v, heads, seen });
  }
  return g.segment(`${name}.proj_out`, () => {
    const image = { height: height!, width: width! };
    const projected = config.linearProjection
      ? g.node("toImage", [linear(g, h, `${name}.proj_out`, outer!)], image)
      : conv(g, g.node("toImage", [h], image), `${name}.proj_out`, outer!, { kernel: 1 });
    return add(g, projected, x); // [B, C, H, W]
  });
}

interface CrossAttention {
  readonly k: Tensor;
  readonly v: Tensor;
  readonly heads: number;
  readonly seen?: AttendPictures | undefined;
}

/** BasicTransformerBlock: x [B, T, C] -> same. */
function transformerBlock(g: GraphBuilder, x: Tensor, name: string, { k, v, heads, seen }: CrossAttention): Tensor {
  const channels = x.shape[2]!;
  const eps = 1e-5;
  return g.segment(name, () => {
    // Self-attention
    const normed = layerNorm(g, x, `${name}.norm1`, eps);
    const qkv = ["q", "k", "v"].map((part) => linear(g, normed, `${name}.attn1.to_${part}`, channels, false));
    const self = g.node("attention", qkv, { heads, causal: false }); // [B, T, C]
    let h = add(g, x, linear(g, self, `${name}.attn1.to_out.0`, channels));
    // Cross-attention
    const q = linear(g, layerNorm(g, h, `${name}.norm2`, eps), `${name}.attn2.to_q`, channels, false);
    const text = g.node("attention", [q, k, v], { heads, causal: false });
    const cross = seen ? seen(g, q, text) : text;
    h = add(g, h, linear(g, cross, `${name}.attn2.to_out.0`, channels));
    // Feed-forward
    const inner = linear(g, layerNorm(g, h, `${name}.norm3`, eps), `${name}.ff.net.0.proj`, 8 * channels); // [B, T, 8 C]
    return add(g, h, linear(g, g.node("geglu", [inner], {}), `${name}.ff.net.2`, channels));
  });
}
