/** @file Our own record of a picture, read back: the exact job. It lies in a file that anybody may have changed, so all of it is checked. */
import { parsePythonJson } from "../source/python-json.ts";
import type { Fields } from "./field-type.ts";
import { JOB_FIELDS } from "./fields.ts";
import { withListedAdapters } from "./ip-adapter-use.ts";
import { type PictureSettings, SettingsFound } from "./picture-settings.ts";

/** The settings of a text of `solvayJson`; undefined of what is none. */
export function settingsOfSolvayJson(text: string, fields: Fields = JOB_FIELDS): PictureSettings | undefined {
  const record = jsonObject(text);
  if (!record || typeof record.version !== "string") return undefined;
  const found = new SettingsFound(fields);
  for (const [name, value] of Object.entries(withListedAdapters(record))) {
    // A picture made without a negative prompt has an empty one, too.
    if (name === "negativePrompt" && value === "" && record.emptyNegativePrompt !== true) continue;
    if (found.knows(name)) found.take(name, value);
    else found.fact(name, value);
  }
  return found.settings("solvay", `Solvay ${record.version}`);
}

/** A JSON object, integers beyond 2^53 as digits; undefined of anything else. */
export function jsonObject(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value = parsePythonJson(text, { exact: true });
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}
