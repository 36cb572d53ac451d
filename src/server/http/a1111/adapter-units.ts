/** @file Units of A1111's ControlNet extension that are IP-Adapters (their preprocessor or model says so), as a job's ipAdapters. */
import type { IpAdapterUse } from "../../../job/ip-adapter-use.ts";
import { isJsonObject, type JsonObject } from "../../../source/json-fields.ts";
import { NEUTRAL, wrong } from "./refusals.ts";
import { dataUrl } from "./request-picture.ts";
import { fileOf, share } from "./unit-values.ts";

/** Its preprocessors are image encoders, of which the one that fits the adapter is taken here. */
export const ADAPTER_MODULES = ["ip-adapter-auto", "ip-adapter_clip_h", "ip-adapter_clip_g"];
/** As older ones, and Forge, name the same. */
const ADAPTER_MODULE =
  /^(?:ip-adapter-auto|ip-adapter_clip_\w+|clip-vit-h \(ipadapter\)|clip-vit-bigg \(ipadapter\)|clip-g \(ipadapter\))$/i;
const FACE_MODULE = /face_?id|insightface|pulid/i;
const ADAPTER_MODEL = /^ip-?adapter/i;
/** Read below, or of no meaning for the picture. */
export const ADAPTER_READ = ["effective_region_mask"];

export function isAdapterUnit({ module = "none", model }: JsonObject): boolean {
  const text = String(module ?? "none");
  return /ip-?adapter|insightface|pulid/i.test(text) || (/^none$/i.test(text) && ADAPTER_MODEL.test(String(model)));
}

/** Throws Refusal. */
export function adapterOf(unit: JsonObject): IpAdapterUse {
  const { module = "none", model, weight = 1, guidance_start: start = 0, guidance_end: end = 1 } = unit;
  const text = String(module ?? "none");
  if (FACE_MODULE.test(`${text} ${String(model)}`)) {
    const problem = "IP-Adapter FaceID and the like read faces by a network that is not free (InsightFace): not here";
    throw wrong("alwayson_scripts", problem);
  }
  if (!ADAPTER_MODULE.test(text) && !/^none$/i.test(text)) {
    const allowed = ADAPTER_MODULES.join(", ");
    throw wrong("alwayson_scripts", `module ${JSON.stringify(text.slice(0, 60))} is not here (allowed ${allowed})`);
  }
  if (typeof model !== "string" || NEUTRAL.includes(model))
    throw wrong("alwayson_scripts", "an IP-Adapter's unit names no model");
  if (!/^(?:balanced|0)$/i.test(String(unit.control_mode ?? 0)))
    throw wrong("alwayson_scripts", "control_mode of an IP-Adapter can't be changed");
  const { picture, mask } = picturesOf(unit);
  if (NEUTRAL.includes(picture)) throw wrong("alwayson_scripts", "an IP-Adapter's unit has no image");
  return {
    file: fileOf(model),
    images: [dataUrl("alwayson_scripts", picture)],
    ...(!NEUTRAL.includes(mask) && { masks: [dataUrl("alwayson_scripts", mask)] }),
    ...(weight !== null && weight !== 1 && { weight: share("weight", weight, 10) }),
    ...(start !== null && start !== 0 && { start: share("guidance_start", start, 1) }),
    ...(end !== null && end !== 1 && { end: share("guidance_end", end, 1) }),
  };
}

/** Where it counts, the extension calls its effective region; a mask beside the picture is for inpainting, and says nothing here. */
function picturesOf({ image, input_image: before, mask, effective_region_mask: region }: JsonObject) {
  const given = image ?? before;
  const masks = [mask, isJsonObject(given) ? given.mask : undefined];
  if (masks.some((each) => !NEUTRAL.includes(each)))
    throw wrong("alwayson_scripts", "a mask of an IP-Adapter's unit is its effective_region_mask");
  return { picture: isJsonObject(given) ? given.image : given, mask: region };
}
