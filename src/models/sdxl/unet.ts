/**
 * @file The SDXL UNet (diffusers models/unets/unet_2d_condition.py) as three graphs, because not all of it changes from
 * step to step: `unetTimeGraph` (time embeddings, once a schedule), `unetTextGraph` (cross-attention keys and values,
 * once a prompt) and `unetStepGraph` (the rest). Their blocks are in unet-blocks.ts. B batch, C channels, S text tokens.
 */
import type { ComponentAdapters } from "../../adapters/adapter-set.ts";
import type { GraphBuilder, Tensor } from "../../ir/builder.ts";
import type { Graph } from "../../ir/graph.ts";
import { LayerBuilder } from "../layer-builder.ts";
import { add, conv, groupNorm, silu, upsample } from "../layers.ts";
import type { UNetConfig } from "./config.ts";
import { type ImageLink, imageLinks } from "./image-links.ts";
import {
  addTextKeys,
  addTimes,
  downLevels,
  halfStages,
  type Level,
  midStages,
  runDownAndMid,
  runStage,
  type Stage,
  stageOf,
} from "./unet-blocks.ts";

export interface LatentSize {
  readonly batch: number;
  readonly height: number;
  readonly width: number;
}

/** `fp32`: see Graph. */
export interface UNetGraphOptions {
  readonly fp32?: boolean;
  readonly adapters?: ComponentAdapters | undefined;
  /** Networks beside it whose results a step adds to its own. */
  readonly controls?: readonly ControlLink[] | undefined;
  /** Image prompts, whose keys and values are read beside the text's. */
  readonly images?: readonly ImageLink[] | undefined;
}

/** A ControlNet's results as a step reads them: "<prefix><i>" for each skip of the way down, then the middle's, and "<prefix>weight" [1]. */
export interface ControlLink {
  /** "features": a T2I-Adapter's, "<prefix><i>" for each level of the way down, then the middle's, which the way down itself goes on with. */
  readonly kind: "net" | "features";
  readonly prefix: string;
  /** The last so many of the batch are controlled. */
  readonly rows: number;
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

/** Inputs "latent" [B, Cin, H, W], the outputs of the other two graphs, and what `controls` name. Output "prediction" [B, Cout, H, W]. */
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

function upLevels(config: UNetConfig): readonly Level[] {
  const last = config.levels.length - 1;
  return config.upLevels.map((upLevel, i): Level => {
    const level = config.levels[last - i]!;
    const name = `up_blocks.${i}`;
    const stages = Array.from({ length: level.layers + 1 }, (_, j) =>
      stageOf(name, j, level, upLevel.crossAttention ? upLevel.transformerLayers[j] : undefined),
    );
    return { name, channels: level.channels, stages, resample: i < last };
  });
}

function allStages(config: UNetConfig): readonly Stage[] {
  return [...halfStages(config), ...upLevels(config).flatMap(({ stages }) => stages)];
}

/** Transformer blocks' cross-attentions in the order of diffusers' processors: the way down, the way up, the middle. */
export function attentionStages(config: UNetConfig): readonly { readonly name: string; readonly channels: number }[] {
  const down = downLevels(config).flatMap(({ stages }) => stages);
  const up = upLevels(config).flatMap(({ stages }) => stages);
  return [...down, ...up, ...midStages(config)].flatMap(({ attention }) =>
    Array.from({ length: attention?.depth ?? 0 }, (_, i) => ({
      name: `${attention!.name}.transformer_blocks.${i}.attn2`,
      channels: attention!.channels,
    })),
  );
}

function time(config: UNetConfig, rows: number, options: UNetGraphOptions = {}): GraphBuilder {
  const g = new LayerBuilder("unet.time", options);
  addTimes(g, config, allStages(config), rows);
  return g;
}

function text(config: UNetConfig, batch: number, textTokens: number, options: UNetGraphOptions = {}): GraphBuilder {
  const g = new LayerBuilder("unet.text", options);
  addTextKeys(g, config, allStages(config), { batch, textTokens });
  return g;
}

function step(config: UNetConfig, size: LatentSize, textTokens: number, options: UNetGraphOptions = {}): GraphBuilder {
  const { groups, normEps } = config;
  const { batch } = size;
  const g = new LayerBuilder("unet.step", options);
  const inputs = { batch, textTokens, images: imageLinks(g, options.images ?? []) };
  const latent = g.input("latent", [batch, config.inChannels, size.height, size.width]);
  const first = g.segment("conv_in", () => conv(g, latent, "conv_in", config.levels[0]!.channels, { kernel: 3 }));
  const { controls = [] } = options;
  const featured = featuresOf(g, controls);
  const { middle, skips: left } = runDownAndMid(g, first, config, inputs, featured);
  const controlled = controlsOf(g, [...left, middle], controls);
  const skips = [...left];
  let x = middle;
  // Joined where they are read: the way down goes on without.
  let atMiddle = true;
  for (const level of upLevels(config)) {
    for (const stage of level.stages) {
      const skip = skips.pop()!;
      const isFirst = atMiddle;
      atMiddle = false;
      x = runStage(g, x, stage, config, inputs, (own) =>
        g.node("concat", [isFirst ? controlled(own) : own, controlled(skip)], { axis: 1 }),
      );
    }
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

/** Adds to a level's result [B, C, H, W], or the middle's, what T2I-Adapters have for it, each times its weight. */
function featuresOf(g: GraphBuilder, controls: readonly ControlLink[]) {
  const read = controls
    .filter(({ kind }) => kind === "features")
    .map(({ prefix }) => ({ prefix, weight: g.input(`${prefix}weight`, [1]) }));
  if (read.length === 0) return undefined;
  return (value: Tensor, at: number) =>
    g.segment(`features.${at}`, () =>
      read.reduce((sum, { prefix, weight }) => {
        const feature = g.input(`${prefix}${at}`, [1, ...value.shape.slice(1)]);
        return add(g, sum, g.node("affine", [feature, weight], {}));
      }, value),
    );
}

/** Adds to one of `values` [B, C, H, W] what controls have for it, each times its weight. */
function controlsOf(g: GraphBuilder, values: readonly Tensor[], controls: readonly ControlLink[]) {
  const nets = controls.filter(({ kind }) => kind === "net");
  const read = nets.map(({ prefix, rows }) => ({
    rows,
    weight: g.input(`${prefix}weight`, [1]),
    links: new Map(values.map((value, i) => [value, g.input(`${prefix}${i}`, [rows, ...value.shape.slice(1)])])),
  }));
  return (value: Tensor) =>
    read.reduce((sum, { rows, weight, links }) => {
      const control = g.node("affine", [links.get(value)!, weight], {});
      const batch = value.shape[0]!;
      if (rows === batch) return add(g, sum, control);
      const part = (from: number, to: number) => g.node("slice", [sum], { axis: 0, from, to });
      return g.node("concat", [part(0, batch - rows), add(g, part(batch - rows, batch), control)], { axis: 0 });
    }, value);
}
