/** @file A1111's scripts: ControlNet's units are a job's controls and IP-Adapters; of others there are none, so what would make another picture is refused. */
import { isJsonObject, type JsonObject } from "../../../source/json-fields.ts";
import { type ControlUnits, controlUnits } from "./control-units.ts";
import { NEUTRAL, wrong } from "./refusals.ts";
import type { Served } from "./settings.ts";

/** What the ControlNet extension calls itself. */
const CONTROL_NET = /^controlnet$/i;

/** Controls, IP-Adapters, and the names of what was sent and does nothing. Throws Refusal for scripts that would do something. */
export function scriptsOf(
  { script_name: name, alwayson_scripts: always }: JsonObject,
  { hasControls, hasAdapters }: Pick<Served, "hasControls" | "hasAdapters">,
): ControlUnits {
  if (!NEUTRAL.includes(name)) throw wrong("script_name", "there are no scripts here");
  if (always === undefined || always === null) return NONE;
  if (!isJsonObject(always)) throw wrong("alwayson_scripts", "an object is wanted");
  const found = Object.entries(always).map(([script, value]): ControlUnits => {
    const args = argsOf(script, value);
    const shown = script.slice(0, 60);
    if (!CONTROL_NET.test(script)) {
      if (args.some((each) => (isJsonObject(each) ? each.enabled !== false : !NEUTRAL.includes(each)))) {
        throw wrong("alwayson_scripts", `${JSON.stringify(shown)} is not here, and the picture would be another`);
      }
      return { ...NONE, ignored: args.length > 0 ? [`alwayson_scripts.${shown}`] : [] };
    }
    const { controls, ipAdapters, ignored } = controlUnits(args);
    if (!hasControls) requireNone("ControlNets", controls);
    if (!hasAdapters) requireNone("IP-Adapters", ipAdapters);
    const isUnused = args.length > 0 && controls.length + ipAdapters.length === 0;
    return {
      ...{ controls, ipAdapters },
      ignored: [
        ...ignored.map((each) => `alwayson_scripts.ControlNet.${each}`),
        ...(isUnused ? [`alwayson_scripts.${shown}`] : []),
      ],
    };
  });
  return {
    controls: found.flatMap(({ controls }) => controls),
    ipAdapters: found.flatMap(({ ipAdapters }) => ipAdapters),
    ignored: found.flatMap(({ ignored }) => ignored),
  };
}

const NONE: ControlUnits = { controls: [], ipAdapters: [], ignored: [] };

function requireNone(what: string, uses: readonly { readonly file: string }[]): void {
  if (uses.length === 0) return;
  const files = uses.map(({ file }) => JSON.stringify(file.slice(0, 60))).join(", ");
  throw wrong("alwayson_scripts", `the server was started without a folder of ${what} (found ${files})`);
}

/** A list, or the numbered fields of a form. Throws Refusal. */
function argsOf(script: string, value: unknown): readonly unknown[] {
  const given = isJsonObject(value) ? (value.args ?? []) : value;
  const args = isJsonObject(given) ? Object.values(given) : given;
  if (Array.isArray(args)) return args;
  throw wrong("alwayson_scripts", `the args of ${JSON.stringify(script.slice(0, 60))} must be a list`);
}
