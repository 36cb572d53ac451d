/** @file What opens an engine: a model, what computes, and budgets. What it may hold is in fields.ts, its check in schema.ts. */
import type { Precision } from "../backend/precision.ts";
import type { Budget } from "../ledger/budget.ts";
import type { PredictionType } from "../sampler/prediction.ts";
import type { BackendName } from "./backends.ts";
import type { LoadEvent } from "./events.ts";

export type PrecisionName = Precision;

export interface OpenEngineOptions {
  /** Diffusers folder, single file, Hugging Face id looked up in the local cache, or "store:ID". Default: the embedded demo model. */
  readonly model?: string;
  /** VAE in place of the model's own: a `.safetensors` file, or a folder. */
  readonly vae?: string;
  /** Config files of a single file's model, where its dimensions are not SDXL base's: a diffusers folder, with or without weights. */
  readonly config?: string;
  /** Folder or Hugging Face id of the model that lends a single file what it lacks. Default: SDXL base 1.0 in the local cache. */
  readonly base?: string;
  /** What the model predicts of a noisy latent, where its files don't say it or say it wrongly. Default: what they say. */
  readonly prediction?: PredictionType;
  /** LZR2 file that overlays the UNet. */
  readonly artifact?: string;
  /** An SDXL refiner, which draws the last steps (a job's `refinerStart`): a folder, a file, a Hugging Face id in the local cache, "store:ID". */
  readonly refiner?: string;
  /** Tiny decoder that previews are made with, TAESDXL's. Default: `taesdxl_decoder` beside the model, else the latent's colours. */
  readonly previewModel?: string;
  /** Folder of wildcards: `__animals/cats__` in a prompt is a line of `animals/cats.txt`. */
  readonly wildcardsDir?: string;
  /** Folder where LoRAs are found by name, in it or deeper: those of `<lora:NAME:0.8>`, and of a job's `loras`. */
  readonly loraDir?: string;
  /** Folder of embeddings (textual inversions), in it or deeper: where a file's name stands in a prompt, it stands for its vectors. */
  readonly embeddingsDir?: string;
  /** Folder where ControlNets are found by name: those of a job's `controls`. */
  readonly controlDir?: string;
  /** Folder where IP-Adapters and their image encoders are found by name, in it or deeper: those of a job's `ipAdapters`. */
  readonly ipAdapterDir?: string;
  /** Folder where upscalers are found by name, in it or deeper: those of a job's `hiresUpscaler`. */
  readonly upscalerDir?: string;
  /** LoRAs, embeddings, ControlNets, IP-Adapters and upscalers are found by name in these folders alone, whatever lies at a path of that name. For jobs of others. Default false. */
  readonly onlyNames?: boolean;
  /** What computes on processors leaves them to whoever wants them beside it, so that a server answers at once. On Linux. Default false. */
  readonly givesWay?: boolean;
  /**
   * Folder of the block store, which large artifacts are imported into once; `model` may be "store:ID" too. Default:
   * `$SOLVAY_STORE`, or `solvay/store` in the user's cache folder.
   */
  readonly store?: string;
  /** Accept LZR2 records of unknown kind, as the published loader does (the base weight stays; they are counted). Default false. */
  readonly compat?: boolean;
  /** Default "auto": the graphics card where there is one, else the CPU. */
  readonly backend?: BackendName;
  /** Part of a graphics adapter's name. Software adapters are used only when named. */
  readonly adapter?: string;
  /**
   * Default "fp32". "fp16": faster on graphics cards that offer it, other pixels than fp32's; where it can't be had, a note says so.
   * A picture records what was used; one whose values become NaN in fp16 is made again in fp32, with a note.
   */
  readonly precision?: PrecisionName;
  readonly budgets?: BudgetOptions;
  readonly signal?: AbortSignal;
  /** Load progress (artifact records, text). */
  readonly onEvent?: (event: LoadEvent) => void;
}

/** Memory: "6G", "512M", "5.5G" (powers of 1024), "-1G" for all but 1 GiB; a number of bytes; or either as a value in bytes. */
export type Amount = string | number | Budget;

/** Hard bounds. Pictures do not depend on them. Default: chosen by what is free. */
export interface BudgetOptions {
  /** Device memory: weights, activations, staging and decode. With the CPU backend, the memory that compute uses. */
  readonly vram?: Amount;
  /** Everything else in host memory, the process itself included. */
  readonly ram?: Amount;
}
