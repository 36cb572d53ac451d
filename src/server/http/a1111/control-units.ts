/** @file Units of A1111's ControlNet extension (sd-webui-controlnet and Forge, their API's names, old ones included) as a job's controls. */

import type { PictureFit } from "../../../image/picture-fit.ts";
import type { ControlPass, ControlUse } from "../../../job/control-use.ts";
import type { IpAdapterUse } from "../../../job/ip-adapter-use.ts";
import { isJsonObject, type JsonObject } from "../../../source/json-fields.ts";
import { ADAPTER_READ, adapterOf, isAdapterUnit } from "./adapter-units.ts";
import { NEUTRAL, wrong } from "./refusals.ts";
import { dataUrl } from "./request-picture.ts";
import { fileOf, share } from "./unit-values.ts";

/** Its preprocessors that need no network of their own. */
const MODULES: Readonly<Record<string, ControlUse["preprocess"]>> = {
  ...{ none: undefined, canny: "canny", threshold: "threshold", tile_resample: "tile", invert: "invert" },
  ...{ "invert (from white bg & black line)": "invert", recolor_luminance: "grey" },
};
export const CONTROL_MODULES = Object.keys(MODULES);
/** Kinds of a ControlNet Union. */
const KINDS: Readonly<Record<string, string | undefined>> = {
  ...{ openpose: "openpose", depth: "depth", "soft edge": "softedge", "hard edge": "canny", "normal map": "normal" },
  ...{ segmentation: "segment", tile: "tile", inpaint: "inpaint", unknown: undefined },
};
/** What more important is: neither, the prompt, the network. */
const CONTROL_MODES: Readonly<Record<string, "balanced" | "prompt" | "network">> = {
  ...{ balanced: "balanced", "my prompt is more important": "prompt", "controlnet is more important": "network" },
  ...{ "0": "balanced", "1": "prompt", "2": "network" },
};
/** The extension's thresholds as ours, by preprocessor. */
const THRESHOLDS: Readonly<Record<string, Readonly<Record<string, "low" | "high">>>> = {
  canny: { threshold_a: "low", threshold_b: "high" },
  threshold: { threshold_a: "low" },
};
/** What clients send where nobody chose one: webuiapi's for both, the extension's own. */
const UNCHOSEN = { both: 64, each: [-1, null, undefined] } as const;
const MOST = 255;
/** Read below, or of no meaning for the picture. */
const READ = [
  ...["enabled", "module", "model", "weight", "image", "input_image", "guidance_start", "guidance_end", "control_mode"],
  ...["guessmode", "union_control_type", "threshold_a", "threshold_b", "lowvram", "low_vram", "save_detected_map"],
];
/** Of units that steer, beside those. */
const CONTROL_READ = ["resize_mode", "hr_option"];
/** By names, old ones included, and numbers; the fourth is A1111's own for latents. */
const RESIZE_MODES: Readonly<Record<string, PictureFit>> = {
  ...{ "just resize": "stretch", "crop and resize": "crop", "resize and fill": "fill" },
  ...{ "scale to fit (inner fit)": "crop", "inner fit (scale to fit)": "crop" },
  ...{ "envelope (outer fit)": "fill", "outer fit (shrink to fit)": "fill" },
  ...{ "0": "stretch", "1": "crop", "2": "fill", "3": "stretch" },
};
/** By names, and numbers. */
const PASSES: Readonly<Record<string, ControlPass>> = {
  ...{ both: "both", "low res only": "first", "high res only": "second" },
  ...{ "0": "both", "1": "first", "2": "second" },
};
/** Which our own way is. */
const OURS: JsonObject = { resize_mode: "Just Resize", pixel_perfect: true };

export interface ControlUnits {
  readonly controls: readonly ControlUse[];
  readonly ipAdapters: readonly IpAdapterUse[];
  /** Names of a unit's settings that say nothing to us. */
  readonly ignored: readonly string[];
}

/** Those that are switched on. Throws Refusal. */
export function controlUnits(units: readonly unknown[]): ControlUnits {
  const on = units.filter(isOn);
  const ignored = on.flatMap((unit) =>
    Object.keys(unit).filter(
      (name) =>
        !READ.includes(name) &&
        !(isAdapterUnit(unit) ? ADAPTER_READ : CONTROL_READ).includes(name) &&
        !NEUTRAL.includes(unit[name]) &&
        OURS[name] !== unit[name],
    ),
  );
  const adapters = on.filter(isAdapterUnit);
  const controls = on.filter((unit) => !adapters.includes(unit)).map(controlOf);
  return { controls, ipAdapters: adapters.map(adapterOf), ignored: [...new Set(ignored)] };
}

/** The web UI sends units that nobody filled in. Throws Refusal for what is none. */
function isOn(unit: unknown): unit is JsonObject {
  if (NEUTRAL.includes(unit)) return false;
  if (!isJsonObject(unit)) throw wrong("alwayson_scripts", "a unit of ControlNet must be an object");
  if (unit.enabled === false) return false;
  return isAdapterUnit(unit) || !(NEUTRAL.includes(unit.model) && NEUTRAL.includes(pictureOf(unit)));
}

function controlOf(unit: JsonObject): ControlUse {
  const { model, module = "none", weight = 1, guidance_start: start = 0, guidance_end: end = 1 } = unit;
  if (typeof model !== "string" || NEUTRAL.includes(model)) {
    throw wrong(
      "alwayson_scripts",
      "a unit of ControlNet names no model, and no preprocessor's picture is given back here",
    );
  }
  const preprocess = named("module", module, MODULES, "none");
  const importance = named("control_mode", unit.control_mode, CONTROL_MODES, "Balanced");
  if (importance === "prompt")
    throw wrong("alwayson_scripts", "control_mode: that the prompt is more important is not here");
  const fit = named("resize_mode", unit.resize_mode, RESIZE_MODES, "Crop and Resize");
  const pass = named("hr_option", unit.hr_option, PASSES, "Both");
  const kind = named("union_control_type", unit.union_control_type, KINDS, "Unknown");
  const picture = pictureOf(unit);
  return {
    file: fileOf(model),
    ...(!NEUTRAL.includes(picture) && { image: dataUrl("alwayson_scripts", picture) }),
    ...(weight !== null && weight !== 1 && { weight: share("weight", weight, 10) }),
    ...(start !== null && start !== 0 && { start: share("guidance_start", start, 1) }),
    ...(end !== null && end !== 1 && { end: share("guidance_end", end, 1) }),
    ...((importance === "network" || unit.guessmode === true) && { guess: true }),
    ...(kind !== undefined && { mode: kind }),
    ...(fit !== "stretch" && { fit }),
    ...(pass !== "both" && { pass }),
    ...(preprocess !== undefined && { preprocess, ...thresholdsOf(unit, preprocess) }),
  };
}

/** Of preprocessors that have none they say nothing. */
function thresholdsOf(unit: JsonObject, preprocess: string): Pick<ControlUse, "low" | "high"> {
  if (unit.threshold_a === UNCHOSEN.both && unit.threshold_b === UNCHOSEN.both) return {};
  const found = Object.entries(THRESHOLDS[preprocess] ?? {}).flatMap(([name, part]) =>
    UNCHOSEN.each.some((each) => each === unit[name]) ? [] : [[part, share(name, unit[name], MOST)] as const],
  );
  return Object.fromEntries(found);
}

/** By itself, or beside a mask of its own, which isn't taken. */
function pictureOf({ image, input_image: before, mask, effective_region_mask: region }: JsonObject): unknown {
  const given = image ?? before;
  const masks = [mask, region, isJsonObject(given) ? given.mask : undefined];
  if (masks.some((each) => !NEUTRAL.includes(each))) throw wrong("alwayson_scripts", "a unit's mask is not taken");
  return isJsonObject(given) ? given.image : given;
}

function named<Value>(name: string, value: unknown, table: Readonly<Record<string, Value>>, standing: string): Value {
  const text = String(value ?? standing).toLowerCase();
  if (Object.hasOwn(table, text)) return table[text]!;
  const allowed = Object.keys(table).join(", ");
  throw wrong("alwayson_scripts", `${name} ${JSON.stringify(text.slice(0, 60))} is not here (allowed ${allowed})`);
}
