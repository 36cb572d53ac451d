/**
 * @file ControlNets for SDXL (diffusers models/controlnets/controlnet.py): the UNet's way down beside it, which also reads a picture, as four
 * graphs: the picture's hint once, keys and values of the text once a prompt, time embeddings once a schedule, and a step, whose results the
 * UNet's step adds to its own. B batch, C0 channels of the first level, H and W the latent's.
 */
import type { GraphBuilder } from "../../ir/builder.ts";
import type { Graph } from "../../ir/graph.ts";
import { type LayerAdapters, LayerBuilder } from "../layer-builder.ts";
import { add, conv, silu } from "../layers.ts";
import type { ControlLora } from "./control-lora.ts";
import { type UnionConfig, unionHinted, unionToken } from "./control-union.ts";
import type { LatentSize } from "./unet.ts";
import { addTextKeys, addTimes, halfStages, runDownAndMid, type UNetHalf } from "./unet-blocks.ts";

export interface ControlNetConfig extends UNetHalf {
  readonly kind: "controlnet";
  /** Of the picture: 3. */
  readonly pictureChannels: number;
  /** Of the hint's convolutions; each but the first halves the picture's sides. */
  readonly hintChannels: readonly number[];
  /** It was trained on pictures whose channels are blue, green, red. */
  readonly bgr: boolean;
  /** It is a ControlNet Union. */
  readonly union?: UnionConfig | undefined;
  /** As many kinds of pictures it knows; absent: it is not told which. */
  readonly modes?: number | undefined;
  /** It is a Control-LoRA: the model's own weights, and these changes. */
  readonly lora?: ControlLora | undefined;
}

/** Pixels of one latent cell, as the hint's convolutions have it. */
export function hintScale({ hintChannels }: ControlNetConfig): number {
  return 2 ** (hintChannels.length - 1);
}

export interface ControlGraphSize extends LatentSize {
  readonly textTokens: number;
}

export interface ControlGraphOptions {
  /** See Graph. */
  readonly fp32?: boolean;
  /** Before the names of what passes from one graph to another. */
  readonly prefix: string;
  /** diffusers' guess_mode: early blocks count less. */
  readonly guess: boolean;
  /** Of the model's UNet: what a Control-LoRA, which reads its weights, is a change of. */
  readonly adapters?: LayerAdapters | undefined;
}

export interface ControlGraphs {
  /** Input "picture" [1, 3, height, width], 0..1, and of a union "mode" [1, 1] i32; outputs "<prefix>hint" [1, C0, H, W], "<prefix>token". */
  readonly hint: Graph;
  /** As unetTextGraph; undefined where it attends to no text. */
  readonly text: Graph | undefined;
  /** Inputs "latent" [B, Cin, H, W] and what the others give; outputs "<prefix><i>", see ControlLink. */
  readonly step: Graph;
}

export function controlNetGraphs(
  config: ControlNetConfig,
  size: ControlGraphSize,
  options: ControlGraphOptions,
): ControlGraphs {
  return {
    hint: hint(config, size, options).build(),
    text: halfStages(config).some(({ attention }) => attention) ? text(config, size, options).build() : undefined,
    step: step(config, size, options).build(),
  };
}

/** As unetTimeGraph; a union's has an input "types" [R, types T], T the width of each kind's embedding. */
export function controlNetTimeGraph(
  config: ControlNetConfig,
  rows: number,
  options: Omit<ControlGraphOptions, "guess">,
): Graph {
  return time(config, rows, options).build();
}

/** Every parameter and its shape; of a Control-LoRA as if it had them all. */
export function controlNetSchema({ lora: _, ...config }: ControlNetConfig): ReadonlyMap<string, readonly number[]> {
  const side = 2 ** config.levels.length;
  const size = { batch: 1, height: side, width: side, textTokens: 1 };
  const options = { prefix: "", guess: false };
  const parts = [
    hint(config, size, options),
    text(config, size, options),
    time(config, 1, options),
    step(config, size, options),
  ];
  return new Map(parts.flatMap((part) => [...part.weightShapes()]));
}

function builder(name: string, { lora }: ControlNetConfig, { fp32, adapters }: Partial<ControlGraphOptions>) {
  return new LayerBuilder(name, { fp32, ...lora?.builderOptions(adapters) });
}

function time(config: ControlNetConfig, rows: number, options: Omit<ControlGraphOptions, "guess">): GraphBuilder {
  const g = builder("control.time", config, options);
  const { union, additionTimeEmbedDim } = config;
  const width = (union?.types ?? 0) * additionTimeEmbedDim;
  const further = union && { name: "types", embedding: "control_add_embedding", width };
  addTimes(g, config, halfStages(config), rows, { prefix: options.prefix, further });
  return g;
}

function text(config: ControlNetConfig, size: ControlGraphSize, options: ControlGraphOptions): GraphBuilder {
  const g = builder("control.text", config, options);
  addTextKeys(g, config, halfStages(config), size, options.prefix);
  return g;
}

function hint(config: ControlNetConfig, { height, width }: LatentSize, options: ControlGraphOptions): GraphBuilder {
  const g = builder("control.hint", config, options);
  const { pictureChannels, hintChannels, levels } = config;
  const scale = hintScale(config);
  const name = "controlnet_cond_embedding";
  const [first, ...others] = hintChannels;
  let x = g.input("picture", [1, pictureChannels, height * scale, width * scale]);
  x = g.segment(`${name}.conv_in`, () => silu(g, conv(g, x, `${name}.conv_in`, first!, { kernel: 3 })));
  others.forEach((channels, i) => {
    const [same, halved] = [2 * i, 2 * i + 1].map((at) => `${name}.blocks.${at}`) as [string, string];
    x = g.segment(same, () => silu(g, conv(g, x, same, x.shape[1]!, { kernel: 3 })));
    x = g.segment(halved, () => silu(g, conv(g, x, halved, channels, { kernel: 3, stride: 2 })));
  });
  const made = g.segment(`${name}.conv_out`, () => conv(g, x, `${name}.conv_out`, levels[0]!.channels, { kernel: 3 }));
  g.output(`${options.prefix}hint`, made);
  const { union } = config;
  if (union) {
    const mode = g.input("mode", [1, 1], "i32");
    g.output(
      `${options.prefix}token`,
      g.segment("task_embedding", () => unionToken(g, made, mode, union)),
    );
  }
  return g;
}

function step(config: ControlNetConfig, size: ControlGraphSize, options: ControlGraphOptions): GraphBuilder {
  const g = builder("control.step", config, options);
  const { prefix, guess } = options;
  const { batch, height, width, textTokens } = size;
  const [{ channels }] = config.levels as readonly [UNetHalf["levels"][number]];
  const latent = g.input("latent", [batch, config.inChannels, height, width]);
  const picture = g.input(`${prefix}hint`, [1, channels, height, width]);
  const { union } = config;
  const token = union && g.input(`${prefix}token`, [1, 1, channels]);
  const first = token
    ? unionHinted(
        g,
        g.segment("conv_in", () => conv(g, latent, "conv_in", channels, { kernel: 3 })),
        { hint: picture, token, config: union },
      )
    : g.segment("conv_in", () => add(g, conv(g, latent, "conv_in", channels, { kernel: 3 }), picture));
  const { middle, skips } = runDownAndMid(g, first, config, { batch, textTokens, prefix });
  const results = [...skips, middle];
  results.forEach((result, i) => {
    const name = i < skips.length ? `controlnet_down_blocks.${i}` : "controlnet_mid_block";
    const made = g.segment(name, () => {
      const controlled = conv(g, result, name, result.shape[1]!, { kernel: 1 });
      // torch.logspace(-1, 0): from a tenth to all of it.
      return guess
        ? g.node("affine", [controlled, g.constant(10 ** (i / (results.length - 1) - 1))], {}, name)
        : controlled;
    });
    g.output(`${prefix}${i}`, made);
  });
  return g;
}
