/**
 * @file T2I-Adapters for SDXL (TencentARC; diffusers models/adapter.py, FullAdapterXL): features of a picture, once, which the UNet's way down adds to
 * its levels and to its middle. H and W the latent's.
 */
import type { GraphBuilder, Tensor } from "../../ir/builder.ts";
import type { Graph } from "../../ir/graph.ts";
import { LayerBuilder } from "../layer-builder.ts";
import { add, conv } from "../layers.ts";

export interface T2iAdapterConfig {
  readonly kind: "t2i-adapter";
  readonly guesses: false;
  /** Of the picture: 3. */
  readonly pictureChannels: number;
  /** Pixels of a side that become channels. */
  readonly fold: number;
  /** Of each of its four bodies, the third of which halves the sides. */
  readonly channels: readonly number[];
  readonly layers: number;
}

/** Which of the bodies halves what comes in. */
const HALVES = 2;

export interface FeatureSize {
  /** Pixels of the picture. */
  readonly height: number;
  readonly width: number;
}

/** Input "picture" [1, 3 fold^2, height / fold, width / fold], 0..1, folded; outputs "<prefix><i>" [1, C, ...] for each body. */
export function t2iAdapterGraph(config: T2iAdapterConfig, size: FeatureSize, prefix: string, fp32 = false): Graph {
  return adapter(config, size, prefix, fp32).build();
}

/** Every parameter and its shape. */
export function t2iAdapterSchema(config: T2iAdapterConfig): ReadonlyMap<string, readonly number[]> {
  const side = 2 * config.fold;
  return adapter(config, { height: side, width: side }, "", false).weightShapes();
}

function adapter(
  config: T2iAdapterConfig,
  { height, width }: FeatureSize,
  prefix: string,
  fp32: boolean,
): GraphBuilder {
  const { pictureChannels, fold, channels, layers } = config;
  const g = new LayerBuilder("control.features", { fp32 });
  const picture = g.input("picture", [1, pictureChannels * fold ** 2, height / fold, width / fold]);
  let x = g.segment("adapter.conv_in", () => conv(g, picture, "adapter.conv_in", channels[0]!, { kernel: 3 }));
  channels.forEach((own, i) => {
    const name = `adapter.body.${i}`;
    x = g.segment(name, () => {
      let h = i === HALVES ? halved(g, x) : x;
      if (h.shape[1] !== own) h = conv(g, h, `${name}.in_conv`, own, { kernel: 1 });
      for (let layer = 0; layer < layers; layer++) h = block(g, h, `${name}.resnets.${layer}`);
      return h;
    });
    g.output(`${prefix}${i}`, x);
  });
  return g;
}

function block(g: GraphBuilder, x: Tensor, name: string): Tensor {
  const channels = x.shape[1]!;
  const h = g.node("leakyRelu", [conv(g, x, `${name}.block1`, channels, { kernel: 3 })], { slope: 0 });
  return add(g, conv(g, h, `${name}.block2`, channels, { kernel: 1 }), x);
}

/** The mean of each two by two pixels: x [1, C, H, W] of even sides -> [1, C, H / 2, W / 2]. */
function halved(g: GraphBuilder, x: Tensor): Tensor {
  const [, channels, height, width] = x.shape as [number, number, number, number];
  const apart = g.node("reshape", [x], { shape: [channels * (height / 2), 2, width / 2, 2] });
  const half = (of: Tensor, axis: number, at: number) => g.node("slice", [of], { axis, from: at, to: at + 1 });
  const rows = add(g, half(apart, 1, 0), half(apart, 1, 1));
  const sum = add(g, half(rows, 3, 0), half(rows, 3, 1));
  const mean = g.node("scale", [sum], { factor: 0.25 });
  return g.node("reshape", [mean], { shape: [1, channels, height / 2, width / 2] });
}
