/**
 * @file The VAE (diffusers models/autoencoders/vae.py, Decoder and Encoder), always in fp32, since its values pass the largest
 * fp16. B batch, C channels, Cl latent channels.
 */
import type { LatentColours } from "../image/latent-preview.ts";
import { GraphBuilder, type Tensor } from "../ir/builder.ts";
import type { Graph } from "../ir/graph.ts";
import type { LatentMoments } from "./family.ts";
import { add, conv, groupNorm, linear, resnet, silu, upsample } from "./layers.ts";

/** diffusers AutoencoderKL. */
export interface VaeConfig {
  readonly latentChannels: number;
  readonly outChannels: number;
  /** Of each level, from the picture's size down. */
  readonly blockChannels: readonly number[];
  readonly layersPerBlock: number;
  readonly groups: number;
  readonly midAttention: boolean;
  /** A 1x1 convolution after the encoder, and one before the decoder. */
  readonly quantConv: boolean;
  readonly postQuantConv: boolean;
  /** Why the model's encoder is none that this text computes; the decoder is all the same. */
  readonly otherEncoder?: string | undefined;
  readonly scalingFactor: number;
  /** What its latent's channels look like, of models that say so. */
  readonly latentColours?: LatentColours | undefined;
  /** By latent channel, of models that have them. */
  readonly latentStatistics?: { readonly mean: readonly number[]; readonly std: readonly number[] } | undefined;
}

/** Pixels per latent cell. */
export function vaeScaleFactor(config: VaeConfig): number {
  return 2 ** (config.blockChannels.length - 1);
}

const EPS = 1e-6;

/** A latent as samplers leave it [1, Cl, H, W], as the decoder reads it: without the model's mean, deviation and scaling factor. */
export function unscaledLatent(latent: Float32Array, config: VaeConfig): Float32Array {
  const { latentChannels, latentStatistics, scalingFactor } = config;
  const plane = latent.length / latentChannels;
  return latent.map((value, i) => {
    const channel = Math.floor(i / plane);
    const std = latentStatistics?.std[channel] ?? 1;
    const mean = latentStatistics?.mean[channel] ?? 0;
    return Math.fround(value * std) / scalingFactor + mean;
  });
}

/** Back: what an encoder gives [1, Cl, H, W], as samplers and the model see it. */
export function scaledLatent(latent: Float32Array, config: VaeConfig): Float32Array<ArrayBuffer> {
  const { latentChannels, latentStatistics, scalingFactor } = config;
  const plane = latent.length / latentChannels;
  return Float32Array.from(latent, (value, i) => {
    const channel = Math.floor(i / plane);
    const std = latentStatistics?.std[channel] ?? 1;
    const mean = latentStatistics?.mean[channel] ?? 0;
    return Math.fround(Math.fround(value - mean) * scalingFactor) / std;
  });
}

/**
 * Of an encoder's answer [1, 2 Cl, H, W]: means, then logarithms of variances, which are kept within -30 and 20 (diffusers
 * DiagonalGaussianDistribution).
 */
export function latentMoments(answer: Float32Array): LatentMoments {
  const half = answer.length / 2;
  const deviation = Float32Array.from(answer.subarray(half), (logarithm) =>
    Math.exp(Math.fround(0.5 * Math.min(Math.max(logarithm, -30), 20))),
  );
  return { mean: answer.subarray(0, half), deviation };
}

/**
 * Decoding goes in bands of rows (bands/) of about this much, always and everywhere: it decides the last bits of every
 * picture. Measurements: docs/decisions/banded-decode.md.
 */
export const DECODE_BAND_BYTES = 64 * 1024 ** 2;
/** Encoding as well: it decides the last bits of every picture that begins with one. */
export const ENCODE_BAND_BYTES = DECODE_BAND_BYTES;

/** Input "latent" [B, Cl, H, W], already divided by the scaling factor. Output "image" [B, 3, H s, W s], about -1..1. */
export function vaeDecoderGraph(config: VaeConfig, batch: number, height: number, width: number): Graph {
  return decoder(config, batch, height, width).build();
}

/**
 * Input "image" [B, 3, H s, W s] in -1..1. Output "moments" [B, 2 Cl, H, W]: mean and logarithm of the variance of the latent, not yet
 * multiplied by the scaling factor. H and W are the latent's.
 */
export function vaeEncoderGraph(config: VaeConfig, batch: number, height: number, width: number): Graph {
  return encoder(config, batch, height, width).build();
}

/** Every parameter that encoding needs. */
export function vaeEncoderSchema(config: VaeConfig): ReadonlyMap<string, readonly number[]> {
  return encoder(config, 1, 2, 2).weightShapes();
}

/** Every parameter that decoding needs. */
export function vaeDecoderSchema(config: VaeConfig): ReadonlyMap<string, readonly number[]> {
  return decoder(config, 1, 2, 2).weightShapes();
}

function decoder(config: VaeConfig, batch: number, height: number, width: number): GraphBuilder {
  const { groups } = config;
  const channels = [...config.blockChannels].reverse();
  const top = channels[0]!;
  const g = new GraphBuilder("vae.decoder", { fp32: true });
  const latent = g.input("latent", [batch, config.latentChannels, height, width]);
  let x = g.segment("decoder.conv_in", () => {
    const quantised = config.postQuantConv
      ? conv(g, latent, "post_quant_conv", config.latentChannels, { kernel: 1 })
      : latent;
    return conv(g, quantised, "decoder.conv_in", top, { kernel: 3 }); // [B, C, H, W]
  });
  x = midBlock(g, x, "decoder.mid_block", config);
  channels.forEach((outChannels, i) => {
    for (let j = 0; j <= config.layersPerBlock; j++) {
      const name = `decoder.up_blocks.${i}.resnets.${j}`;
      x = g.segment(name, () => resnet(g, x, name, { outChannels, groups, eps: EPS }));
    }
    if (i < channels.length - 1) {
      const name = `decoder.up_blocks.${i}.upsamplers.0`;
      x = g.segment(name, () => upsample(g, x, name, x.shape[2]! * 2, x.shape[3]! * 2));
    }
  });
  const image = g.segment("decoder.conv_out", () => {
    const normed = silu(g, groupNorm(g, x, "decoder.conv_norm_out", groups, EPS));
    return conv(g, normed, "decoder.conv_out", config.outChannels, { kernel: 3 });
  });
  g.output("image", image);
  return g;
}

function encoder(config: VaeConfig, batch: number, height: number, width: number): GraphBuilder {
  const { groups, blockChannels: channels, latentChannels } = config;
  const scale = vaeScaleFactor(config);
  const g = new GraphBuilder("vae.encoder", { fp32: true });
  const image = g.input("image", [batch, config.outChannels, height * scale, width * scale]);
  let x = g.segment("encoder.conv_in", () => conv(g, image, "encoder.conv_in", channels[0]!, { kernel: 3 }));
  channels.forEach((outChannels, i) => {
    for (let j = 0; j < config.layersPerBlock; j++) {
      const name = `encoder.down_blocks.${i}.resnets.${j}`;
      x = g.segment(name, () => resnet(g, x, name, { outChannels, groups, eps: EPS }));
    }
    if (i < channels.length - 1) {
      const name = `encoder.down_blocks.${i}.downsamplers.0`;
      // diffusers' Downsample2D without padding: a row and a column of zeros after the last ones.
      const options = { kernel: 3, stride: 2, pad: [0, 0, 1, 1] } as const;
      x = g.segment(name, () => conv(g, x, `${name}.conv`, outChannels, options));
    }
  });
  x = midBlock(g, x, "encoder.mid_block", config);
  const moments = g.segment("encoder.conv_out", () => {
    const normed = silu(g, groupNorm(g, x, "encoder.conv_norm_out", groups, EPS));
    const out = conv(g, normed, "encoder.conv_out", 2 * latentChannels, { kernel: 3 });
    return config.quantConv ? conv(g, out, "quant_conv", 2 * latentChannels, { kernel: 1 }) : out; // [B, 2 Cl, H, W]
  });
  g.output("moments", moments);
  return g;
}

/** UNetMidBlock2D: x [B, C, H, W] -> same. */
function midBlock(g: GraphBuilder, input: Tensor, name: string, { groups, midAttention }: VaeConfig): Tensor {
  const outChannels = input.shape[1]!;
  const block = (x: Tensor, resnetName: string) =>
    g.segment(resnetName, () => resnet(g, x, resnetName, { outChannels, groups, eps: EPS }));
  let x = block(input, `${name}.resnets.0`);
  if (midAttention) x = attention(g, x, `${name}.attentions.0`, groups);
  return block(x, `${name}.resnets.1`);
}

/** The middle block's single-head self-attention: x [B, C, H, W] -> same. */
function attention(g: GraphBuilder, x: Tensor, name: string, groups: number): Tensor {
  const [, channels, height, width] = x.shape;
  return g.segment(name, () => {
    const tokens = g.node("toTokens", [groupNorm(g, x, `${name}.group_norm`, groups, EPS)], {}); // [B, T, C]
    const qkv = ["q", "k", "v"].map((part) => linear(g, tokens, `${name}.to_${part}`, channels!));
    const attended = g.node("attention", qkv, { heads: 1, causal: false });
    const projected = linear(g, attended, `${name}.to_out.0`, channels!);
    return add(g, x, g.node("toImage", [projected], { height: height!, width: width! }));
  });
}
