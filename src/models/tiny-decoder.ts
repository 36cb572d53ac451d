/**
 * @file The decoder of a tiny autoencoder (TAESD, madebyollin; diffusers models/autoencoders/vae.py DecoderTiny): a latent as pictures of itself, for
 * previews. In two graphs: up to twice the latent's size at once, and from there to pixels tile by tile. B = 1, C channels, H and W the latent's.
 */
import { GraphBuilder, type Tensor } from "../ir/builder.ts";
import type { Graph } from "../ir/graph.ts";

export interface TinyDecoderConfig {
  readonly latentChannels: number;
  readonly channels: number;
  /** Residual blocks of each level, from the latent's size up. Each level but the last ends in twice the size. */
  readonly blocks: readonly [number, number, number, number];
}

/** Pixels of a latent's cell. */
export const TINY_SCALE = 8;
/** Levels that are computed at once; the tiles begin at their result's size. */
const COARSE_LEVELS = 2;
export const COARSE_SCALE = 2;
/** Pixels of the result to a cell of the tiles. */
export const TILE_SCALE = TINY_SCALE / COARSE_SCALE;
const COLOURS = 3;

export interface TinyDecoderGraphs {
  /** "latent" [1, Cl, H, W], bounded by `boundedLatent`, to "features" [1, C, 2 H, 2 W]. */
  readonly coarse: Graph;
  /** "features" [1, C, tileHeight, tileWidth] to "picture" [1, 3, 4 tileHeight, 4 tileWidth], about 0..1. */
  readonly fine: Graph;
}

export function tinyDecoderGraphs(
  config: TinyDecoderConfig,
  latent: { readonly height: number; readonly width: number },
  tile: { readonly height: number; readonly width: number },
): TinyDecoderGraphs {
  const { coarse, fine } = builders(config, latent, tile);
  return { coarse: coarse.build(), fine: fine.build() };
}

/** Every parameter of the decoder, by diffusers' names without "decoder.". */
export function tinyDecoderSchema(config: TinyDecoderConfig): ReadonlyMap<string, readonly number[]> {
  const side = { height: 1, width: 1 };
  const { coarse, fine } = builders(config, side, side);
  return new Map([...coarse.weightShapes(), ...fine.weightShapes()]);
}

/** tanh(x / 3) 3: what the decoder reads of a latent as samplers have it. */
export function boundedLatent(latent: Float32Array): Float32Array<ArrayBuffer> {
  return Float32Array.from(latent, (value) => Math.fround(Math.tanh(Math.fround(value / 3))) * 3);
}

interface Size {
  readonly height: number;
  readonly width: number;
}

function builders(config: TinyDecoderConfig, latent: Size, tile: Size) {
  const { latentChannels, channels, blocks } = config;
  const coarse = new GraphBuilder("preview.coarse", { fp32: true });
  const fine = new GraphBuilder("preview.fine", { fp32: true });
  let layer = 0;
  const named = () => `layers.${layer++}`;
  let g = coarse;
  const input = g.input("latent", [1, latentChannels, latent.height, latent.width]);
  let x = g.segment("layers.0", () => relu(g, conv(g, input, named(), channels))); // [1, C, H, W]
  layer++; // the activation's
  for (const [level, count] of blocks.entries()) {
    if (level === COARSE_LEVELS) {
      g.output("features", x);
      g = fine;
      x = g.input("features", [1, channels, tile.height, tile.width]);
    }
    if (level > 0) x = enlarged(g, x, `layers.${layer}`, channels, () => layer++);
    for (let i = 0; i < count; i++) {
      const name = named();
      x = g.segment(name, () => block(g, x, name));
    }
    if (level < blocks.length - 1) layer++; // the enlarging's
  }
  const last = named();
  g.output(
    "picture",
    g.segment(last, () => conv(g, x, last, COLOURS)),
  );
  return { coarse, fine };
}

function enlarged(g: GraphBuilder, x: Tensor, name: string, channels: number, counted: () => void): Tensor {
  counted();
  return g.segment(name, () => {
    const [, , height, width] = x.shape as [number, number, number, number];
    const larger = g.node("upsampleNearest", [x], { height: 2 * height, width: 2 * width });
    return conv(g, larger, name, channels, false);
  });
}

/** AutoencoderTinyBlock: three convolutions beside the way past them. */
function block(g: GraphBuilder, x: Tensor, name: string): Tensor {
  const channels = x.shape[1]!;
  const first = relu(g, conv(g, x, `${name}.conv.0`, channels));
  const second = relu(g, conv(g, first, `${name}.conv.2`, channels));
  return relu(g, g.node("add", [conv(g, second, `${name}.conv.4`, channels), x], {}));
}

function relu(g: GraphBuilder, x: Tensor): Tensor {
  return g.node("leakyRelu", [x], { slope: 0 });
}

function conv(g: GraphBuilder, x: Tensor, name: string, outChannels: number, bias = true): Tensor {
  const weights = [g.weight(`${name}.weight`, [outChannels, x.shape[1]!, 3, 3])];
  if (bias) weights.push(g.weight(`${name}.bias`, [outChannels]));
  return g.node("conv2d", [x, ...weights], { stride: 1, pad: [1, 1, 1, 1] }, name);
}
