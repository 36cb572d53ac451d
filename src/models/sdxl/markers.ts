/** @file What a single file says of its own training, in marker tensors and metadata, as the scheduler's and the UNet's config files. */
import type { TensorTable } from "../../container/table.ts";
import { ArtifactError, UsageError } from "../../errors.ts";
import type { PredictionType } from "../../sampler/prediction.ts";
import { parseJsonObject } from "../../source/json-fields.ts";

/** Kinds of training that these tensors stand for, whose noise levels are not computed here. */
const OTHER_TRAINING: readonly (readonly [marker: string, words: string])[] = [
  ["edm_vpred.sigma_max", "EDM v-prediction, as CosXL (edm_vpred.sigma_max)"],
  ["edm_mean", "EDM, as Playground 2.5 (edm_mean)"],
];

/** Of `modelspec.prediction_type`. */
const MODELSPEC: Readonly<Record<string, PredictionType>> = {
  epsilon: "epsilon",
  v: "v_prediction",
  v_prediction: "v_prediction",
};

/** Fields of scheduler_config.json that the file gives. Throws ArtifactError `E_PREDICTION` for a training that is not supported. */
export function toldScheduler(
  markers: TensorTable,
  metadata: ReadonlyMap<string, string>,
  file: string,
): Readonly<Record<string, unknown>> {
  const [, other] = OTHER_TRAINING.find(([marker]) => markers.has(marker)) ?? [];
  if (other !== undefined) {
    throw new ArtifactError({
      code: "E_PREDICTION",
      subject: file,
      problem: `this model was trained with ${other}, whose noise levels Solvay does not compute`,
      next: "use an SDXL of epsilon or v-prediction",
    });
  }
  const spec = metadata.get("modelspec.prediction_type")?.toLowerCase() ?? "";
  const prediction = markers.has("v_pred")
    ? "v_prediction"
    : Object.hasOwn(MODELSPEC, spec)
      ? MODELSPEC[spec]
      : undefined;
  return {
    ...(prediction ? { prediction_type: prediction } : {}),
    // With "leading" the first step would lie below the level that the rescaling is for (diffusers' advice for such models).
    ...(markers.has("ztsnr") ? { rescale_betas_zero_snr: true, timestep_spacing: "trailing" } : {}),
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
