/** @file The engine's published words: options, jobs and events. Types only; runs nowhere. */
import type { PlanReport } from "./plan/report.ts";
import type { PassTotals, ResidencySample, SegmentTotals } from "./stream/telemetry.ts";

export type { PassReport, PhaseReport, PlanReport } from "./plan/report.ts";
export type { LoadTotals, PassTotals, ResidencySample, SegmentTotals } from "./stream/telemetry.ts";

export type BackendName = "auto" | "webgpu" | "cpu" | "reference";

/** Arithmetic of linear layers, convolutions and attention; the VAE and everything else are always fp32. */
export type PrecisionName = "fp32" | "fp16";

export interface OpenEngineOptions {
  /** Diffusers folder, Hugging Face id looked up in the local cache, or "store:ID". Default: the embedded demo model. */
  readonly model?: string;
  /** LZR2 file that overlays the UNet. */
  readonly artifact?: string;
  /**
   * Folder of the block store, which large artifacts are imported into once; `model` may be "store:ID" too. Default:
   * `$SOLVAY_STORE`, or `solvay/store` in the user's cache folder.
   */
  readonly store?: string;
  /** Default "auto": the graphics card where there is one, else the CPU. */
  readonly backend?: BackendName;
  /** Part of a graphics adapter's name. Software adapters are used only when named. */
  readonly adapter?: string;
  /**
   * Default "fp32". "fp16": faster on graphics cards that offer it, other pixels than fp32's; where it can't be had, a note says so.
   * A picture records what was used; one that comes to no numbers in fp16 is made again in fp32, with a note.
   */
  readonly precision?: PrecisionName;
  /** Accept LZR2 records of unknown kind, as the published loader does (the base weight stays; they are counted). Default false. */
  readonly compat?: boolean;
  readonly budgets?: BudgetOptions;
  readonly signal?: AbortSignal;
  /** Load progress (artifact records, text). */
  readonly onEvent?: (event: LoadEvent) => void;
}

/**
 * Hard bounds, as amounts of memory: "6G", "512M", "5.5G" (powers of 1024), or "-1G" for all but 1 GiB. Pictures do not depend
 * on them.
 */
export interface BudgetOptions {
  /** Device memory: weights, activations, staging and decode. With the CPU backend, the memory that compute uses. */
  readonly vram?: string;
  /** Everything else in host memory, the process itself included. */
  readonly ram?: string;
}

/** What a plan depends on. */
export type PlanJob = Pick<GenerateJob, "steps" | "guidance" | "width" | "height">;

export interface GenerateJob {
  readonly prompt: string;
  readonly negativePrompt?: string;
  /** 0 .. 2^53-1. Default: drawn at random and reported in the events. */
  readonly seed?: number;
  /** 1..1000. Default 30. */
  readonly steps?: number;
  /** Guidance scale; <= 1 turns classifier-free guidance off. Default 5. */
  readonly guidance?: number;
  /** Pixels, a multiple of 8. Default: the model's own size (unet sample_size x 8). */
  readonly width?: number;
  readonly height?: number;
  /** Asks for a "telemetry" event before the image. Default false. */
  readonly telemetry?: boolean;
  readonly signal?: AbortSignal;
}

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
      readonly backend: Exclude<BackendName, "auto">;
    }
  /** What the user should know, such as a scheduler of the model's that Euler stands in for. */
  | { readonly type: "note"; readonly text: string };

/** While an image is made. All of it is plain JSON except `image.png`. */
export type GenerateEvent =
  | {
      readonly type: "start";
      readonly prompt: string;
      readonly negativePrompt: string;
      readonly seed: number;
      readonly steps: number;
      readonly guidance: number;
      readonly width: number;
      readonly height: number;
      readonly backend: Exclude<BackendName, "auto">;
    }
  /** Known before the first byte moves; once more after a retry. */
  | { readonly type: "plan"; readonly plan: PlanReport }
  /** What the user should know: a lost graphics card and the retry, a smaller budget, a slowdown, a picture of one colour. */
  | { readonly type: "note"; readonly text: string }
  | { readonly type: "phase"; readonly phase: "encode" | "denoise" | "decode" }
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
    }
  /** Where the time went, segment by segment, and what was on the device meanwhile. */
  | {
      readonly type: "telemetry";
      readonly segments: readonly SegmentTotals[];
      readonly residency: readonly ResidencySample[];
    }
  | {
      readonly type: "image";
      readonly png: Uint8Array;
      readonly width: number;
      readonly height: number;
      readonly seed: number;
      /** What it was computed in, as the picture records it: as declared, or fp32 where fp16 came to no numbers. */
      readonly precision: string;
      readonly elapsedMs: number;
      readonly peakRssBytes: number;
      /** Most that the ledger held on each tier during this image. */
      readonly peakDeviceBytes: number;
      readonly peakRamBytes: number;
      /** Where the time went. */
      readonly passes: readonly PassTotals[];
    };

export interface EngineInfo {
  readonly model: string;
  readonly demo: boolean;
  readonly artifact?: string;
  readonly backend: Exclude<BackendName, "auto">;
  /** What it computes in: "fp32", "fp16 (shader-f16)" ... */
  readonly precision: string;
  /** Default picture size in pixels. */
  readonly defaultWidth: number;
  readonly defaultHeight: number;
}

/** An opened model. Dispose it to free its memory. One image at a time; a second call waits. */
export interface Engine extends AsyncDisposable {
  readonly info: EngineInfo;
  /** Events of one image; the last is "image". Leaving the loop, or `job.signal`, stops the work. */
  generate(job: GenerateJob): AsyncGenerator<GenerateEvent, void, undefined>;
  /** The plan for such a job, on this machine or on a described one (`as`: see `solvay plan --help`). Nothing is computed. */
  plan(job: PlanJob, options?: { readonly as?: string; readonly budgets?: BudgetOptions }): Promise<PlanReport>;
  /** Other budgets from the next image on. Rejects with UsageError; the old ones then stay. */
  setBudgets(budgets: BudgetOptions): Promise<void>;
  /** Token ids of both tokenizers, padded to 77. */
  tokens(prompt: string): Promise<{ readonly tokenizer: readonly number[]; readonly tokenizer_2: readonly number[] }>;
}
