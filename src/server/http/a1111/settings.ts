/** @file A1111's settings as far as they say anything here: options, what a request overrides for itself, the refiner. */
import { isJsonObject, type JsonObject } from "../../../source/json-fields.ts";
import { NEUTRAL, noModel, whole, wrong } from "./refusals.ts";

/** What is served, by the names that clients know it by. */
export interface Served {
  /** What draws where a request names none. */
  readonly model: string;
  /** All that may be named. */
  readonly models: readonly string[];
  /** In place of the model's own. */
  readonly vae: string | undefined;
  readonly refiner: string | undefined;
  /** There is a folder of ControlNets. */
  readonly hasControls: boolean;
  /** There is a folder of IP-Adapters. */
  readonly hasAdapters: boolean;
  /** Files of networks that enlarge between two passes. A1111 names them without their endings. */
  readonly upscalers: readonly string[];
}

/** Settings that a request may change for itself; which checkpoint is asked is seen to by the routes. */
const OVERRIDES = ["sd_model_checkpoint", "sd_vae", "CLIP_stop_at_last_layers", "samples_format"];
/** Of Forge: text encoders and a VAE beside the checkpoint. Empty, it says nothing. */
const FORGE_MODULES = "forge_additional_modules";

/** The options: those that a client may change for a request, as they stand. */
export function options({ model, vae }: Served): JsonObject {
  return {
    ...{ sd_model_checkpoint: model, sd_checkpoint_hash: "", sd_vae: vae ?? "Automatic" },
    ...{ CLIP_stop_at_last_layers: 1, samples_format: "png" },
  };
}

/** The model that options name; undefined: none. Throws Refusal where it is not served, or the VAE isn't. */
export function modelOf({ sd_model_checkpoint: model, sd_vae: vae }: JsonObject, served: Served): string | undefined {
  const named = NEUTRAL.includes(model) ? undefined : served.models.find((name) => name === model);
  if (!NEUTRAL.includes(model) && named === undefined) throw noModel("sd_model_checkpoint", model, served.models);
  requireVae(vae, served);
  return named;
}

function requireVae(vae: unknown, served: Served): void {
  if (NEUTRAL.includes(vae) || vae === "auto" || vae === served.vae) return;
  throw wrong("sd_vae", `there is no such VAE (allowed ${["Automatic", served.vae].filter(Boolean).join(", ")})`);
}

/** What `override_settings` say: which model, and a job's fields. Throws Refusal. */
export function overrides(
  settings: unknown,
  clipSkip: unknown,
  served: Served,
): { readonly model: string | undefined; readonly fields: JsonObject } {
  if (settings !== undefined && settings !== null && !isJsonObject(settings))
    throw wrong("override_settings", "an object is wanted");
  const asked = settings ?? {};
  const says = ([name, value]: [string, unknown]) => !(name === FORGE_MODULES && Array.isArray(value) && !value.length);
  const unknown = Object.entries(asked).find((entry) => says(entry) && !OVERRIDES.includes(entry[0]))?.[0];
  if (unknown !== undefined) {
    const problem = `${JSON.stringify(unknown.slice(0, 60))} can't be changed (allowed ${OVERRIDES.join(", ")})`;
    throw wrong("override_settings", problem);
  }
  const model = modelOf(asked, served);
  // Its 1 and 2 are what the model does by itself.
  const layers = asked.CLIP_stop_at_last_layers ?? clipSkip ?? 1;
  const clipSkipped = Math.max(0, whole("CLIP_stop_at_last_layers", layers, 0, 12) - 2);
  return { model, fields: { clipSkip: clipSkipped || undefined, format: asked.samples_format } };
}

/** Left out, the refiner that the server was started with draws from its usual place on. Throws Refusal. */
export function refinerOf(
  { refiner_checkpoint: asked, refiner_switch_at: share }: JsonObject,
  { refiner }: Served,
): JsonObject {
  const isNamed = typeof asked === "string" && asked !== "";
  if (refiner === undefined) {
    if (isNamed && !NEUTRAL.includes(asked)) throw noModel("refiner_checkpoint", asked, []);
    return {};
  }
  if (isNamed && asked !== refiner) {
    if (asked !== "None") throw noModel("refiner_checkpoint", asked, [refiner]);
    throw wrong("refiner_checkpoint", `the last steps are drawn by ${JSON.stringify(refiner)} here`);
  }
  return NEUTRAL.includes(share) ? {} : { refinerStart: share };
}
