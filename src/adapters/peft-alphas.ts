/**
 * @file Alphas that a file keeps in its metadata: diffusers writes peft's settings of each network there ("unet.lora_alpha"), and no tensors.
 * A setting for some modules (alpha_pattern) counts before the network's.
 */
import { ArtifactError } from "../errors.ts";
import { isJsonObject } from "../source/json-fields.ts";
import type { ModelLayer } from "./layer-names.ts";

const KEY = "lora_adapter_metadata";
/** Settings are a few KB; one line a layer at the most. */
const MAX_CHARS = 4 * 1024 ** 2;

/** A layer's alpha for factors of `rank`, so that alpha / rank is its scale; undefined where the metadata doesn't tell. */
export type AlphaOf = (layer: ModelLayer, rank: number) => number | undefined;

/** Throws ArtifactError `E_LORA_TENSOR` for settings that can't be read. */
export function peftAlphas(metadata: ReadonlyMap<string, string>, file: string): AlphaOf {
  const text = metadata.get(KEY);
  if (text === undefined) return () => undefined;
  const settings = parsed(text, file);
  return ({ folder, module }, rank) => {
    const setting = (name: string) => settings[`${folder}.${name}`] ?? settings[name];
    const patterns = setting("alpha_pattern");
    const [, own] = isJsonObject(patterns) ? (Object.entries(patterns).find(([key]) => isOf(key, module)) ?? []) : [];
    const alpha = own ?? setting("lora_alpha");
    if (alpha === undefined || alpha === null) return undefined;
    if (typeof alpha !== "number" || !Number.isFinite(alpha))
      throw refusal(file, `lora_alpha of ${folder} is no number`);
    return setting("use_rslora") === true ? alpha * Math.sqrt(rank) : alpha;
  };
}

/** peft's keys are whole names, or their ends. */
function isOf(key: string, module: string): boolean {
  return module === key || module.endsWith(`.${key}`);
}

function parsed(text: string, file: string): Readonly<Record<string, unknown>> {
  if (text.length > MAX_CHARS) throw refusal(file, `found ${text.length} characters, allowed ${MAX_CHARS}`);
  try {
    const root: unknown = JSON.parse(text);
    if (isJsonObject(root)) return root;
  } catch (cause) {
    throw refusal(file, "found no JSON", cause);
  }
  throw refusal(file, "found no JSON object");
}

function refusal(file: string, found: string, cause?: unknown): ArtifactError {
  const problem = `its metadata ${KEY}, which holds the alphas, can't be read (${found})`;
  return new ArtifactError({ code: "E_LORA_TENSOR", subject: file, problem, next: "fetch the file again", cause });
}
