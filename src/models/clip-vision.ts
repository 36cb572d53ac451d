/**
 * @file The CLIP vision encoder (transformers models/clip/modeling_clip.py, CLIPVisionModelWithProjection), as image prompts read it: the projected
 * state of the whole picture, or the states of all its patches before the last layer. T patches and one more, C hidden size, P projected.
 */
import type { JsonConfig } from "../checkpoint/json-config.ts";
import type { GraphBuilder } from "../ir/builder.ts";
import type { Graph } from "../ir/graph.ts";
import { type ClipLayerConfig, clipLayer } from "./clip.ts";
import { LayerBuilder } from "./layer-builder.ts";
import { add, layerNorm, linear } from "./layers.ts";

export interface ClipVisionConfig extends ClipLayerConfig {
  readonly layers: number;
  /** Pixels of a picture's side, and of a patch's. */
  readonly imageSize: number;
  readonly patchSize: number;
  readonly projectionDim: number;
}

/** What is read of it: "embeds" [1, P], or "hidden" [1, T, C]. */
export type VisionOutput = "embeds" | "hidden";

const MAX_WIDTH = 16384;
const MAX_LAYERS = 256;
/** No encoder sees larger pictures, or has more patches. */
export const MAX_IMAGE_SIDE = 2048;

/** Of its config.json. Throws ArtifactError `E_CONFIG`. */
export function clipVisionConfig(json: JsonConfig): ClipVisionConfig {
  json.require("hidden_act", ["quick_gelu", "gelu"]);
  json.require("num_channels", [3, null]);
  const hiddenSize = json.int("hidden_size", 1, MAX_WIDTH);
  const heads = json.int("num_attention_heads", 1, MAX_WIDTH);
  if (hiddenSize % heads !== 0) throw json.wrong("num_attention_heads", heads, `a divisor of ${hiddenSize}`);
  return {
    ...{ hiddenSize, heads },
    intermediateSize: json.int("intermediate_size", 1, 4 * MAX_WIDTH),
    layers: json.int("num_hidden_layers", 2, MAX_LAYERS),
    imageSize: json.int("image_size", 1, MAX_IMAGE_SIDE, 224),
    patchSize: json.int("patch_size", 1, MAX_IMAGE_SIDE, 32),
    projectionDim: json.int("projection_dim", 1, MAX_WIDTH, 512),
    activation: json.string("hidden_act", "quick_gelu") === "gelu" ? "gelu" : "quickGelu",
    eps: json.number("layer_norm_eps", 1e-5),
  };
}

/** Patches of a picture, and one more for the whole of it. */
export function visionTokens({ imageSize, patchSize }: ClipVisionConfig): number {
  return Math.floor(imageSize / patchSize) ** 2 + 1;
}

/** Inputs "pixels" [1, 3, side, side], normalised, "whole" [1, 1] i32 zeros and "positions" [T] i32, counting up. Output: see VisionOutput. */
export function clipVisionGraph(config: ClipVisionConfig, output: VisionOutput, fp32 = false): Graph {
  return vision(config, output, fp32).build();
}

/** All parameters; the class embedding as a table of one row. */
export function clipVisionSchema(config: ClipVisionConfig): ReadonlyMap<string, readonly number[]> {
  return vision(config, "embeds", false).weightShapes();
}

/** Canonical name of a stored one: some exports leave the prefix out. */
export function canonicalVisionName(name: string): string {
  return /^(embeddings|pre_layrnorm|encoder|post_layernorm)\./.test(name) ? `${VISION}.${name}` : name;
}

/** The one vector among the parameters that is read as a row. */
export const CLASS_EMBEDDING = "vision_model.embeddings.class_embedding";

const VISION = "vision_model";

function vision(config: ClipVisionConfig, output: VisionOutput, fp32: boolean): GraphBuilder {
  const { hiddenSize, imageSize, patchSize, eps, layers, projectionDim } = config;
  const tokens = visionTokens(config);
  const g = new LayerBuilder("clip.vision", { fp32 });
  const pixels = g.input("pixels", [1, 3, imageSize, imageSize]);
  const whole = g.input("whole", [1, 1], "i32");
  const positions = g.input("positions", [tokens], "i32");
  let x = g.segment(`${VISION}.embeddings`, () => {
    const name = `${VISION}.embeddings`;
    const kernels = g.weight(`${name}.patch_embedding.weight`, [hiddenSize, 3, patchSize, patchSize]);
    const patches = g.node("conv2d", [pixels, kernels], { stride: patchSize, pad: [0, 0, 0, 0] }, name);
    const own = g.node("embedding", [g.weight(CLASS_EMBEDDING, [1, hiddenSize]), whole], {});
    const joined = g.node("concat", [own, g.node("toTokens", [patches], {})], { axis: 1 }); // [1, T, C]
    const table = g.weight(`${name}.position_embedding.weight`, [tokens, hiddenSize]);
    const placed = add(g, joined, g.node("embedding", [table, positions], {}));
    return layerNorm(g, placed, `${VISION}.pre_layrnorm`, eps);
  });
  const run = output === "hidden" ? layers - 1 : layers;
  for (let layer = 0; layer < run; layer++) {
    x = clipLayer(g, x, `${VISION}.encoder.layers.${layer}`, config, false);
  }
  if (output === "hidden") {
    g.output("hidden", x);
    return g;
  }
  const embeds = g.segment("visual_projection", () => {
    const first = g.node("slice", [x], { axis: 1, from: 0, to: 1 });
    const pooled = layerNorm(
      g,
      g.node("reshape", [first], { shape: [1, hiddenSize] }),
      `${VISION}.post_layernorm`,
      eps,
    );
    return linear(g, pooled, "visual_projection", projectionDim, false); // [1, P]
  });
  g.output("embeds", embeds);
  return g;
}
