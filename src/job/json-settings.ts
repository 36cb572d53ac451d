/** @file Settings that other programs write as one flat JSON object: InvokeAI, Fooocus, NovelAI, SwarmUI, Draw Things. A row each. */
import { samplerHeard, scheduleHeard } from "./foreign-samplers.ts";
import { type PictureSettings, SettingsFound } from "./picture-settings.ts";
import { isObject, jsonObject } from "./solvay-record.ts";

interface JsonDialect {
  readonly tool: string;
  /** Keys that only this program's object has, all of them. */
  readonly marks: readonly string[];
  /** Its name -> a field's, or a fact's. */
  readonly fields: Readonly<Record<string, string>>;
  readonly facts: Readonly<Record<string, string>>;
}

const DIALECTS: readonly JsonDialect[] = [
  {
    tool: "InvokeAI",
    marks: ["positive_prompt", "cfg_scale"],
    fields: {
      ...{ positive_prompt: "prompt", negative_prompt: "negativePrompt", seed: "seed", steps: "steps" },
      ...{ cfg_scale: "guidance", width: "width", height: "height" },
    },
    facts: { scheduler: "sampler", model: "model" },
  },
  {
    tool: "Fooocus",
    marks: ["base_model", "prompt", "guidance_scale"],
    fields: {
      ...{ prompt: "prompt", negative_prompt: "negativePrompt", seed: "seed", steps: "steps" },
      guidance_scale: "guidance",
    },
    facts: { sampler: "sampler", scheduler: "schedule", base_model: "model", base_model_hash: "modelHash" },
  },
  {
    tool: "NovelAI",
    marks: ["uc", "prompt", "scale"],
    fields: {
      ...{ prompt: "prompt", uc: "negativePrompt", seed: "seed", steps: "steps", scale: "guidance" },
      ...{ width: "width", height: "height" },
    },
    facts: { sampler: "sampler", noise_schedule: "schedule" },
  },
  {
    tool: "SwarmUI",
    marks: ["prompt", "cfgscale", "model"],
    fields: {
      ...{ prompt: "prompt", negativeprompt: "negativePrompt", seed: "seed", steps: "steps" },
      ...{ cfgscale: "guidance", width: "width", height: "height" },
    },
    facts: { sampler: "sampler", scheduler: "schedule", model: "model", swarm_version: "version" },
  },
  {
    tool: "Draw Things",
    marks: ["c", "uc", "scale"],
    fields: { c: "prompt", uc: "negativePrompt", seed: "seed", steps: "steps", scale: "guidance" },
    facts: { sampler: "sampler", model: "model" },
  },
];

/** The settings of such an object; undefined of any other text. */
export function settingsOfJson(text: string): PictureSettings | undefined {
  const outer = jsonObject(text);
  // SwarmUI puts its object into another.
  const object = isObject(outer?.sui_image_params) ? outer.sui_image_params : outer;
  if (!object) return undefined;
  const dialect = DIALECTS.find(({ marks }) => marks.every((mark) => Object.hasOwn(object, mark)));
  if (!dialect) return undefined;
  const found = new SettingsFound();
  for (const [key, value] of Object.entries(object)) {
    const field = Object.hasOwn(dialect.fields, key) ? dialect.fields[key] : undefined;
    const fact = Object.hasOwn(dialect.facts, key) ? dialect.facts[key] : undefined;
    if (field !== undefined) found.take(field, value, key);
    else if (fact !== undefined && found.knows(fact)) found.take(fact, heard(fact, value), key);
    else if (fact !== undefined) found.fact(fact, isObject(value) ? value.name : value);
    else found.other(key, value);
  }
  takeSize(found, object.size ?? object.resolution);
  return found.settings("json", dialect.tool);
}

/** A sampler or a schedule by a name that is known here; another one is told as it is. */
function heard(field: string, value: unknown): unknown {
  if (typeof value !== "string") return value;
  return field === "sampler" ? samplerHeard(value) : scheduleHeard(value);
}

/** "1024x1024", or "(1024, 1024)" as Fooocus has it. */
function takeSize(found: SettingsFound, size: unknown): void {
  const [, width, height] = typeof size === "string" ? (/^\(?(\d{1,5})(?:x|, ?)(\d{1,5})\)?$/.exec(size) ?? []) : [];
  found.take("width", width);
  found.take("height", height);
}
