/** @file All that is measured of a graphics adapter: products by tile and by path, attention, norms, uploads, overlap. */

import type { AdapterFacts } from "../backend/webgpu/adapter/adapter.ts";
import { type TileTable, tuneTiles } from "../backend/webgpu/adapter/tuning.ts";
import { chooseTile, type ProductShape, type TileName, tileFits } from "../backend/webgpu/kernels/gemm-tiles.ts";
import { BASELINE, describePrecision, type KernelPaths } from "../backend/webgpu/lower/paths.ts";
import { createWebGpuDevice, type WebGpuDevice, type WebGpuOptions } from "../backend/webgpu/run/device.ts";
import { MiB } from "../ledger/byte-text.ts";
import { openDawn } from "../node/gpu/dawn.ts";
import { naiveGflops } from "./naive.ts";
import { knownPeak, type PeakTflops } from "./peaks.ts";
import { measureRate, type Rate, type RateOptions } from "./rates.ts";
import { type BenchShape, benchProblem, SDXL_SHAPES, shrunk } from "./shapes.ts";
import { measureOverlap, type Overlap, type UploadRates, uploadRates } from "./uploads.ts";

export interface WebGpuBenchOptions extends Omit<RateOptions, "runs" | "leastMs"> {
  /** Part of the adapter's name. */
  readonly adapter?: string;
  /** Divides rows; default 1, or 32 on software adapters. */
  readonly shrink?: number;
  /** Every tile of every product. Default: on real adapters. */
  readonly allTiles?: boolean;
  readonly peak?: PeakTflops;
  /** Default: SDXL's. */
  readonly shapes?: readonly BenchShape[];
  /** Of a block of weights. Default: 256 MiB, on software adapters a quarter. */
  readonly uploadBytes?: number;
  readonly onShape?: (result: ShapeResult) => void;
}

export interface ShapeResult extends Rate {
  readonly name: string;
  readonly kind: BenchShape["kind"];
  readonly rows: number;
  readonly columns: number;
  readonly depth: number;
  /** The default choice, for products. */
  readonly tile?: TileName;
  /** GFLOP/s of each tile, where all were measured. */
  readonly tiles?: Readonly<Partial<Record<TileName, number>>>;
  /** GFLOP/s (or GB/s) of each set of kernels that passed its self-test; "fp32" is the figure above. */
  readonly paths?: Readonly<Record<string, number>>;
  /** GFLOP/s of one thread per result. */
  readonly naiveGflops?: number;
  /** Of the GPU's fp32 peak. */
  readonly share?: number;
}

export interface WebGpuBench {
  readonly adapter: AdapterFacts;
  readonly shrink: number;
  readonly peak?: PeakTflops;
  /** Paths that the adapter lacks, or that failed. */
  readonly notes: readonly string[];
  readonly shapes: readonly ShapeResult[];
  readonly uploads: UploadRates;
  readonly overlap: Overlap;
  /** The fastest tile of each product, where all were measured. */
  readonly tiles?: TileTable;
}

const UPLOAD_BYTES = 256 * MiB;
const SOFTWARE_SHRINK = 32;
/** Of the problem that is computed while bytes are uploaded: on a card an upload takes as long as several. */
const OVERLAP_REPEATS = 4;
/** Of a naive kernel: a tenth of a second at 1 GFLOP/s. */
const SOFTWARE_OPERATIONS = 1e8;

/** Rejects with DeviceError as the device does, or with the signal's reason. */
export async function benchWebGpu(options: WebGpuBenchOptions): Promise<WebGpuBench> {
  // Both only for what passes its test; bits don't matter here.
  let tile: TileName | undefined;
  const choose = (shape: ProductShape) => (tile && tileFits(tile, shape) ? tile : chooseTile(shape));
  const open = async (more: WebGpuOptions) => await createWebGpuDevice(await openDawn(options.adapter), more);
  await using device = await open({ chooseTile: choose });
  await using fast = await open({ chooseTile: choose, precision: "fp16" });
  const { adapter } = device;
  const { software } = adapter;
  const rate: RateOptions = { ...options, runs: software ? 2 : 5, leastMs: software ? 0 : 200 };
  const { shrink = software ? SOFTWARE_SHRINK : 1, allTiles = !software } = options;
  const peak = options.peak ?? knownPeak(adapter.device);
  const others = new Map<string, WebGpuDevice>();
  if (describePrecision(fast.chosen.paths) !== "fp32") others.set(describePrecision(fast.chosen.paths), fast);
  await using plain = device.chosen.paths.lanes === undefined ? undefined : await open({ paths: BASELINE });
  if (plain) others.set("fp32 without subgroups", plain);

  const { shapes: all = SDXL_SHAPES } = options;
  const shapes: ShapeResult[] = [];
  const table: Record<string, TileName> = {};
  for (const full of all) {
    const shape = shrunk(full, shrink);
    const problem = benchProblem(shape);
    const product = productOf(shape);
    const found = await measureRate(device, problem, rate);
    const tiles: Partial<Record<TileName, number>> = {};
    if (product && allTiles) {
      const tuned = await tuneTiles([product], async (_, name) => {
        tile = name;
        // What is lowered is kept: a tile is a part of that.
        await device.release();
        const { ms, gflops } = await measureRate(device, problem, rate);
        tiles[name] = gflops!;
        return ms;
      });
      tile = undefined;
      await device.release();
      Object.assign(table, tuned);
    }
    const paths: Record<string, number> = {};
    // Software compiles for seconds: the other paths once for each kind there.
    const compared = !software || !shapes.some(({ kind }) => kind === shape.kind);
    for (const [name, other] of compared ? others : []) {
      if (!concerns(shape, other.chosen.paths, device.chosen.paths)) continue;
      const { gflops, gbps } = await measureRate(other, problem, rate);
      paths[name] = (gflops ?? gbps)!;
    }
    const best = Math.max(found.gflops ?? 0, ...Object.values(tiles));
    const naive = shape.kind === "linear" || shape.kind === "conv";
    const result: ShapeResult = {
      ...shape,
      ...found,
      tile: product && chooseTile(product),
      tiles: allTiles && product ? tiles : undefined,
      paths: Object.keys(paths).length > 0 ? paths : undefined,
      naiveGflops: naive
        ? await naiveGflops(shape, adapter.device, software ? SOFTWARE_OPERATIONS : Infinity, rate)
        : undefined,
      share: peak && found.gflops !== undefined ? best / 1000 / peak.fp32 : undefined,
    };
    shapes.push(result);
    options.onShape?.(result);
  }
  const { uploadBytes: bytes = software ? UPLOAD_BYTES / 4 : UPLOAD_BYTES } = options;
  const uploads = await uploadRates(device, bytes, rate);
  const busiest = all.find(({ kind }) => kind !== "groupNorm") ?? all[0]!;
  const work = benchProblem(shrunk(busiest, shrink));
  const overlap = await measureOverlap(device, work, { bytes, repeats: software ? 1 : OVERLAP_REPEATS }, rate);
  return {
    adapter,
    shrink,
    peak,
    notes: fast.chosen.notes,
    shapes,
    uploads,
    overlap,
    tiles: allTiles ? table : undefined,
  };
}

/** False where a set of kernels computes a shape exactly as another does. */
function concerns({ kind }: BenchShape, paths: KernelPaths, baseline: KernelPaths): boolean {
  const product = kind === "linear" || kind === "geglu" || kind === "conv";
  if (product) return paths.products !== baseline.products || paths.matrix !== undefined;
  if (kind === "attention" && paths.attention !== baseline.attention) return true;
  return paths.lanes !== baseline.lanes;
}

function productOf({ kind, rows, columns, depth }: BenchShape): ProductShape | undefined {
  if (kind === "attention" || kind === "groupNorm") return undefined;
  return { rows, columns, depth: kind === "conv" ? 9 * depth : depth, geglu: kind === "geglu" };
}
