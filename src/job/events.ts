/** @file What an engine tells while it opens and while an image is made. Plain JSON, but for the picture's bytes. */
import type { PictureEncoding } from "../image/picture-writer.ts";
import type { PlanReport } from "../plan/report.ts";
import type { SamplerState } from "../sampler/sampler.ts";
import type { PassTotals, ResidencySample, SegmentTotals } from "../stream/telemetry.ts";
import type { ComputeName } from "./backends.ts";
import type { FullJob } from "./job.ts";
import type { Seed } from "./seed.ts";

/** While the engine opens. */
export type LoadEvent =
  | {
      readonly type: "module";
      readonly count: number;
      readonly key: string;
      readonly rssBytes: number;
      readonly readBytes: number;
      readonly totalBytes: number;
      readonly elapsedMs: number;
    }
  | {
      readonly type: "artifact";
      readonly applied: number;
      readonly untouched: number;
      /** UNet parameters that the artifact does not name; their base weights stay. */
      readonly missing: number;
      readonly skippedOverlayRows: number;
      readonly elapsedMs: number;
    }
  | {
      readonly type: "model";
      readonly path: string;
      readonly demo: boolean;
      readonly backend: ComputeName;
    }
  /** What the user should know, such as a scheduler of the model's that another sampler stands in for. */
  | { readonly type: "note"; readonly text: string };

/** All that an image can go on from. Plain data. */
export interface DrawnState extends SamplerState {
  /** What went wrong in less than fp32, where the steps are made in fp32 since. */
  readonly retry?: string;
}

/** What lies where at a moment, for who watches an engine. Plain JSON. */
export interface ResidencyEvent {
  /** Of a clock that never goes back. */
  readonly atMs: number;
  /** The segment that ended last. */
  readonly pass?: string;
  readonly segment?: string;
  /** Keys of the blocks on the device, and of those on their way, as a plan's map has them. */
  readonly resident: readonly string[];
  readonly loading: readonly string[];
  /** What the ledger holds on each tier. */
  readonly deviceBytes: number;
  readonly ramBytes: number;
  readonly rssBytes: number;
  /** Since the engine was opened: weights read from disk. Of the images under way: weights that came to the device, and time that compute stood still. */
  readonly readBytes: number;
  readonly loadedBytes: number;
  readonly waitMs: number;
}

/** While an image is made. All of it is plain JSON except `image.bytes`, `preview.rgb` and a step's `state`. */
export type GenerateEvent =
  /** The job with nothing left open. */
  | (FullJob & { readonly type: "start"; readonly negativePrompt: string; readonly backend: ComputeName })
  /** Known before the first byte moves; once more after a retry. */
  | { readonly type: "plan"; readonly plan: PlanReport }
  /** What the user should know: a lost graphics card and the retry, a smaller budget, a slowdown, a prompt that was cut, a picture of one colour. */
  | { readonly type: "note"; readonly text: string }
  /** What became of the tensors of an adapter's file: layers changed, by kind, and names in the file that the model has no layer for. */
  | {
      readonly type: "lora";
      readonly file: string;
      /** As A1111 abbreviates it. */
      readonly hash: string;
      readonly kinds: Readonly<Record<string, number>>;
      readonly tensors: number;
      readonly matched: number;
      readonly unmatched: readonly string[];
    }
  /** `title`: the plan's, which begins with the phase's name: "look at the larger size". */
  | {
      readonly type: "phase";
      readonly phase: "encode" | "look" | "denoise" | "decode" | "enlarge";
      readonly title: string;
    }
  | {
      readonly type: "step";
      readonly step: number;
      readonly steps: number;
      readonly elapsedMs: number;
      readonly stepMs: number;
      readonly etaMs: number;
      readonly readBytes: number;
      readonly bytesPerSecond: number;
      /** Time in which compute stood still for weights. */
      readonly waitMs: number;
      /** All that the run could go on from, if it was asked for. */
      readonly state?: DrawnState;
    }
  /** What the picture looks like after a step, one pixel a cell of the latent: if previews were asked for, and the model's are known. */
  | {
      readonly type: "preview";
      readonly step: number;
      readonly steps: number;
      readonly width: number;
      readonly height: number;
      /** [height, width, 3] */
      readonly rgb: Uint8Array;
    }
  /** Where the time went, segment by segment, and what was on the device meanwhile. */
  | {
      readonly type: "telemetry";
      readonly segments: readonly SegmentTotals[];
      readonly residency: readonly ResidencySample[];
    }
  | {
      readonly type: "image";
      /** The picture's file. */
      readonly bytes: Uint8Array;
      readonly format: PictureEncoding;
      readonly width: number;
      readonly height: number;
      readonly seed: Seed;
      /** What it was computed in, as the picture records it: as declared, or fp32 where values became NaN in fp16. */
      readonly precision: string;
      readonly elapsedMs: number;
      readonly peakRssBytes: number;
      /** Most that the ledger held on each tier during this image. */
      readonly peakDeviceBytes: number;
      readonly peakRamBytes: number;
      /** Where the time went. */
      readonly passes: readonly PassTotals[];
    };
