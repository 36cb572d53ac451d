/** @file A job: one picture, as plain JSON. What it may hold is in fields.ts, its check in schema.ts. */
import { UsageError } from "../errors.ts";
import type { PictureEncoding } from "../image/picture-writer.ts";
import type { PromptSyntax } from "../prompt/syntax.ts";
import type { RngName } from "../sampler/noise-source.ts";
import type { SamplerName } from "../sampler/samplers.ts";
import type { ScheduleName } from "../sampler/schedules.ts";
import type { ControlUse } from "./control-use.ts";
import type { Field } from "./field-type.ts";
import { JOB_FIELDS } from "./fields.ts";
import type { IpAdapterUse } from "./ip-adapter-use.ts";
import type { LoraUse } from "./lora-use.ts";
import { drawSeed, type Seed } from "./seed.ts";

export interface GenerateJob {
  readonly prompt: string;
  /** Left out and "" differ: only without one do models that ask for it get a zero embedding. */
  readonly negativePrompt?: string;
  /** 0 .. 2^64-1, above 2^53-1 as a string of digits. Default, and -1: drawn at random and reported in the events. */
  readonly seed?: Seed;
  /** 1..1000. Default 30. */
  readonly steps?: number;
  /** Guidance scale, 0..100; <= 1 turns classifier-free guidance off. Default 5. */
  readonly guidance?: number;
  /** Pixels, a multiple of 8 from 16 to 4096. Default: the model's own size. */
  readonly width?: number;
  /** As `width`. */
  readonly height?: number;
  /** "a1111": weights, schedules, AND, BREAK and more than 77 tokens, as A1111's web UI reads them. Default "plain", as diffusers. */
  readonly promptSyntax?: PromptSyntax;
  /** For the second text encoder. Default, and "": the same. */
  readonly prompt2?: string;
  readonly negativePrompt2?: string;
  /** Layers of the text encoders that are passed over, as diffusers counts: 0..30. Default 0. */
  readonly clipSkip?: number;
  /** "1024x768": the size in pixels that the model is told the picture had. Default: the picture's. */
  readonly originalSize?: string;
  /** "0,0": the pixels that the model is told were cut off at the left and the top. */
  readonly crop?: string;
  /** What `prompt` was drawn from ("a {red|blue} __animal__"); with it, the prompt stands as it is. Default: it is drawn, in "a1111" syntax. */
  readonly template?: string;
  /** As `template`, of `negativePrompt`. */
  readonly negativeTemplate?: string;
  /** As `template`, of `prompt2` and `negativePrompt2`. */
  readonly template2?: string;
  readonly negativeTemplate2?: string;
  /** "dpmpp-2m", or what A1111, ComfyUI or diffusers call it. Default: the model's own. */
  readonly sampler?: string;
  /** "karras", or what others call it. Default: "default", the model's own. */
  readonly schedule?: string;
  /** Sampler, schedule or both by one name: "DPM++ 2M Karras". */
  readonly scheduler?: string;
  /** 0..1, diffusers' `guidance_rescale`. Default 0. */
  readonly guidanceRescale?: number;
  /** "cpu" or "philox": which of torch's generators draws the noise. Default "cpu". */
  readonly rng?: string;
  /** Of a variation, as `seed`. Default: drawn at random where `subseedStrength` is above 0. */
  readonly subseed?: Seed;
  /** 0..1, how far the first noise goes over to that of `subseed`. Default 0. */
  readonly subseedStrength?: number;
  /** A picture to begin with: a file, a data: URL, or sha256: and an asset's hash. Width and height are its own unless they are given. */
  readonly initImage?: string;
  /** 0..1, how much of it is drawn anew: diffusers' `strength`. Default 0.3; with a mask 0.9999. */
  readonly strength?: number;
  /** As `initImage`: where it is painted anew (white), grey in part. */
  readonly maskImage?: string;
  /** Pixels by which the mask's edge is softened, 0..64. Default 0. */
  readonly maskBlur?: number;
  /** "left,top,right,bottom": pixels that the picture grows at its sides, which are painted anew. */
  readonly outpaint?: string;
  /** "left,top,width,height" of the picture to begin with, or "mask": only that part is drawn, at the job's size, and laid back. */
  readonly detail?: string;
  /** Pixels around it that are seen with it. Default 32. */
  readonly detailPadding?: number;
  /** 1..8: the picture is drawn a second time, so many times larger. */
  readonly hiresScale?: number;
  /** 0..1, how much the second pass draws anew. Default 0.7. */
  readonly hiresStrength?: number;
  /** 1..1000, of which the strength leaves a part. Default: as `steps`. */
  readonly hiresSteps?: number;
  /** "latent", "latent-nearest", "lanczos", or an upscaler's file (.pth, .safetensors). Default "latent". */
  readonly hiresUpscaler?: string;
  /** The second pass's prompt; absent or "": the first's. With it, the `<lora:...>` of the second pass are those in it. */
  readonly hiresPrompt?: string;
  readonly hiresNegativePrompt?: string;
  /** LoRAs of the second pass, in place of `loras`. */
  readonly hiresLoras?: readonly LoraUse[];
  /** What they were drawn from; with it, they stand as they are. */
  readonly hiresTemplate?: string;
  readonly hiresNegativeTemplate?: string;
  /** 0..1, the share of the way after which the refiner that was opened draws. Default 0.8. */
  readonly refinerStart?: number;
  /** "png", "jpeg" or "webp": what the picture's file is. Default "png". */
  readonly format?: string;
  /** 1..100, of a JPEG or WebP. Default 95. */
  readonly quality?: number;
  /** A WebP that keeps every pixel. Default false. */
  readonly lossless?: boolean;
  /** Embeddings' files (textual inversions), or their names in the folder of them: used where their names stand in prompts. */
  readonly embeddings?: readonly string[];
  /** LoRAs and their relatives, with their strengths. */
  readonly loras?: readonly LoraUse[];
  /** IP-Adapters, each with its image encoder and the pictures that it tells the model of. */
  readonly ipAdapters?: readonly IpAdapterUse[];
  /** ControlNets, each with the picture that it looks at. */
  readonly controls?: readonly ControlUse[];
}

/** What a plan depends on. */
export type PlanJob = Pick<
  GenerateJob,
  "steps" | "guidance" | "width" | "height" | "sampler" | "schedule" | "scheduler" | "negativePrompt" | PictureField
> &
  Partial<
    Pick<
      GenerateJob,
      | "loras"
      | "controls"
      | "ipAdapters"
      | "embeddings"
      | "prompt"
      | "prompt2"
      | "negativePrompt2"
      | "promptSyntax"
      | "clipSkip"
    >
  >;

type PictureField =
  | ("initImage" | "strength" | "maskImage" | "outpaint" | "detail")
  | ("refinerStart" | "format" | "lossless")
  | ("hiresScale" | "hiresStrength" | "hiresSteps" | "hiresUpscaler")
  | ("hiresPrompt" | "hiresNegativePrompt" | "hiresLoras");

type Filled = "seed" | "steps" | "guidance" | "width" | "height";
type Named = "sampler" | "schedule" | "scheduler" | "rng" | "format";

/** A job with nothing left open. A field that is not there stands at the default of its table. */
export type FullJob = Omit<GenerateJob, Filled | Named> &
  Required<Pick<GenerateJob, Filled>> & {
    readonly sampler: SamplerName;
    readonly schedule?: ScheduleName;
    readonly rng?: RngName;
    readonly format?: PictureEncoding;
  };

/** In pixels. */
export interface PictureSize {
  readonly width: number;
  readonly height: number;
}

/** What a job leaves to the model. */
export interface JobDefaults extends PictureSize {
  readonly sampler: SamplerName;
}

/** Fills in what a checked job leaves open: the table's defaults, the model's, and seeds. */
export function completeJob(job: GenerateJob, model: JobDefaults): FullJob {
  const { subseed: variation, ...rest } = job;
  const subseed = rest.subseedStrength ? (variation ?? drawSeed()) : undefined;
  const given: Readonly<Record<string, unknown>> = { ...rest, subseed };
  const fallback: Readonly<Record<string, unknown>> = { ...model, seed: job.seed ?? drawSeed() };
  const values = Object.entries<Field>(JOB_FIELDS).map(([name, field]) => {
    const value = given[name] ?? field.default ?? fallback[name];
    return [name, field.omitsDefault && value === field.default ? undefined : value] as const;
  });
  return Object.fromEntries(values.filter(([, value]) => value !== undefined)) as unknown as FullJob;
}

/** The VAE makes `scale` pixels of one latent cell, and one there must be. Throws UsageError. */
export function requireLatent({ width, height }: PictureSize, scale: number): void {
  for (const [field, pixels] of Object.entries({ width, height })) {
    if (pixels >= scale) continue;
    throw new UsageError({
      code: "E_JOB",
      subject: field,
      problem: `out of range (found ${pixels}, allowed at least ${scale} pixels with this model)`,
      next: `give ${field} a value in that range`,
    });
  }
}
