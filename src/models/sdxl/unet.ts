/**
 * @file The SDXL UNet (diffusers models/unets/unet_2d_condition.py) as three graphs, because not all of it changes from
 * step to step: `unetTimeGraph` (time embeddings, once a schedule), `unetTextGraph` (cross-attention keys and values,
 * once a prompt) and `unetStepGraph` (the rest). B batch, C channels, T tokens, S text tokens.
 */
import type { ComponentAdapters } from "../../adapters/adapter-set.ts";
import type { GraphBuilder, Tensor } from "../../ir/builder.ts";
import type { Graph } from "../../ir/graph.ts";
import { LayerBuilder } from "../layer-builder.ts";
import { add, conv, groupNorm, layerNorm, linear, resnet, silu, upsample } from "../layers.ts";
import type { UNetConfig } from "./config.ts";

export interface LatentSize {
  readonly batch: number;
  readonly height: number;
  readonly width: number;
}

/** `fp32`: see Graph. */
export interface UNetGraphOptions {
  readonly fp32?: boolean;
  readonly adapters?: ComponentAdapters | undefined;
}

/**
 * Inputs "sinusoid" [R, C0], "addition" [R, A] (R rows: any number of step-and-batch pairs). Outputs, per ResNet block,
 * "<block>.time" [R, C].
 */
export function unetTimeGraph(config: UNetConfig, rows: number, options: UNetGraphOptions = {}): Graph {
  return time(config, rows, options).build();
}

/** Input "context" [B, S, D]. Outputs, per transformer block, "<block>.k" and "<block>.v" [B, S, C]. */
export function unetTextGraph(
  config: UNetConfig,
  batch: number,
  textTokens: number,
  options: UNetGraphOptions = {},
): Graph {
  return text(config, batch, textTokens, options).build();
}

/** Inputs "latent" [B, Cin, H, W] and the outputs of the other two graphs. Output "prediction" [B, Cout, H, W]. */
export function unetStepGraph(
  config: UNetConfig,
  size: LatentSize,
  textTokens: number,
  options: UNetGraphOptions = {},
): Graph {
  return step(config, size, textTokens, options).build();
}

/** Every parameter of the checkpoint and its shape. */
export function unetSchema(config: UNetConfig): ReadonlyMap<string, readonly number[]> {
  const side = 2 ** config.levels.length;
  const parts = [time(config, 1), text(config, 1, 1), step(config, { batch: 1, height: side, width: side }, 1)];
  return new Map(parts.flatMap((part) => [...part.weightShapes()]));
}

/** Rows of the sinusoid's width. */
export function timeEmbeddingDim(config: UNetConfig): number {
  return config.levels[0]!.channels;
}

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
interface Stage {
  readonly resnet: ResnetPlace;
  readonly attention?: AttentionPlace | undefined;
}
interface Level {
  readonly name: string;
  readonly channels: number;
  readonly stages: readonly Stage[];
  readonly resample: boolean;
}

function places(config: UNetConfig): { down: Level[]; mid: Stage[]; up: Level[] } {
  const stage = (level: string, index: number, channels: number, heads: number, depth: number | undefined): Stage => ({
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
  });
  const last = config.levels.length - 1;
  const down = config.levels.map((level, i): Level => {
    const name = `down_blocks.${i}`;
    const stages = Array.from({ length: level.layers }, (_, j) =>
      stage(name, j, level.channels, level.heads, level.crossAttention ? level.transformerLayers[j] : undefined),
    );
    return { name, channels: level.channels, stages, resample: i < last };
  });
  const top = config.levels[last]!;
  const midStage = stage("mid_block", 0, top.channels, config.mid.heads, config.mid.transformerLayers);
  const mid = [
    config.mid.crossAttention ? midStage : { resnet: midStage.resnet },
    ...(config.mid.crossAttention ? [{ resnet: { name: "mid_block.resnets.1", channels: top.channels } }] : []),
  ];
  const up = config.upLevels.map((upLevel, i): Level => {
    const level = config.levels[last - i]!;
    const name = `up_blocks.${i}`;
    const stages = Array.from({ length: level.layers + 1 }, (_, j) =>
      stage(name, j, level.channels, level.heads, upLevel.crossAttention ? upLevel.transformerLayers[j] : undefined),
    );
    return { name, channels: level.channels, stages, resample: i < last };
  });
  return { down, mid, up };
}

function allStages(config: UNetConfig): Stage[] {
  const { down, mid, up } = places(config);
  return [...down.flatMap((level) => level.stages), ...mid, ...up.flatMap((level) => level.stages)];
}

function time(config: UNetConfig, rows: number, options: UNetGraphOptions = {}): GraphBuilder {
  const width = timeEmbeddingDim(config);
  const hidden = 4 * width;
  const g = new LayerBuilder("unet.time", options);
  const sinusoid = g.input("sinusoid", [rows, width]);
  const addition = g.input("addition", [rows, config.additionInputDim]);
  const mlp = (x: Tensor, name: string) =>
    linear(g, silu(g, linear(g, x, `${name}.linear_1`, hidden)), `${name}.linear_2`, hidden); // [R, 4 C0]
  const embedding = g.segment("time_embedding", () =>
    silu(g, add(g, mlp(sinusoid, "time_embedding"), mlp(addition, "add_embedding"))),
  );
  for (const { resnet } of allStages(config)) {
    const projected = g.segment(`${resnet.name}.time_emb_proj`, () =>
      linear(g, embedding, `${resnet.name}.time_emb_proj`, resnet.channels),
    );
    g.output(`${resnet.name}.time`, projected);
  }
  return g;
}

function text(config: UNetConfig, batch: number, textTokens: number, options: UNetGraphOptions = {}): GraphBuilder {
  const g = new LayerBuilder("unet.text", options);
  const context = g.input("context", [batch, textTokens, config.crossAttentionDim]);
  for (const { attention } of allStages(config)) {
    if (!attention) continue;
    for (let i = 0; i < attention.depth; i++) {
      const name = `${attention.name}.transformer_blocks.${i}.attn2`;
      g.segment(name, () => {
        g.output(`${name}.k`, linear(g, context, `${name}.to_k`, attention.channels, false)); // [B, S, C]
        g.output(`${name}.v`, linear(g, context, `${name}.to_v`, attention.channels, false));
      });
    }
  }
  return g;
}

function step(config: UNetConfig, size: LatentSize, textTokens: number, options: UNetGraphOptions = {}): GraphBuilder {
  const { groups, normEps } = config;
  const { batch } = size;
  const { down, mid, up } = places(config);
  const g = new LayerBuilder("unet.step", options);

  const runResnet = (x: Tensor, { name, channels }: ResnetPlace, skip?: Tensor): Tensor => {
    const timeInput = g.input(`${name}.time`, [batch, channels]);
    return g.segment(name, () => {
      const concatenated = skip ? g.node("concat", [x, skip], { axis: 1 }) : x;
      return resnet(g, concatenated, name, { outChannels: channels, groups, eps: normEps, time: timeInput });
    });
  };
  const runStage = (x: Tensor, stage: Stage, skip?: Tensor): Tensor => {
    const h = runResnet(x, stage.resnet, skip);
    return stage.attention ? transformer(g, h, stage.attention, config, textTokens) : h;
  };

  const latent = g.input("latent", [batch, config.inChannels, size.height, size.width]);
  let x = g.segment("conv_in", () => conv(g, latent, "conv_in", config.levels[0]!.channels, { kernel: 3 }));
  const skips = [x];
  for (const level of down) {
    for (const stage of level.stages) {
      x = runStage(x, stage);
      skips.push(x);
    }
    if (level.resample) {
      const name = `${level.name}.downsamplers.0`;
      // diffusers' Downsample2D: without padding, a row and a column of zeros after the last ones.
      const pad = config.downsamplePadding === 0 ? ([0, 0, 1, 1] as const) : ([1, 1, 1, 1] as const);
      const options = { kernel: 3, stride: 2, pad };
      x = g.segment(name, () => conv(g, x, `${name}.conv`, level.channels, options));
      skips.push(x);
    }
  }
  for (const stage of mid) x = runStage(x, stage);
  for (const level of up) {
    for (const stage of level.stages) x = runStage(x, stage, skips.pop()!);
    if (level.resample) {
      // An odd latent side was halved rounding up: the next skip says which size to come back to.
      const [, , height, width] = skips.at(-1)!.shape;
      const name = `${level.name}.upsamplers.0`;
      x = g.segment(name, () => upsample(g, x, name, height!, width!));
    }
  }
  const prediction = g.segment("conv_out", () => {
    const normed = silu(g, groupNorm(g, x, "conv_norm_out", groups, normEps));
    return conv(g, normed, "conv_out", config.outChannels, { kernel: 3 }); // [B, Cout, H, W]
  });
  g.output("prediction", prediction);
  return g;
}

/** Transformer2DModel: x [B, C, H, W] -> same; one segment per transformer block, and one each for what is around them. */
function transformer(
  g: GraphBuilder,
  x: Tensor,
  place: AttentionPlace,
  config: UNetConfig,
  textTokens: number,
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
    const k = g.input(`${block}.attn2.k`, [batch!, textTokens, channels]);
    const v = g.input(`${block}.attn2.v`, [batch!, textTokens, channels]);
    h = transformerBlock(g, h, block, { k, v, heads });
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
}

/** BasicTransformerBlock: x [B, T, C] -> same. */
function transformerBlock(g: GraphBuilder, x: Tensor, name: string, { k, v, heads }: CrossAttention): Tensor {
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
    const cross = g.node("attention", [q, k, v], { heads, causal: false });
    h = add(g, h, linear(g, cross, `${name}.attn2.to_out.0`, channels));
    // Feed-forward
    const inner = linear(g, layerNorm(g, h, `${name}.norm3`, eps), `${name}.ff.net.0.proj`, 8 * channels); // [B, T, 8 C]
    return add(g, h, linear(g, g.node("geglu", [inner], {}), `${name}.ff.net.2`, channels));
  });
}
