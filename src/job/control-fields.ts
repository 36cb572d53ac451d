/** @file The field of a job that names networks which steer it by pictures. Part of fields.ts. */
import type { PictureFit } from "../image/picture-fit.ts";
import type { ControlPass, ControlUse } from "./control-use.ts";
import type { Fields } from "./field-type.ts";
import { parseInfotext } from "./infotext-text.ts";

export const CONTROL_FIELDS = {
  controls: {
    kind: { type: "controls" },
    description:
      "ControlNet for SDXL: a folder, a .safetensors file, a Hugging Face id; again for more. The --control-... that follow are its own",
    flag: { usage: "--control <file>", group: "From a picture" },
    loop: {
      word: "control",
      usage: "FILE[:image=FILE:weight=W], ...|none",
      title: "Controls",
      clear: "none",
      cleared: "none",
    },
    infotext: {
      name: "ControlNet",
      each: { write: (control) => controlEntry(control as ControlUse), read: controlOfEntry },
    },
    aliases: ["control", "controlnet"],
    shapesPlan: true,
  },
} as const satisfies Fields;

const THRESHOLDS = { low: "Threshold A", high: "Threshold B" } as const;
/** By the extension's names. */
const RESIZE_MODES = {
  stretch: "Just Resize",
  crop: "Crop and Resize",
  fill: "Resize and Fill",
} as const satisfies Record<PictureFit, string>;
const PASS = "Hr Option";
/** By the extension's names. */
const PASSES = {
  both: "Both",
  first: "Low res only",
  second: "High res only",
} as const satisfies Record<ControlPass, string>;
const GUESSES = "ControlNet is more important";

/** As sd-webui-controlnet writes a unit (internal_controlnet/external_code.py), and the picture's name, which it has not. */
function controlEntry(control: ControlUse): string {
  const { file, image, weight = 1, start = 0, end = 1, guess, mode, preprocess = "none", low, high } = control;
  const { fit = "stretch", pass = "both" } = control;
  const entries = {
    Module: preprocess,
    Model: file,
    Weight: weight,
    "Resize Mode": RESIZE_MODES[fit],
    "Guidance Start": start,
    "Guidance End": end,
    "Control Mode": guess ? GUESSES : "Balanced",
    ...(pass !== "both" && { [PASS]: PASSES[pass] }),
    ...(low !== undefined && { [THRESHOLDS.low]: low }),
    ...(high !== undefined && { [THRESHOLDS.high]: high }),
    // As ControlNet Union has it in Forge.
    ...(mode !== undefined && { "Union Control Type": mode }),
    ...(image !== undefined && { Image: image }),
  };
  const text = (value: string | number) =>
    typeof value === "string" && /[,:"\n]/.test(value) ? JSON.stringify(value) : String(value);
  return Object.entries(entries)
    .map(([name, value]) => `${name}: ${text(value)}`)
    .join(", ");
}

/** Undefined where it isn't one of ours: others don't say which picture it was. */
function controlOfEntry(text: string, entries: ReadonlyMap<string, string>): unknown {
  if (!entries.get("Version")?.startsWith("Solvay ")) return undefined;
  const found = parseInfotext(text).entries;
  const [module, image, mode] = ["Module", "Image", "Union Control Type"].map((name) => found.get(name));
  const [fit] = Object.entries(RESIZE_MODES).find(([, name]) => name === found.get("Resize Mode")) ?? [];
  const [pass] = Object.entries(PASSES).find(([, name]) => name === found.get(PASS)) ?? [];
  return {
    file: found.get("Model"),
    ...(image !== undefined && { image }),
    ...numberOf(found, "Weight", "weight", 1),
    ...numberOf(found, "Guidance Start", "start", 0),
    ...numberOf(found, "Guidance End", "end", 1),
    ...(found.get("Control Mode") === GUESSES && { guess: true }),
    ...(mode !== undefined && { mode }),
    ...(module !== undefined && module !== "none" && { preprocess: module }),
    ...(fit !== undefined && fit !== "stretch" && { fit }),
    ...(pass !== undefined && pass !== "both" && { pass }),
    ...numberOf(found, THRESHOLDS.low, "low"),
    ...numberOf(found, THRESHOLDS.high, "high"),
  };
}

function numberOf(entries: ReadonlyMap<string, string>, entry: string, name: string, standing?: number) {
  const value = entries.get(entry);
  return value === undefined || Number(value) === standing ? {} : { [name]: Number(value) };
}
