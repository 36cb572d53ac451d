/**
 * @file IP-Adapters for SDXL (tencent-ailab/IP-Adapter; diffusers models/embeddings.py ImageProjection, IPAdapterPlusImageProjection), by their files'
 * names: what an image encoder has seen becomes tokens, and those keys and values beside the text's in each cross-attention. D context, S tokens.
 */
import type { GraphBuilder, Tensor } from "../../ir/builder.ts";
import type { Graph } from "../../ir/graph.ts";
import { type ClipVisionConfig, visionTokens } from "../clip-vision.ts";
import type { ImagePromptNetwork } from "../image-prompt.ts";
import { LayerBuilder } from "../layer-builder.ts";
import { add, layerNorm, linear } from "../layers.ts";
import type { UNetConfig } from "./config.ts";
import { attentionStages } from "./unet.ts";

/** A resampler over all patches: IP-Adapter Plus. */
export interface ResamplerConfig {
  readonly width: number;
  readonly heads: number;
  readonly depth: number;
  /** Of the layers between. */
  readonly inner: number;
}

export interface IpAdapterConfig extends ImagePromptNetwork {
  readonly kind: "ip-adapter";
  readonly vision: ClipVisionConfig;
  /** Of each picture. */
  readonly tokens: number;
  /** Absent: the picture's projected state alone is read. */
  readonly plus?: ResamplerConfig | undefined;
}

const EPS = 1e-5;

/** Input "seen": [1, P], of Plus [1, T, C]. Output "tokens" [1, S, D]. */
export function imageTokensGraph(config: IpAdapterConfig, context: number, fp32 = false): Graph {
  return imageTokens(config, context, fp32).build();
}

interface KeysOptions {
  readonly batch: number;
  readonly tokens: number;
  readonly fp32?: boolean;
  /** Before the names of outputs. */
  readonly prefix?: string;
}

/** Input "context" [B, S, D]; outputs, per transformer block of the UNet, "<prefix><block>.k" and "<prefix><block>.v" [B, S, C]. */
export function imageKeysGraph(unet: UNetConfig, { batch, tokens, fp32 = false, prefix = "" }: KeysOptions): Graph {
  return imageKeys(unet, { batch, tokens, fp32, prefix }).build();
}

/** Every parameter and its shape. */
export function ipAdapterSchema(config: IpAdapterConfig, unet: UNetConfig): ReadonlyMap<string, readonly number[]> {
  const parts = [imageTokens(config, unet.crossAttentionDim, false), imageKeys(unet, { batch: 1, tokens: 1 })];
  return new Map(parts.flatMap((part) => [...part.weightShapes()]));
}

function imageTokens(config: IpAdapterConfig, context: number, fp32: boolean): GraphBuilder {
  const { vision, tokens, plus } = config;
  const g = new LayerBuilder("ip.tokens", { fp32 });
  const name = "image_proj";
  if (!plus) {
    const seen = g.input("seen", [1, vision.projectionDim]);
    const made = g.segment(name, () => {
      const wide = linear(g, seen, `${name}.proj`, tokens * context);
      return layerNorm(g, g.node("reshape", [wide], { shape: [1, tokens, context] }), `${name}.norm`, EPS);
    });
    g.output("tokens", made);
    return g;
  }
  const seen = g.input("seen", [1, visionTokens(vision), vision.hiddenSize]);
  const rows = g.input("rows", [1, tokens], "i32");
  const [read, begun] = g.segment(`${name}.proj_in`, () => [
    linear(g, seen, `${name}.proj_in`, plus.width),
    g.node("embedding", [g.weight(`${name}.latents`, [tokens, plus.width]), rows], {}), // [1, S, W]
  ]) as [Tensor, Tensor];
  let latents = begun;
  for (let i = 0; i < plus.depth; i++) latents = resample(g, read, latents, `${name}.layers.${i}`, plus);
  const made = g.segment(`${name}.proj_out`, () =>
    layerNorm(g, linear(g, latents, `${name}.proj_out`, context), `${name}.norm_out`, EPS),
  );
  g.output("tokens", made);
  return g;
}

/** PerceiverAttention and what follows it: read [1, T, W], latents [1, S, W] -> same. */
function resample(g: GraphBuilder, read: Tensor, latents: Tensor, name: string, config: ResamplerConfig): Tensor {
  const { width, heads, inner } = config;
  return g.segment(name, () => {
    const own = layerNorm(g, latents, `${name}.0.norm2`, EPS);
    const all = g.node("concat", [layerNorm(g, read, `${name}.0.norm1`, EPS), own], { axis: 1 }); // [1, T + S, W]
    const attention = heads * HEAD;
    const joined = linear(g, all, `${name}.0.to_kv`, 2 * attention, false);
    const [k, v] = [0, 1].map((part) => {
      return g.node("slice", [joined], { axis: 2, from: part * attention, to: (part + 1) * attention });
    }) as [Tensor, Tensor];
    const q = linear(g, own, `${name}.0.to_q`, attention, false);
    const attended = g.node("attention", [q, k, v], { heads, causal: false });
    const h = add(g, linear(g, attended, `${name}.0.to_out`, width, false), latents);
    const wide = linear(g, layerNorm(g, h, `${name}.1.0`, EPS), `${name}.1.1`, inner, false);
    return add(g, linear(g, g.node("gelu", [wide], {}), `${name}.1.3`, width, false), h);
  });
}

/** Channels of each head of a resampler. */
export const HEAD = 64;

function imageKeys(unet: UNetConfig, { batch, tokens, fp32 = false, prefix = "" }: KeysOptions): GraphBuilder {
  const g = new LayerBuilder("ip.keys", { fp32 });
  const context = g.input("context", [batch, tokens, unet.crossAttentionDim]);
  // Numbers count all attentions in the order of diffusers' processors, of which each second one reads the text.
  attentionStages(unet).forEach(({ name, channels }, i) => {
    const own = `ip_adapter.${2 * i + 1}`;
    g.segment(own, () => {
      g.output(`${prefix}${name}.k`, linear(g, context, `${own}.to_k_ip`, channels, false));
      g.output(`${prefix}${name}.v`, linear(g, context, `${own}.to_v_ip`, channels, false));
    });
  });
  return g;
}
