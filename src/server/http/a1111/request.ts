/**
 * @file A request of A1111's web UI (modules/api of its 1.10) as a job of ours. What it has that we don't is listed as ignored where the picture
 * is the same in kind without it, and refused where it would be another.
 */
import type { GenerateJob } from "../../../job/types.ts";
import { stemOf } from "../../../node/named-files.ts";
import type { JsonObject } from "../../../source/json-fields.ts";
import { checkServed } from "../../work/served-job.ts";
import { NEUTRAL, whole, wrong } from "./refusals.ts";
import { dataUrl } from "./request-picture.ts";
import { scriptsOf } from "./scripts.ts";
import { overrides, refinerOf, type Served } from "./settings.ts";

export interface WebUiRequest {
  readonly job: GenerateJob;
  /** Undefined: the one that draws where none is named. */
  readonly model: string | undefined;
  readonly count: number;
  readonly sendImages: boolean;
  /** Fields that were given and say nothing to us. */
  readonly ignored: readonly string[];
  /** The mask's black is what is painted anew. */
  readonly invertMask: boolean;
}

const MAX_IMAGES = 16;
/** What A1111 calls what enlarges between two passes. */
export const LATENT_UPSCALERS: Readonly<Record<string, string>> = {
  Latent: "latent",
  "Latent (nearest)": "latent-nearest",
  Lanczos: "lanczos",
};
/** A1111's own defaults, where the job's are others. Sizes are the model's: 512 pixels are none for SDXL. */
const DEFAULTS = { steps: 50, cfg_scale: 7, denoising_strength: 0.75, hr_scale: 2, mask_blur: 4 };
/** Fields that are read below. */
const READ = [
  ...[
    "prompt",
    "negative_prompt",
    "seed",
    "subseed",
    "subseed_strength",
    "width",
    "height",
    "batch_size",
    "n_iter",
    "steps",
  ],
  ...[
    "cfg_scale",
    "sampler_name",
    "sampler_index",
    "scheduler",
    "denoising_strength",
    "enable_hr",
    "hr_scale",
    "hr_upscaler",
  ],
  ...[
    "hr_second_pass_steps",
    "hr_steps",
    "hr_resize_x",
    "hr_resize_y",
    "hr_prompt",
    "hr_negative_prompt",
    "init_images",
    "mask",
    "mask_blur",
    "inpainting_mask_invert",
  ],
  ...["override_settings", "script_name", "script_args", "alwayson_scripts", "send_images", "clip_skip"],
  "refiner_checkpoint",
];
/** Fields whose meaning is so anyway: pictures are kept, and nothing else is. */
const SO_ANYWAY = [
  ...[
    "save_images",
    "do_not_save_samples",
    "do_not_save_grid",
    "override_settings_restore_afterwards",
    "force_task_id",
  ],
  ...["mask_round", "disable_extra_networks", "comments", "include_init_images"],
];
/** Where it is so, the picture is as we draw it. */
const OURS: JsonObject = { inpainting_fill: 1, resize_mode: 0, inpaint_full_res: false, inpaint_full_res_padding: 0 };

/** Throws Refusal, or UsageError `E_JOB`. */
export function webUiRequest(body: JsonObject, fromPicture: boolean, served: Served): WebUiRequest {
  const { steps, cfg_scale, denoising_strength, hr_scale, mask_blur } = { ...DEFAULTS, ...given(body) };
  const { controls, ipAdapters, ignored: unused } = scriptsOf(body, served);
  const hires = body.enable_hr === true && !fromPicture;
  const sizes = given({ width: body.width, height: body.height });
  const second = hires
    ? {
        hiresScale: hiresScale(body, hr_scale),
        hiresStrength: denoising_strength,
        hiresSteps: body.hr_second_pass_steps || body.hr_steps || undefined,
        hiresUpscaler: upscalerNamed(body.hr_upscaler ?? "Latent", served),
        hiresPrompt: body.hr_prompt || undefined,
        hiresNegativePrompt: body.hr_negative_prompt || undefined,
      }
    : {};
  const picture = fromPicture ? pictures(body, denoising_strength, mask_blur) : {};
  const { model, fields } = overrides(body.override_settings, body.clip_skip, served);
  const job = checkServed(
    given({
      ...{ prompt: body.prompt ?? "", negativePrompt: body.negative_prompt || undefined, promptSyntax: "a1111" },
      ...{ seed: body.seed, subseed: body.subseed, subseedStrength: body.subseed_strength || undefined },
      ...{ steps, guidance: cfg_scale, ...sizes, ...samplerOf(body), ...second, ...picture },
      ...fields,
      ...(controls.length > 0 && { controls }),
      ...(ipAdapters.length > 0 && { ipAdapters }),
      ...refinerOf(body, served),
    }),
  );
  const count = whole("batch_size", body.batch_size ?? 1, 1, 8) * whole("n_iter", body.n_iter ?? 1, 1, MAX_IMAGES);
  if (count > MAX_IMAGES) throw wrong("n_iter", `${count} pictures are too many (allowed ${MAX_IMAGES})`);
  return {
    ...{ job, model, count, sendImages: body.send_images !== false },
    ignored: [
      ...Object.entries(body).flatMap(([name, value]) => (isIgnored(name, value, fromPicture, served) ? [name] : [])),
      ...unused,
    ],
    invertMask: fromPicture && Boolean(body.inpainting_mask_invert),
  };
}

function isIgnored(name: string, value: unknown, fromPicture: boolean, { refiner }: Served): boolean {
  if (name === "refiner_switch_at") return refiner === undefined && !NEUTRAL.includes(value);
  if (READ.includes(name) || SO_ANYWAY.includes(name) || NEUTRAL.includes(value)) return false;
  if (Array.isArray(value) && value.length === 0) return false;
  if (name.startsWith("hr_") || name.startsWith("firstphase_")) return true;
  return !(fromPicture && name in OURS && OURS[name] === value);
}

/** Without what is null or absent, as A1111's clients leave things out. */
function given(fields: JsonObject): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined && value !== null));
}

function samplerOf({ sampler_name, sampler_index, scheduler }: JsonObject): JsonObject {
  const sampler = sampler_name || sampler_index || "Euler";
  const schedule = typeof scheduler === "string" && scheduler.toLowerCase() !== "automatic" ? scheduler : "";
  return { sampler, ...(schedule !== "" && { schedule }) };
}

function hiresScale({ hr_resize_x: x, hr_resize_y: y, width, height }: JsonObject, scale: unknown): unknown {
  if (typeof x === "number" && x > 0 && typeof width === "number") return x / width;
  if (typeof y === "number" && y > 0 && typeof height === "number") return y / height;
  return scale;
}

function upscalerNamed(name: unknown, { upscalers }: Served): string {
  const known = typeof name === "string" && Object.hasOwn(LATENT_UPSCALERS, name) ? LATENT_UPSCALERS[name] : undefined;
  const found = known ?? upscalers.find((file) => [file, stemOf(file)].some((each) => each === name));
  if (found !== undefined) return found;
  const allowed = [...Object.keys(LATENT_UPSCALERS), ...upscalers.map(stemOf)].join(", ");
  throw wrong("hr_upscaler", `there is no such upscaler (allowed ${allowed})`);
}

function pictures({ init_images: images, mask }: JsonObject, strength: unknown, maskBlur: unknown): JsonObject {
  const [first, ...others] = Array.isArray(images) ? images : [];
  if (first === undefined) throw wrong("init_images", "a picture is wanted");
  if (others.length > 0) throw wrong("init_images", "one picture is taken");
  if (mask === undefined || mask === null || mask === "") return { initImage: dataUrl("init_images", first), strength };
  return { initImage: dataUrl("init_images", first), strength, maskImage: dataUrl("mask", mask), maskBlur };
}
