/** @file model_index.json: which pipeline a folder is for, and whether that is one whose base model Solvay can be. */
import { JsonConfig } from "../../checkpoint/json-config.ts";
import { ArtifactError } from "../../errors.ts";
import { isJsonObject } from "../../source/json-fields.ts";
import { parsePythonJson } from "../../source/python-json.ts";
import { MODEL_INDEX, TOKENIZER_FOLDERS, WEIGHT_FOLDERS } from "./files.ts";

/** What a pipeline from text to pictures must have. The refiner has neither the first text encoder nor its tokenizer. */
const NEEDED: readonly string[] = [...WEIGHT_FOLDERS.map(({ folder }) => folder), ...TOKENIZER_FOLDERS, "scheduler"];
const NOT_IN_REFINER = ["text_encoder", "tokenizer"] as const;

/** So in a refiner's model_index.json. */
export const ABSENT_IN_REFINER = Object.fromEntries(NOT_IN_REFINER.map((part) => [part, [null, null]]));

/** Whether a folder with this model_index.json, its text, is of the SDXL family. */
export function isSdxlIndex(text: string): boolean {
  try {
    const root = parsePythonJson(text);
    return isJsonObject(root) && typeof root._class_name === "string" && isSdxlPipeline(root._class_name);
  } catch {
    return false;
  }
}

/** Whether a folder with this model_index.json, its text, holds a refiner of the family. */
export function isRefinerIndex(text: string): boolean {
  if (!isSdxlIndex(text)) return false;
  const index = new JsonConfig(MODEL_INDEX, text);
  return NOT_IN_REFINER.every((part) => index.isWritten(part) && isNull(index.value(part)));
}

/**
 * Reads model_index.json.
 * @param file the file, for messages
 * @throws ArtifactError `E_CONFIG` where it is malformed; `E_NOT_SDXL` for another pipeline, the refiner, or one that lacks a network
 */
export function parseModelIndex(file: string, text: string): JsonConfig {
  const index = new JsonConfig(file, text);
  const refuse = (problem: string, next: string) =>
    new ArtifactError({ code: "E_NOT_SDXL", subject: file, problem, next });
  const found = index.value("_class_name");
  if (typeof found !== "string" || !isSdxlPipeline(found)) {
    const what = typeof found === "string" ? `a ${found.slice(0, 80)}` : "no pipeline";
    throw refuse(`this is ${what}, not a StableDiffusionXLPipeline`, "use an SDXL model");
  }
  const absent = NEEDED.filter((part) => index.isWritten(part) && isNull(index.value(part)));
  if (NOT_IN_REFINER.every((part) => absent.includes(part))) {
    throw refuse(
      "this is a refiner, which goes on from a base model's picture (it has no text_encoder and no tokenizer)",
      "name a base model, such as stabilityai/stable-diffusion-xl-base-1.0",
    );
  }
  if (absent.length > 0) {
    throw refuse(
      `this ${found.slice(0, 80)} has no ${absent.join(", no ")} of its own`,
      "use a folder with a whole SDXL model",
    );
  }
  return index;
}

/** The class that model_index.json must name. */
function isSdxlPipeline(className: string): boolean {
  return /^StableDiffusionXL.*Pipeline$/.test(className);
}

/** null, or [null, null] in place of a library and a class. */
function isNull(part: unknown): boolean {
  return part === undefined || (Array.isArray(part) && part.every((item) => item === null));
}
