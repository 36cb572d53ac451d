/**
 * @file How a picture was made, as text in its file: A1111's infotext, which other programs read back, and our JSON. Both are
 * written from the tables: the job's fields (fields.ts) and what else a picture records (here). The infotext follows
 * `create_infotext` of A1111's web UI 1.10 (modules/processing.py, infotext_utils.py).
 */
import type { Field, Fields, InfotextEntry } from "./field-type.ts";
import { JOB_FIELDS } from "./fields.ts";
import { infotextRank } from "./infotext-order.ts";
import type { FullJob } from "./job.ts";
import { MODEL_SCHEDULE } from "./sampling-fields.ts";
import { textOfValue } from "./text.ts";
import { useTable } from "./use-tables.ts";

/** All that is needed to make the picture again. */
export interface ImageRecord extends FullJob {
  readonly negativePrompt: string;
  /** A1111's name of the sampler, e.g. "Euler". */
  readonly samplerName: string;
  /** A1111's name of the schedule, e.g. "DDIM" or "Karras" (`scheduleTypeName`). */
  readonly scheduleType: string;
  /** It is the model's own, and no name of a schedule means the same: `scheduleType` is the nearest that others know. */
  readonly modelSchedule?: true;
  /** The job names a negative prompt, and that is empty: another picture than without one, for models that set apart the two. */
  readonly emptyNegativePrompt?: boolean;
  /** Name of the model folder or its Hugging Face id. */
  readonly model?: string;
  /** First ten digits of the sha256 of its one file, as A1111 and Civitai (AutoV2) know it. */
  readonly modelHash?: string | undefined;
  /** The same of the file of a VAE in place of the model's own. */
  readonly vaeHash?: string | undefined;
  /** What stands in for parts of the model, by the names of files, folders or Hugging Face ids. */
  readonly vae?: string | undefined;
  readonly config?: string | undefined;
  readonly base?: string | undefined;
  /** What the model predicts, where that was told against its files. */
  readonly prediction?: string | undefined;
  /** The commit of a Hugging Face model. */
  readonly modelRevision?: string;
  /** Name of the LZR2 file laid over it. */
  readonly artifact?: string;
  /** As `model`, of the refiner. */
  readonly refiner?: string;
  /** Name and abbreviated hash of each adapter's file. */
  readonly loraHashes?: string;
  /** sha256 of the files of pictures that the job names: "initImage: 0123..., maskImage: 4567...". */
  readonly pictureHashes?: string;
  /** As `modelHash`, of ControlNets, IP-Adapters and their image encoders: "controls.0: 0123456789, ipAdapters.0.encoder: ...". */
  readonly networkHashes?: string | undefined;
  readonly backend: string;
  /** The graphics card's name, where one computed. */
  readonly adapter?: string;
  /** What it computed in; absent: fp32. */
  readonly precision?: string;
  /** What went wrong in less than fp32, if that is why it was fp32. */
  readonly retry?: string;
  /** What made the file of the pixels, where that is not Solvay itself: "sharp 0.35.5". */
  readonly encoder?: string | undefined;
  /** Version of Solvay, e.g. "0.1.0". */
  readonly version: string;
}

/** Keyword of the infotext's chunk. */
export const A1111_KEYWORD = "parameters";
/** Keyword of our own JSON's chunk. */
export const SOLVAY_KEYWORD = "solvay";

type Values = Readonly<Record<string, unknown>>;

/** What a picture records beside its job, in the order of our JSON; the infotext leaves out what has no entry. */
const FACTS: Readonly<Record<string, InfotextEntry | undefined>> = {
  // Those three are told by entries of fields.
  sampler: undefined,
  scheduleType: undefined,
  rng: undefined,
  model: { name: "Model" },
  modelHash: { name: "Model hash" },
  vaeHash: { name: "VAE hash" },
  vae: { name: "VAE" },
  config: undefined,
  base: undefined,
  prediction: undefined,
  modelRevision: undefined,
  artifact: { name: "Artifact" },
  refiner: { name: "Refiner" },
  loraHashes: { name: "Lora hashes" },
  pictureHashes: undefined,
  networkHashes: undefined,
  backend: undefined,
  adapter: undefined,
  precision: {
    name: "Precision",
    write: ({ precision }) => (precision === "fp32" ? undefined : textOf(precision)),
  },
  retry: { name: "Retry" },
  encoder: undefined,
  version: { name: "Version", write: ({ version }) => `Solvay ${version}` },
  emptyNegativePrompt: undefined,
  // Read by the schedule's entry.
  modelSchedule: { name: MODEL_SCHEDULE, write: ({ modelSchedule }) => (modelSchedule ? "True" : undefined) },
};
const FACT_OF_ENTRY = new Map(Object.entries(FACTS).flatMap(([name, entry]) => (entry ? [[entry.name, name]] : [])));

/** Our record's name for what an entry tells beside the job. */
export function factOfEntry(entry: string): string | undefined {
  return FACT_OF_ENTRY.get(entry);
}

/** Which of torch's generators the noise is equal to, wherever the rest is computed. */
const GENERATOR = { cpu: "torch-cpu", philox: "torch-cuda" } as const;

/** The infotext: the prompt, the negative prompt if any, one line of settings, and the templates if any. */
export function a1111Parameters(record: ImageRecord, fields: Fields = JOB_FIELDS): string {
  const values = recorded(record, fields);
  const entries = [
    ...Object.entries(fields).map(([name, field]) => ({ entry: field.infotext, own: ownText(field, values[name]) })),
    ...Object.entries(FACTS).map(([name, entry]) => ({ entry, own: textOf(values[name]) })),
  ];
  const settings = entries
    .flatMap(({ entry, own }) => (entry ? [{ ...entry, text: entry.write ? entry.write(values) : own }] : []))
    .concat(Object.entries(fields).flatMap(([name, { infotext }]) => itemEntries(infotext, values[name])))
    .toSorted((a, b) => infotextRank(a.name) - infotextRank(b.name))
    .flatMap(({ name, text }) => (text === undefined ? [] : [name === text ? name : `${name}: ${quoted(text)}`]));
  // An empty one of its own, which not every model takes for none, has a line without words.
  const empty = record.emptyNegativePrompt ? "\nNegative prompt:" : "";
  const negative = record.negativePrompt ? `\nNegative prompt: ${record.negativePrompt}` : empty;
  // As the extension dynamic prompts adds them.
  const template = record.template ? `\nTemplate: ${record.template}` : "";
  const negativeTemplate = record.negativeTemplate ? `\nNegative Template: ${record.negativeTemplate}` : "";
  return `${record.prompt}${negative}\n${settings.join(", ")}${template}${negativeTemplate}`;
}

/** Our own record of the same, one JSON object; equal records give equal text. */
export function solvayJson(record: ImageRecord, fields: Fields = JOB_FIELDS): string {
  const values = recorded(record, fields);
  // The version leads; a field that is among the facts stands with them.
  const own = Object.keys(fields).filter((name) => !Object.hasOwn(FACTS, name));
  const names = new Set(["version", ...own, ...Object.keys(FACTS)]);
  return JSON.stringify(Object.fromEntries([...names].map((name) => [name, values[name]])));
}

/** What is told of a record. */
function recorded(record: ImageRecord, fields: Fields): Values {
  const values: Values = { ...record, rng: GENERATOR[record.rng ?? "cpu"] };
  const told = Object.entries(values).filter(
    ([name, value]) => !(fields[name]?.omitsDefault && value === fields[name].default),
  );
  return Object.fromEntries(told);
}

/** Of a list whose items have an entry each. */
function itemEntries(entry: InfotextEntry | undefined, value: unknown) {
  if (!entry?.each || !Array.isArray(value)) return [];
  const { name, each } = entry;
  return value.map((item: unknown, i) => ({ ...entry, name: `${name} ${i}`, text: each.write(item) }));
}

/** As the infotext has it; a decimal number as Python prints a float: 5 is "5.0". */
function ownText({ kind }: Field, value: unknown): string | undefined {
  // They have an entry each.
  if (useTable(kind)) return undefined;
  if (kind.type === "loras" || kind.type === "files" || kind.type === "pictures")
    return value === undefined ? undefined : textOfValue(kind, value);
  const pythonFloat = kind.type === "decimal" && Number.isInteger(value);
  return pythonFloat ? Number(value).toFixed(1) : textOf(value);
}

function textOf(value: unknown): string | undefined {
  return value === undefined ? undefined : String(value);
}

/** A value that would break the line apart is written as a JSON string. */
function quoted(value: string): string {
  return /[,\n:]/.test(value) ? JSON.stringify(value) : value;
}
