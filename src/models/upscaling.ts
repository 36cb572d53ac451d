/**
 * @file A picture enlarged by a network, tile by tile. Tiles are of one declared size and overlap, the same for every budget: a network sees at least
 * TILE_OVERLAP pixels around what is kept of its result. A picture of at most a tile is one.
 */
import { type BandProgram, bandProgram } from "../bands/bands.ts";
import { type BandStorage, bandStorage } from "../bands/run.ts";
import type { PhaseDescription } from "../plan/describe.ts";
import type { PhaseRun } from "../stream/phase.ts";
import { roundHalfEven } from "../tensor/rounding.ts";
import { runProgram } from "./program-run.ts";
import {
  foldPicture,
  UPSCALE_BAND_BYTES,
  type UpscalerConfig,
  type UpscalerGraphs,
  unfoldPicture,
  upscalerGraphs,
} from "./upscaler.ts";

/** Pixels of a picture's side that a network sees at once: settings of the result, not of the machine. */
const TILE_PIXELS = 160;
/** What of them is only looked at, on each side that borders on another tile. */
const TILE_OVERLAP = 16;

/** The component that the graphs read weights of. */
export const UPSCALER_COMPONENT = "upscaler";

const TRUNK = "upscale";

/** Along one axis: what a tile reads from `start` on, and what of it is kept. */
export interface TileCut {
  readonly start: number;
  readonly from: number;
  readonly to: number;
}

/** Tiles of one length that cover `length`; neighbours meet in the middle of where they overlap, or behind it. */
export function tileCuts(length: number, tile = TILE_PIXELS, overlap = TILE_OVERLAP): readonly TileCut[] {
  if (length <= tile) return [{ start: 0, from: 0, to: length }];
  const step = tile - 2 * overlap;
  const count = Math.ceil((length - 2 * overlap) / step);
  return Array.from({ length: count }, (_, i) => ({
    start: Math.min(i * step, length - tile),
    from: i === 0 ? 0 : i * step + overlap,
    to: i === count - 1 ? length : (i + 1) * step + overlap,
  }));
}

/** RGB bytes, rows from the top. */
export interface RgbPicture {
  readonly width: number;
  readonly height: number;
  /** [height, width, 3] */
  readonly rgb: Uint8Array<ArrayBuffer>;
}

/** A picture on its way: what its first tiles have come to. */
export interface UpscaleProgress {
  readonly rgb: Uint8Array<ArrayBuffer>;
  tiles: number;
}

export interface UpscaleRunOptions {
  /** Of this very picture: its tiles are passed over, and it goes on as they come. Default: none is done. */
  readonly progress?: UpscaleProgress | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onTile?: ((done: number, tiles: number) => void) | undefined;
}

const f32 = Math.fround;

/** One picture's size as a phase of a plan, and how to carry it out. */
export class Upscaling {
  /** Of the result. */
  readonly width: number;
  readonly height: number;
  readonly tiles: number;
  readonly tileWidth: number;
  readonly tileHeight: number;
  readonly #config: UpscalerConfig;
  readonly #source: { readonly width: number; readonly height: number };
  readonly #columns: readonly TileCut[];
  readonly #rows: readonly TileCut[];
  readonly #graphs: UpscalerGraphs;
  readonly #tail: { readonly program: BandProgram; readonly storage: BandStorage } | undefined;

  /** `source`: size in pixels of what comes in. */
  constructor(config: UpscalerConfig, source: { readonly width: number; readonly height: number }) {
    const whole = (pixels: number) => Math.ceil(pixels / config.fold) * config.fold;
    this.#config = config;
    this.#source = source;
    this.width = source.width * config.scale;
    this.height = source.height * config.scale;
    this.#columns = tileCuts(whole(source.width));
    this.#rows = tileCuts(whole(source.height));
    this.tiles = this.#columns.length * this.#rows.length;
    this.tileWidth = Math.min(TILE_PIXELS, whole(source.width));
    this.tileHeight = Math.min(TILE_PIXELS, whole(source.height));
    this.#graphs = upscalerGraphs(config, this.tileHeight, this.tileWidth);
    const { tail } = this.#graphs;
    if (!tail) return;
    const program = bandProgram(tail, { bandBytes: UPSCALE_BAND_BYTES, id: `${TRUNK}.enlarge` });
    this.#tail = { program, storage: bandStorage(program) };
  }

  /**
   * @param furtherBytes host memory that its caller holds meanwhile
   * @param component what its weights are read as
   */
  phase(id: string, furtherBytes: number, component = UPSCALER_COMPONENT): PhaseDescription {
    const { trunk } = this.#graphs;
    const { program, storage } = this.#tail ?? {};
    const tilePixels = this.tileWidth * this.tileHeight;
    // A tile as it comes (planes, folded), the trunk's result, the tile enlarged (and spread); the whole pictures as bytes.
    const enlarged = 4 * 3 * tilePixels * this.#config.scale ** 2;
    const features = program ? 4 * this.#config.features * (tilePixels / this.#config.fold ** 2) : enlarged;
    const pictures = 3 * (this.#source.width * this.#source.height + this.width * this.height);
    const passes = program?.passes ?? [];
    return {
      id,
      title: `enlarge ${this.tiles} tile${this.tiles === 1 ? "" : "s"} of ${this.tileWidth}x${this.tileHeight}`,
      passes: [
        { id: TRUNK, graph: trunk, component, repeats: this.tiles, cyclic: true, links: [] },
        ...passes.map(({ id: pass, graph, repeats }) => ({
          ...{ id: pass, graph, component, cyclic: false, links: [] },
          repeats: repeats * this.tiles,
        })),
      ],
      hostBytes: furtherBytes + pictures + 2 * 4 * 3 * tilePixels + features + enlarged + (storage?.gatherBytes ?? 0),
      spilledBytes: storage?.spilledBytes ?? 0,
    };
  }

  begin(): UpscaleProgress {
    return { rgb: new Uint8Array(this.width * this.height * 3), tiles: 0 };
  }

  /** Enlarges a picture of the size that was described. Rejects with the signal's reason on abort. */
  async run(phase: PhaseRun, picture: RgbPicture, options: UpscaleRunOptions = {}): Promise<RgbPicture> {
    const { signal, onTile, progress = this.begin() } = options;
    const { rgb } = progress;
    onTile?.(progress.tiles, this.tiles);
    const cuts = this.#rows.flatMap((row) => this.#columns.map((column) => ({ row, column })));
    for (const { row, column } of cuts.slice(progress.tiles)) {
      const planes = this.#planes(picture, row.start, column.start);
      this.#keep(rgb, await this.#enlarge(phase, planes, signal), row, column);
      onTile?.(++progress.tiles, this.tiles);
    }
    return { width: this.width, height: this.height, rgb };
  }

  async #enlarge(phase: PhaseRun, planes: Float32Array, signal: AbortSignal | undefined): Promise<Float32Array> {
    const { tileWidth: width, tileHeight: height } = this;
    const { fold, scale } = this.#config;
    const inputs = new Map([["picture", fold === 1 ? planes : foldPicture(planes, fold, height, width)]]);
    const made = await phase.run(TRUNK, inputs, { signal });
    if (!this.#tail) return unfoldPicture(made.get("folded")!, planes, scale, height, width);
    const { program, storage } = this.#tail;
    const features = new Map([["features", made.get("features")!]]);
    const enlarged = await runProgram(phase, program, storage, features, signal);
    return enlarged.get("picture")!;
  }

  /** A tile in 0..1, [3, tileHeight, tileWidth]; what folding needs beyond the picture is mirrored, as Real-ESRGAN does. */
  #planes({ rgb }: RgbPicture, top: number, left: number): Float32Array {
    const { width, height } = this.#source;
    const mirrored = (at: number, count: number) => (at < count ? at : Math.max(0, 2 * count - 2 - at));
    const planes = new Float32Array(3 * this.tileWidth * this.tileHeight);
    let into = 0;
    for (let channel = 0; channel < 3; channel++) {
      for (let y = 0; y < this.tileHeight; y++) {
        const row = mirrored(top + y, height) * width;
        for (let x = 0; x < this.tileWidth; x++) {
          planes[into++] = f32(rgb[(row + mirrored(left + x, width)) * 3 + channel]! / 255);
        }
      }
    }
    return planes;
  }

  /** Rounds what is kept of a tile into the picture. */
  #keep(rgb: Uint8Array, tile: Float32Array, row: TileCut, column: TileCut): void {
    const { scale } = this.#config;
    const [wide, tall] = [this.tileWidth * scale, this.tileHeight * scale];
    const bottom = Math.min(row.to * scale, this.height);
    const right = Math.min(column.to * scale, this.width);
    for (let y = row.from * scale; y < bottom; y++) {
      for (let x = column.from * scale; x < right; x++) {
        const at = (y - row.start * scale) * wide + (x - column.start * scale);
        for (let channel = 0; channel < 3; channel++) {
          const value = tile[channel * wide * tall + at]!;
          rgb[(y * this.width + x) * 3 + channel] = roundHalfEven(f32(Math.min(Math.max(value, 0), 1) * 255));
        }
      }
    }
  }
}
