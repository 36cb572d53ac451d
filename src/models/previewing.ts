/**
 * @file Previews by a tiny decoder, in the phase that denoises: how often, what of the plan they take, and how one is made. The last levels go in tiles
 * of one declared size that overlap by more than the network sees, so that a preview is the whole network's picture.
 */
import { ArtifactError } from "../errors.ts";
import type { RgbImage } from "../image/png.ts";
import { graphFlops } from "../ir/cost.ts";
import type { Graph } from "../ir/graph.ts";
import type { PassDescription } from "../plan/describe.ts";
import type { PhaseRun } from "../stream/phase.ts";
import { roundHalfEven } from "../tensor/rounding.ts";
import type { PreviewerShape } from "./job-shape.ts";
import {
  boundedLatent,
  COARSE_SCALE,
  TILE_SCALE,
  TINY_SCALE,
  type TinyDecoderGraphs,
  tinyDecoderGraphs,
} from "./tiny-decoder.ts";
import { type TileCut, tileCuts } from "./upscaling.ts";

/** The component that the graphs read weights of. */
export const PREVIEWER_COMPONENT = "previewer";

/** Cells of a tile's side, and how many of them neighbours share at least on each side: 13 convolutions see 6.25 cells far. */
const TILE = 96;
const OVERLAP = 8;
/** Of the work of the steps, by arithmetic. */
const SHARE = 0.1;

interface LatentSize {
  readonly height: number;
  readonly width: number;
}

export class Previewing {
  /** A preview follows every so many steps. */
  readonly everySteps: number;
  readonly #shape: PreviewerShape;
  readonly #measured: ((latent: Float32Array) => Float32Array) | undefined;
  readonly #latent: LatentSize;
  readonly #rows: readonly TileCut[];
  readonly #columns: readonly TileCut[];
  readonly #tile: LatentSize;
  readonly #graphs: TinyDecoderGraphs;
  readonly #ids: { readonly coarse: string; readonly fine: string };

  /**
   * `step`: what a step computes, once at least. `prefix`: before the ids of passes. `measured`: a latent as the decoder was trained on it, a new
   * array; absent: as samplers have it.
   */
  constructor(
    shape: PreviewerShape,
    latent: LatentSize & { readonly channels: number },
    step: Graph,
    prefix: string,
    measured?: (latent: Float32Array) => Float32Array,
  ) {
    const { latentChannels } = shape.config;
    if (latentChannels !== latent.channels) {
      const problem = `it decodes latents of ${latentChannels} channels (the model's have ${latent.channels})`;
      const next = "name the decoder of the model's kind, or leave it out";
      throw new ArtifactError({ code: "E_PREVIEWER", subject: "--preview-model", problem, next });
    }
    const cells = { height: latent.height * COARSE_SCALE, width: latent.width * COARSE_SCALE };
    this.#shape = shape;
    this.#measured = measured;
    this.#latent = latent;
    this.#rows = tileCuts(cells.height, TILE, OVERLAP);
    this.#columns = tileCuts(cells.width, TILE, OVERLAP);
    this.#tile = { height: Math.min(TILE, cells.height), width: Math.min(TILE, cells.width) };
    this.#graphs = tinyDecoderGraphs(shape.config, latent, this.#tile);
    this.#ids = { coarse: `${prefix}preview`, fine: `${prefix}preview.tile` };
    const flops = graphFlops(this.#graphs.coarse) + this.#tiles * graphFlops(this.#graphs.fine);
    this.everySteps = Math.max(1, Math.ceil(flops / (SHARE * graphFlops(step))));
  }

  get #tiles(): number {
    return this.#rows.length * this.#columns.length;
  }

  /** For so many steps at most. */
  passes(steps: number): PassDescription[] {
    const previews = Math.ceil(steps / this.everySteps);
    const rest = { component: this.#shape.component, cyclic: false, links: [] };
    return [
      { id: this.#ids.coarse, graph: this.#graphs.coarse, repeats: previews, ...rest },
      { id: this.#ids.fine, graph: this.#graphs.fine, repeats: previews * this.#tiles, ...rest },
    ];
  }

  /** The latent measured and bounded, the features, a tile of them, a tile of the picture; the preview as bytes, and as it is sent. */
  get hostBytes(): number {
    const { latentChannels, channels } = this.#shape.config;
    const cells = this.#latent.height * this.#latent.width;
    const tile = this.#tile.height * this.#tile.width;
    const latents = this.#measured ? 2 : 1;
    const values =
      cells * (latents * latentChannels + COARSE_SCALE ** 2 * channels) + tile * (channels + 3 * TILE_SCALE ** 2);
    return 4 * values + 2 * 3 * TINY_SCALE ** 2 * cells;
  }

  /** `latent` [1, Cl, H, W] as samplers have it, clean. Rejects with the signal's reason on abort. */
  async decode(phase: PhaseRun, latent: Float32Array, signal?: AbortSignal): Promise<RgbImage> {
    const bounded = new Map([["latent", boundedLatent(this.#measured?.(latent) ?? latent)]]);
    const features = (await phase.run(this.#ids.coarse, bounded, { signal })).get("features")!;
    const width = this.#latent.width * TINY_SCALE;
    const height = this.#latent.height * TINY_SCALE;
    const rgb = new Uint8Array(3 * width * height);
    for (const row of this.#rows) {
      for (const column of this.#columns) {
        const tile = new Map([["features", this.#cut(features, row.start, column.start)]]);
        const made = await phase.run(this.#ids.fine, tile, { signal });
        this.#keep(rgb, made.get("picture")!, row, column);
      }
    }
    return { width, height, rgb };
  }

  #cut(features: Float32Array, top: number, left: number): Float32Array {
    const { height, width } = this.#tile;
    const [tall, wide] = [this.#latent.height * COARSE_SCALE, this.#latent.width * COARSE_SCALE];
    const { channels } = this.#shape.config;
    if (height === tall && width === wide) return features;
    const tile = new Float32Array(channels * height * width);
    for (let channel = 0, into = 0; channel < channels; channel++) {
      for (let y = 0; y < height; y++, into += width) {
        const from = (channel * tall + top + y) * wide + left;
        tile.set(features.subarray(from, from + width), into);
      }
    }
    return tile;
  }

  #keep(rgb: Uint8Array, tile: Float32Array, row: TileCut, column: TileCut): void {
    const wide = this.#tile.width * TILE_SCALE;
    const plane = wide * this.#tile.height * TILE_SCALE;
    const width = this.#latent.width * TINY_SCALE;
    for (let y = row.from * TILE_SCALE; y < row.to * TILE_SCALE; y++) {
      for (let x = column.from * TILE_SCALE; x < column.to * TILE_SCALE; x++) {
        const at = (y - row.start * TILE_SCALE) * wide + (x - column.start * TILE_SCALE);
        for (let colour = 0; colour < 3; colour++) {
          const value = Math.min(Math.max(tile[colour * plane + at]!, 0), 1);
          rgb[3 * (y * width + x) + colour] = roundHalfEven(Math.fround(value * 255));
        }
      }
    }
  }
}
