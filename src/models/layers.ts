/** @file Layers shared by the networks: an op with its parameters, named as in diffusers. B batch, C channels, T tokens. */
import type { GraphBuilder, Tensor } from "../ir/builder.ts";
import type { OpAttrs } from "../ir/ops.ts";
import { type LayerOp, normWithAdapters, withAdapters } from "./adapted-layer.ts";

export function linear(g: GraphBuilder, x: Tensor, name: string, outputs: number, bias = true): Tensor {
  const op: LayerOp = (input, matrix, term) =>
    g.node("linear", term ? [input, matrix, term] : [input, matrix], {}, name);
  return withAdapters(g, name, {
    x,
    weight: g.weight(`${name}.weight`, [outputs, x.shape.at(-1)!]),
    bias: bias ? g.weight(`${name}.bias`, [outputs]) : undefined,
    op,
    pointwise: op,
  }); // [..., outputs]
}

export interface ConvOptions {
  readonly kernel: number;
  readonly stride?: number;
  /** [top, left, bottom, right]. Default: half the kernel on each side. */
  readonly pad?: readonly [number, number, number, number];
}

export function conv(g: GraphBuilder, x: Tensor, name: string, outChannels: number, options: ConvOptions): Tensor {
  const { kernel, stride = 1 } = options;
  const half = (kernel - 1) / 2;
  const pad = options.pad ?? ([half, half, half, half] as const);
  const convolution =
    (attrs: OpAttrs["conv2d"]): LayerOp =>
    (input, kernels, term) =>
      g.node("conv2d", term ? [input, kernels, term] : [input, kernels], attrs, name);
  return withAdapters(g, name, {
    x,
    weight: g.weight(`${name}.weight`, [outChannels, x.shape[1]!, kernel, kernel]),
    bias: g.weight(`${name}.bias`, [outChannels]),
    op: convolution({ stride, pad }),
    pointwise: convolution({ stride: 1, pad: [0, 0, 0, 0] }),
  }); // [B, C', H', W']
}

export function groupNorm(g: GraphBuilder, x: Tensor, name: string, groups: number, eps: number): Tensor {
  return normWithAdapters(g, name, x.shape[1]!, (weight, bias) =>
    g.node("groupNorm", [x, weight, bias], { groups, eps }, name),
  );
}

export function layerNorm(g: GraphBuilder, x: Tensor, name: string, eps: number): Tensor {
  return normWithAdapters(g, name, x.shape.at(-1)!, (weight, bias) =>
    g.node("layerNorm", [x, weight, bias], { eps }, name),
  );
}

export function silu(g: GraphBuilder, x: Tensor): Tensor {
  return g.node("silu", [x], {});
}

export function add(g: GraphBuilder, a: Tensor, b: Tensor): Tensor {
  return g.node("add", [a, b], {});
}

export interface ResnetOptions {
  readonly outChannels: number;
  readonly groups: number;
  readonly eps: number;
  /** Projected time embedding [B, outChannels], already through time_emb_proj. */
  readonly time?: Tensor;
}

/** ResnetBlock2D (diffusers models/resnet.py): x [B, C, H, W] -> [B, outChannels, H, W]. */
export function resnet(g: GraphBuilder, x: Tensor, name: string, options: ResnetOptions): Tensor {
  const { outChannels, groups, eps, time } = options;
  let h = silu(g, groupNorm(g, x, `${name}.norm1`, groups, eps));
  h = conv(g, h, `${name}.conv1`, outChannels, { kernel: 3 }); // [B, outChannels, H, W]
  if (time) h = g.node("addChannels", [h, time], {});
  h = silu(g, groupNorm(g, h, `${name}.norm2`, groups, eps));
  h = conv(g, h, `${name}.conv2`, outChannels, { kernel: 3 });
  const skip = x.shape[1] === outChannels ? x : conv(g, x, `${name}.conv_shortcut`, outChannels, { kernel: 1 });
  return add(g, skip, h);
}

/** Upsample2D: nearest to the given size, then a 3x3 convolution. */
export function upsample(g: GraphBuilder, x: Tensor, name: string, height: number, width: number): Tensor {
  const larger = g.node("upsampleNearest", [x], { height, width }); // [B, C, height, width]
  return conv(g, larger, `${name}.conv`, x.shape[1]!, { kernel: 3 });
}
