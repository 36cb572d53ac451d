/** @file What a single file says of its own training, in marker tensors and metadata, as fields of its config files. */
import type { TensorEntry, TensorTable } from "../../container/table.ts";
import { ArtifactError, UsageError } from "../../errors.ts";
import type { PredictionType } from "../../sampler/prediction.ts";
import { parseJsonObject } from "../../source/json-fields.ts";
import { elementCount, toFloat32 } from "../../tensor/dtype.ts";

/** Of `modelspec.prediction_type`. */
const MODELSPEC: Readonly<Record<string, PredictionType>> = {
  epsilon: "epsilon",
  v: "v_prediction",
  v_prediction: "v_prediction",
};

/** EDM training by velocity, as CosXL; ComfyUI's and its own publisher's settings. */
const COSXL = { least: "edm_vpred.sigma_min", most: "edm_vpred.sigma_max", sigmaMin: 0.002 };
/** EDM training on latents of mean 0 and deviation 0.5, as Playground 2.5. */
const PLAYGROUND = { mean: "edm_mean", std: "edm_std" };
/** More channels than any latent has. */
const MAX_NUMBERS = 64;

export interface ToldTraining {
  /** The scheduler class of diffusers that it takes; undefined: any. */
  readonly schedulerClass?: string;
  /** Fields of scheduler_config.json. */
  readonly scheduler: Readonly<Record<string, unknown>>;
  /** Fields of the VAE's config.json: of the latents that the UNet was trained on, whichever VAE makes them. */
  readonly vae?: Readonly<Record<string, unknown>>;
}

/** Rejects with ArtifactError `E_PREDICTION` for markers that are no numbers. */
export async function toldTraining(
  markers: TensorTable,
  metadata: ReadonlyMap<string, string>,
  file: string,
  signal?: AbortSignal,
): Promise<ToldTraining> {
  const refuse = (problem: string) =>
    new ArtifactError({
      code: "E_PREDICTION",
      subject: file,
      problem,
      next: "fetch the file again from where it comes from",
    });
  const numbers = async (name: string) => await numbersOf(markers.get(name), refuse, signal);
  const [mean, std] = [await numbers(PLAYGROUND.mean), await numbers(PLAYGROUND.std)];
  // As diffusers opens such files.
  if (mean || std) {
    if (!mean || !std) throw refuse(`of ${PLAYGROUND.mean} and ${PLAYGROUND.std} it has only one`);
    return {
      schedulerClass: "EDMDPMSolverMultistepScheduler",
      scheduler: { prediction_type: "epsilon", sigma_min: 0.002, sigma_max: 80, sigma_data: 0.5, rho: 7 },
      vae: { latents_mean: mean, latents_std: std, scaling_factor: 0.5 },
    };
  }
  const [most] = (await numbers(COSXL.most)) ?? [];
  if (most !== undefined) {
    const [least = COSXL.sigmaMin] = (await numbers(COSXL.least)) ?? [];
    const levels = { sigma_min: least, sigma_max: most, sigma_data: 1, sigma_schedule: "exponential" };
    return { schedulerClass: "EDMEulerScheduler", scheduler: { prediction_type: "v_prediction", ...levels } };
  }
  const spec = metadata.get("modelspec.prediction_type")?.toLowerCase() ?? "";
  const prediction = markers.has("v_pred")
    ? "v_prediction"
    : Object.hasOwn(MODELSPEC, spec)
      ? MODELSPEC[spec]
      : undefined;
  return {
    scheduler: {
      ...(prediction ? { prediction_type: prediction } : {}),
      // With "leading" the first step would lie below the level that the rescaling is for (diffusers' advice for such models).
      ...(markers.has("ztsnr") ? { rescale_betas_zero_snr: true, timestep_spacing: "trailing" } : {}),
    },
  };
}

/** Side of the latent that the file was trained for; undefined where it says nothing, or nothing usable. */
export function toldSampleSize(metadata: ReadonlyMap<string, string>): number | undefined {
  const [, width, height] = /^(\d{3,4})x(\d{3,4})$/.exec(metadata.get("modelspec.resolution") ?? "") ?? [];
  const side = Number(width);
  return width !== undefined && width === height && side >= 256 && side <= 2048 && side % 64 === 0
    ? side / 8
    : undefined;
}

/** The values of a marker; undefined where there is none. */
async function numbersOf(
  entry: TensorEntry | undefined,
  refuse: (problem: string) => ArtifactError,
  signal: AbortSignal | undefined,
): Promise<readonly number[] | undefined> {
  if (!entry) return undefined;
  const count = elementCount(entry.shape);
  if (count >= 1 && count <= MAX_NUMBERS) {
    const bytes = new Uint8Array(entry.endByte - entry.startByte);
    await entry.source.read(entry.startByte, bytes, signal);
    const values = [...toFloat32(entry.dtype, bytes)];
    if (values.every(Number.isFinite)) return values;
  }
  const allowed = `up to ${MAX_NUMBERS} finite ones`;
  throw refuse(`its marker ${entry.name} doesn't hold numbers (found [${entry.shape}], allowed ${allowed})`);
}

/** The config with other fields. Throws UsageError for a text that is no JSON object. */
export function changedConfig(text: string, file: string, changed: Readonly<Record<string, unknown>>): string {
  const refuse = (problem: string, cause?: unknown) =>
    new UsageError({
      code: "E_SCHEDULER",
      subject: file,
      problem,
      next: "fetch the model's config files again",
      cause,
    });
  return JSON.stringify({ ...parseJsonObject(text, refuse), ...changed });
}
