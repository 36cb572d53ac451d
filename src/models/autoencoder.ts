/** @file The VAE decoder (diffusers models/autoencoders/vae.py, Decoder), in fp32. B batch, C channels. */
import { GraphBuilder, type Tensor } from "../ir/builder.ts";
import type { Graph } from "../ir/graph.ts";
import type { VaeConfig } from "./config.ts";
import { add, conv, groupNorm, linear, resnet, silu, upsample } from "./layers.ts";

const EPS = 1e-6;

/**
 * Decoding goes in bands of rows (ir/bands.ts) of about this much, always and everywhere: it decides the last bits of every
 * picture. Measurements: docs/decisions/banded-decode.md.
 */
export const DECODE_BAND_BYTES = 64 * 1024 ** 2;

/** Input "latent" [B, Cl, H, W], already divided by the scaling factor. Output "image" [B, 3, H s, W s], about -1..1. */
export function vaeDecoderGraph(config: VaeConfig, batch: number, height: number, width: number): Graph {
  return decoder(config, batch, height, width).build();
}

/** Every parameter that decoding needs. */
export function vaeDecoderSchema(config: VaeConfig): ReadonlyMap<string, readonly number[]> {
  return decoder(config, 1, 2, 2).weightShapes();
}

function decoder(config: VaeConfig, batch: number, height: number, width: number): GraphBuilder {
  const { groups } = config;
  const channels = [...config.blockChannels].reverse();
  const top = channels[0]!;
  const g = new GraphBuilder("vae.decoder", { wide: true });
  const latent = g.input("latent", [batch, config.latentChannels, height, width]);
  let x = g.segment("decoder.conv_in", () => {
    const quantised = config.postQuantConv
      ? conv(g, latent, "post_quant_conv", config.latentChannels, { kernel: 1 })
      : latent;
    return conv(g, quantised, "decoder.conv_in", top, { kernel: 3 }); // [B, C, H, W]
  });
  const block = (name: string, outChannels: number) => {
    x = g.segment(name, () => resnet(g, x, name, { outChannels, groups, eps: EPS }));
  };
  block("decoder.mid_block.resnets.0", top);
  if (config.midAttention) x = attention(g, x, "decoder.mid_block.attentions.0", groups);
  block("decoder.mid_block.resnets.1", top);
  channels.forEach((outChannels, i) => {
    for (let j = 0; j <= config.layersPerBlock; j++) block(`decoder.up_blocks.${i}.resnets.${j}`, outChannels);
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
