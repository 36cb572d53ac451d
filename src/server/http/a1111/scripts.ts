/** @file A1111's scripts: read as data. There are none here, so what would make another picture is refused, and what is switched off is listed. */
import { isJsonObject, type JsonObject } from "../../../source/json-fields.ts";
import type { Refusal } from "../failures.ts";
import { NEUTRAL, wrong } from "./refusals.ts";

/** What the ControlNet extension calls itself. */
const CONTROL_NET = /^controlnet$/i;

/** A unit of the ControlNet extension, in its API's names (sd-webui-controlnet, external_code.py), old ones included. */
interface ControlUnit {
  readonly enabled: boolean;
  readonly module: string;
  readonly model: string;
}

/**
 * Names of scripts that were sent and do nothing. Throws Refusal for those that would do something.
 */
export function requireNoScripts({ script_name: name, alwayson_scripts: always }: JsonObject): readonly string[] {
  if (!NEUTRAL.includes(name)) throw wrong("script_name", "there are no scripts here");
  if (always === undefined || always === null) return [];
  if (!isJsonObject(always)) throw wrong("alwayson_scripts", "an object is wanted");
  const unused: string[] = [];
  for (const [script, value] of Object.entries(always)) {
    const shown = JSON.stringify(script.slice(0, 60));
    // As a list, or as the numbered fields of a form.
    const given = isJsonObject(value) ? (value.args ?? []) : value;
    const args = isJsonObject(given) ? Object.values(given) : given;
    if (!Array.isArray(args)) throw wrong("alwayson_scripts", `the args of ${shown} must be a list`);
    if (CONTROL_NET.test(script)) {
      const units = args.map(controlUnit).filter(({ enabled }) => enabled);
      if (units.length > 0) throw notHere(`${shown} (${units.map(unitText).join(", ")})`);
    } else if (args.some((each) => (isJsonObject(each) ? each.enabled !== false : !NEUTRAL.includes(each)))) {
      throw notHere(shown);
    }
    if (args.length > 0) unused.push(`alwayson_scripts.${script.slice(0, 60)}`);
  }
  return unused;
}

function notHere(script: string): Refusal {
  return wrong("alwayson_scripts", `${script} is not here, and the picture would be another`);
}

/** Throws Refusal for what is none. */
function controlUnit(unit: unknown): ControlUnit {
  if (NEUTRAL.includes(unit)) return { enabled: false, module: "none", model: "None" };
  if (!isJsonObject(unit)) throw wrong("alwayson_scripts", "a unit of ControlNet must be an object");
  const { enabled = true, module = "none", model = "None", image, input_image: before } = unit;
  // The web UI sends units that nobody filled in.
  const isEmpty = NEUTRAL.includes(model) && (module === "none" || NEUTRAL.includes(module)) && !image && !before;
  return { enabled: enabled !== false && !isEmpty, module: String(module), model: String(model) };
}

function unitText({ module, model }: ControlUnit): string {
  return `${JSON.stringify(model.slice(0, 60))} by ${JSON.stringify(module.slice(0, 40))}`;
}
