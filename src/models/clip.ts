/**
 * @file The CLIP text encoder (transformers models/clip/modeling_clip.py), B batch, T tokens, C hidden size.
 * SDXL reads the hidden states before the last layer, or before an earlier one (clip skip), and from the second encoder the projected
 * end-of-text state.
 */
import type { ComponentAdapters } from "../adapters/adapter-set.ts";
import type { GraphBuilder, Tensor } from "../ir/builder.ts";
import type { Graph } from "../ir/graph.ts";
import { LayerBuilder } from "./layer-builder.ts";
import { add, layerNorm, linear } from "./layers.ts";

export type TextActivation = "quickGelu" | "gelu";

/** transformers CLIPTextModel / CLIPTextModelWithProjection. */
export interface ClipConfig {
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly vocabSize: number;
  readonly maxPositions: number;
  readonly activation: TextActivation;
  readonly eps: number;
  /** 2 is transformers' legacy value: the end-of-text token is then the highest id. */
  readonly eosTokenId: number;
  readonly projectionDim: number;
}

export interface ClipGraphOptions {
  readonly batch: number;
  readonly tokens: number;
  /** Layers passed over beside the last, one hidden output for each. Default: 0 alone. */
  readonly skips?: readonly number[];
  /** Also compute "pooled" from input "eos_rows": flat row b T + position of the end-of-text token. */
  readonly pooled: boolean;
  /** Tokens may be learned vectors instead: input "rows" tells which. */
  readonly learned?: boolean;
  /** See Graph. */
  readonly fp32?: boolean;
  readonly adapters?: ComponentAdapters | undefined;
}

/**
 * Inputs "ids" [B, T] i32, "positions" [T] i32, with pooled "eos_rows" [B] i32, with learned "learned" [T, C] and "rows" [B, T] i32: row r < T of the
 * ids' embeddings, T + i of "learned". Outputs by `hiddenName` [B, T, C], "pooled" [B, P].
 */
export function clipGraph(config: ClipConfig, options: ClipGraphOptions): Graph {
  return clip(config, options).build();
}

/** The output that holds the states before the last layer, or before one that comes `skip` layers earlier. */
export function hiddenName(skip: number): string {
  return skip === 0 ? "hidden" : `hidden.${skip}`;
}

/** All parameters of the checkpoint, the last layer included. */
export function clipSchema(config: ClipConfig, projection: boolean): ReadonlyMap<string, readonly number[]> {
  const g = clip(config, { batch: 1, tokens: config.maxPositions, pooled: true });
  return new Map([...g.weightShapes()].filter(([name]) => projection || !name.startsWith("text_projection")));
}

function clip(
  config: ClipConfig,
  { batch, tokens, skips = [0], pooled, learned, fp32, adapters }: ClipGraphOptions,
): GraphBuilder {
  const { hiddenSize, eps } = config;
  const g = new LayerBuilder("clip", { fp32, adapters });
  const ids = g.input("ids", [batch, tokens], "i32");
  const positions = g.input("positions", [tokens], "i32");
  const eosRows = pooled ? g.input("eos_rows", [batch], "i32") : undefined;
  const vectors = learned ? g.input("learned", [tokens, hiddenSize]) : undefined;
  const rows = learned ? g.input("rows", [batch, tokens], "i32") : undefined;
  let x = g.segment("text_model.embeddings", () => {
    const token = g.weight("text_model.embeddings.token_embedding.weight", [config.vocabSize, hiddenSize]);
    const position = g.weight("text_model.embeddings.position_embedding.weight", [config.maxPositions, hiddenSize]);
    let embedded = g.node("embedding", [token, ids], {}); // [B, T, C]
    if (vectors && rows) {
      const flat = g.node("reshape", [embedded], { shape: [batch * tokens, hiddenSize] });
      embedded = g.node("embedding", [g.node("concat", [flat, vectors], { axis: 0 }), rows], {}); // [B, T, C]
    }
    return add(g, embedded, g.node("embedding", [position, positions], {})); // [B, T, C]
  });
  // No layer runs that nothing reads.
  const layersRun = pooled ? config.layers : config.layers - 1 - Math.min(...skips);
  for (let layer = 0; layer < config.layers; layer++) {
    const skip = config.layers - 1 - layer;
    if (skips.includes(skip)) g.output(hiddenName(skip), x);
    if (layer < layersRun) x = clipLayer(g, x, `text_model.encoder.layers.${layer}`, config, true);
  }
  if (eosRows) {
    const projected = g.segment("text_projection", () => {
      const last = layerNorm(g, x, "text_model.final_layer_norm", eps); // [B, T, C]
      const rows = g.node("reshape", [last], { shape: [batch * tokens, hiddenSize] });
      return linear(g, g.node("embedding", [rows, eosRows], {}), "text_projection", config.projectionDim, false); // [B, P]
    });
    g.output("pooled", projected);
  }
  return g;
}

/** What a layer of CLIP's encoders, of text or pictures, depends on. */
export type ClipLayerConfig = Pick<ClipConfig, "hiddenSize" | "intermediateSize" | "heads" | "activation" | "eps">;

/** x [B, T, C] -> same. */
export function clipLayer(g: GraphBuilder, x: Tensor, name: string, config: ClipLayerConfig, causal: boolean): Tensor {
  const { hiddenSize, heads, eps } = config;
  return g.segment(name, () => {
    const normed = layerNorm(g, x, `${name}.layer_norm1`, eps);
    const [q, k, v] = ["q", "k", "v"].map((part) => linear(g, normed, `${name}.self_attn.${part}_proj`, hiddenSize));
    const attended = g.node("attention", [q!, k!, v!], { heads, causal }); // [B, T, C]
    const h = add(g, x, linear(g, attended, `${name}.self_attn.out_proj`, hiddenSize));
    const inner = linear(g, layerNorm(g, h, `${name}.layer_norm2`, eps), `${name}.mlp.fc1`, config.intermediateSize);
    return add(g, h, linear(g, g.node(config.activation, [inner], {}), `${name}.mlp.fc2`, hiddenSize));
  });
}
