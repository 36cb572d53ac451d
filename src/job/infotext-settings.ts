/** @file From an infotext to a job's settings, by the names that the table of fields gives its entries. A1111's web UI, Forge, Civitai, us. */

import { isTemplate } from "../prompt/wildcards.ts";
import type { Fields, InfotextEntry } from "./field-type.ts";
import { JOB_FIELDS } from "./fields.ts";
import { factOfEntry } from "./infotext.ts";
import { type Infotext, parseInfotext } from "./infotext-text.ts";
import { type PictureSettings, SettingsFound } from "./picture-settings.ts";

/** What A1111 leaves out where it is so (infotext_utils.py). Of pictures of other programs, where a job has such a field. */
const A1111_ABSENT: Readonly<Record<string, string>> = {
  ...{ RNG: "GPU", "Schedule type": "Automatic", "Clip skip": "1" },
  // It reads prompts in no other way.
  "Prompt syntax": "a1111",
};
/** Entries that say nothing of the pixels, or again what others say. */
const SILENT = new Set([
  ...["Version", "User", "App", "Module 1", "Module 2", "Module 3", "Diffusion in Low Bits", "TI hashes"],
  ...["Model hash", "VAE hash", "Init image hash", "Hashes", "Civitai resources", "Civitai metadata", "Created Date"],
  ...["Pad conds", "Cache FP16 weight for LoRA", "Emphasis", "Parser", "Backend", "Pipeline", "Operations"],
]);
/** Values that mean what is so anyway. */
const NEUTRAL: ReadonlyMap<string, readonly string[]> = new Map([
  ["Hires resize", ["0x0", "0"]],
  ["ENSD", ["0"]],
]);

/** The settings of an infotext, or undefined of a text without any. Its prompts count only with a line of settings. */
export function settingsOfInfotext(text: string, fields: Fields = JOB_FIELDS): PictureSettings | undefined {
  const infotext = parseInfotext(text);
  const { prompt, negativePrompt, entries, template, negativeTemplate } = infotext;
  if (entries.size === 0) return undefined;
  const tool = toolOf(infotext);
  const found = new SettingsFound(fields);
  found.take("prompt", prompt, "the prompt");
  found.take("negativePrompt", negativePrompt, "the negative prompt");
  const ofEntry = new Map(
    Object.entries(fields).flatMap(([name, { infotext }]) => (infotext ? [[infotext.name, name]] : [])),
  );
  const ours = tool.startsWith("Solvay");
  const absent = ours
    ? []
    : Object.entries(A1111_ABSENT).filter(([entry]) => ofEntry.has(entry) && !entries.has(entry));
  const items = itemsOf(fields, entries);
  const beside = new Set(
    Object.values(fields).flatMap(({ infotext }) =>
      infotext?.beside && entries.has(infotext.name) ? infotext.beside : [],
    ),
  );
  for (const [name, read] of items.values) found.take(name, read);
  for (const [entry, value] of [...entries, ...absent]) {
    if (items.read.has(entry) || beside.has(entry)) continue;
    const name = ofEntry.get(entry);
    if (name !== undefined) takeField(found, fields[name]!.infotext!, name, value, entries);
    else takeOther(found, entry, value);
  }
  // Others' prompts are drawn, whatever is in them.
  const origin = (of: string | undefined) => (!ours && of !== undefined && isTemplate(of) ? of : undefined);
  found.take("template", template || origin(prompt), "Template");
  found.take("negativeTemplate", negativeTemplate || origin(negativePrompt), "Negative Template");
  if (/<(?:lora|lyco):/.test(prompt) && !ours)
    found.note("the prompt names networks (<lora:...>), which are taken by their names");
  if (/<hypernet:/.test(prompt)) found.note("the prompt names networks that can't be had here (<hypernet:...>)");
  return found.settings(ours ? "solvay" : "infotext", tool);
}

/** Lists whose items have an entry each, "NAME 0" and so on, as far as all of them can be read. */
function itemsOf(fields: Fields, entries: Infotext["entries"]) {
  const values = new Map<string, readonly unknown[]>();
  const read = new Set<string>();
  for (const [name, { infotext }] of Object.entries(fields)) {
    if (!infotext?.each) continue;
    const own: string[] = [];
    while (entries.has(`${infotext.name} ${own.length}`)) own.push(`${infotext.name} ${own.length}`);
    const items = own.map((entry) => infotext.each!.read(entries.get(entry)!, entries));
    if (items.length === 0 || items.includes(undefined)) continue;
    values.set(name, items);
    for (const entry of own) read.add(entry);
  }
  return { values, read };
}

function takeField(
  found: SettingsFound,
  { name: entry, read }: InfotextEntry,
  name: string,
  text: string,
  entries: Infotext["entries"],
): void {
  const values = read ? read(text, entries) : { [name]: text };
  if (!values) found.pass(entry, text);
  for (const [each, value] of Object.entries(values ?? {})) found.take(each, value, entry);
}

function takeOther(found: SettingsFound, entry: string, value: string): void {
  const fact = factOfEntry(entry);
  if (fact !== undefined) found.fact(fact, value);
  else if (SILENT.has(entry) || NEUTRAL.get(entry)?.includes(value)) found.other(entry, value);
  else found.pass(entry, value);
}

/** Which program wrote it: each has a way of telling its version. */
function toolOf({ entries }: Infotext): string {
  const version = entries.get("Version") ?? "";
  const app = entries.get("App");
  if (version.startsWith("Solvay ")) return version;
  if (app !== undefined) return `${app} ${version}`.trim();
  if (/^v\d/.test(version)) return `A1111 ${version}`;
  if (/^f\d|^f2|forge/i.test(version)) return `Forge ${version}`;
  if (/^neo\b/i.test(version)) return `Forge Neo ${version}`;
  if (version !== "") return version;
  if (entries.has("Civitai resources") || entries.has("Civitai metadata")) return "Civitai";
  return "unknown (it wrote A1111's format)";
}
