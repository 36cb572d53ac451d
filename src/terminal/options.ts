/** @file Options that several commands share, made of the tables of job/fields.ts, and what they say put back into jobs and requests. */
import { type Command, Option } from "commander";
import { UsageError } from "../errors.ts";
import type { Budgets, OpenRequest } from "../job/checked.ts";
import { explained, type Field, type Fields, type Flag, flagName } from "../job/field-type.ts";
import { BUDGET_FIELDS, JOB_FIELDS, OPEN_FIELDS } from "../job/fields.ts";
import type { GenerateJob, PlanJob } from "../job/job.ts";
import { MAX_SERIES } from "../job/series.ts";
import { valueFromText, wholeFromText } from "../job/text.ts";
import { useTable } from "../job/use-tables.ts";
import { PREVIEW_CHOICES, type PreviewChoice } from "./picture-kind.ts";

/** What commander read, by the flag's name in camel case. */
export type OptionValues = Readonly<Record<string, unknown>>;

/** A job without its prompt. */
export type JobSettings = Omit<GenerateJob, "prompt">;

interface FlagField extends Field {
  readonly flag: Flag;
}

/** A field as an option. `description` may say what it is for one command. */
export function fieldOption(field: FlagField, description = explained(field)): Option {
  const { flag, kind, omitsDefault } = field;
  // What records leave out is left out of jobs too.
  const absent = omitsDefault ? field.default : field.absent;
  const text = absent === undefined ? description : `${description} (default: ${absent})`;
  const option = new Option(flag.usage, text);
  if (field.default !== undefined && !omitsDefault) option.default(field.default);
  const read = (value: string) => valueFromText(kind, flagName(flag), value);
  if (kind.type === "choice") return option.choices(kind.values);
  if (kind.type === "loras" || ["files", "pictures"].includes(kind.type) || useTable(kind)) {
    // One at a time: commas are its file's.
    const quoted = (value: string) => `"${value.replaceAll('"', '""')}"`;
    return option.argParser<unknown>((value, before) => [...listOf(before), ...listOf(read(quoted(value)))]);
  }
  return kind.type === "switch" ? option : option.argParser(read);
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

/** Of commands about the block store itself. */
export function storeOption(): Option {
  return fieldOption(OPEN_FIELDS.store, "the block store's folder");
}

/** Of whoever shows pictures while they come to be. */
export function previewOption(): Option {
  const text = "pictures in the terminal while they come to be: as it can, off, or how";
  return new Option("--preview <how>", text).choices(PREVIEW_CHOICES).default("auto").helpGroup("Output:");
}

/** Of whoever saves pictures. */
export function saveEveryOption(): Option {
  const text =
    "steps from one save of an unfinished picture to the next, for solvay resume (0: only when it is stopped)";
  return new Option("--save-every <steps>", `${text} (default: every 20 seconds)`)
    .argParser((value) => wholeFromText("--save-every", value, 0, 1000))
    .helpGroup("Output:");
}

/** Of whoever makes several pictures of one job. */
export function countOption(description: string): Option {
  return new Option("--count <n>", description)
    .argParser((value) => wholeFromText("--count", value, 1, MAX_SERIES))
    .default(1);
}

/** What `saveEveryOption` read. */
export function saveEveryOf({ saveEvery }: OptionValues): number | undefined {
  return typeof saveEvery === "number" ? saveEvery : undefined;
}

/** What `previewOption` read. */
export function previewOf(options: OptionValues): PreviewChoice {
  return PREVIEW_CHOICES.find((choice) => choice === options.preview) ?? "auto";
}

/** Adds an option for each of the fields that has a flag, under its heading. */
export function addFields(command: Command, fields: Fields): Command {
  for (const [, field] of withFlags(fields)) {
    const options = [fieldOption(field), ...partOptions(field)];
    for (const option of options) command.addOption(option.helpGroup(`${field.flag.group}:`));
  }
  return command;
}

/** The flags behind one of a list, which say more of its last item: they are read into the list itself, in their order. */
function partOptions(field: FlagField): readonly Option[] {
  const own = fieldOption(field);
  return Object.entries(useTable(field.kind)?.parts ?? {}).map(([part, { kind, usage, description }]) => {
    const name = flagName({ usage });
    const option = new Option(usage, description);
    option.attributeName = () => own.attributeName();
    const several = kind.type === "pictures";
    const read = (value: unknown, before: unknown) => {
      const list = listOf(before) as readonly Readonly<Record<string, unknown>>[];
      const last = list.at(-1);
      if (!last) throw misplaced(name, `there is no ${flagName(field.flag)} before it`, field.flag);
      const said = last[part];
      if (said !== undefined && !several) throw misplaced(name, `it is said twice of ${String(last.file)}`, field.flag);
      const items = listOf(said);
      if (several && items.length >= kind.maxCount)
        throw misplaced(name, `it is said more than ${kind.maxCount} times of ${String(last.file)}`, field.flag);
      const found =
        kind.type === "switch" ? true : valueFromText(several ? { type: "picture" } : kind, name, String(value));
      return [...list.slice(0, -1), { ...last, [part]: several ? [...items, found] : found }];
    };
    return kind.type === "switch" ? option.preset(true).argParser<unknown>(read) : option.argParser<unknown>(read);
  });
}

function misplaced(name: string, problem: string, flag: Flag): UsageError {
  return new UsageError({
    code: "E_USAGE",
    subject: name,
    problem,
    next: `write it behind the ${flagName(flag)} that it is for`,
  });
}

function withFlags(fields: Fields): readonly (readonly [string, FlagField])[] {
  return Object.entries(fields).flatMap(([name, field]) =>
    field.flag ? [[name, { ...field, flag: field.flag }]] : [],
  );
}

/** Options of whoever opens a model. */
export function addOpenOptions(command: Command): Command {
  return addFields(addFields(command, OPEN_FIELDS), BUDGET_FIELDS);
}

const PLAN_FIELDS = Object.fromEntries(
  Object.entries<Field>(JOB_FIELDS).filter(([, { shapesPlan }]) => shapesPlan === true),
);

/** Options that a plan depends on. */
export function addPlanOptions(command: Command): Command {
  return addFields(command, PLAN_FIELDS);
}

/** Options of whoever makes images. */
export function addImageOptions(command: Command): Command {
  return addFields(addOpenOptions(command), JOB_FIELDS);
}

/** Values of those fields that were given or have a default. */
export function valuesOf(fields: Fields, options: OptionValues): Record<string, unknown> {
  const values = withFlags(fields).map(([name, field]) => [name, options[fieldOption(field).attributeName()]] as const);
  return Object.fromEntries(values.filter(([, value]) => value !== undefined));
}

// Each value below was read by its own field's parser, or by the default of the table.

export function jobSettingsOf(options: OptionValues): JobSettings {
  return valuesOf(JOB_FIELDS, options);
}

/** The part of a job that a plan depends on. */
export function planJobOf(job: JobSettings): PlanJob {
  const given: Readonly<Record<string, unknown>> = { ...job };
  return Object.fromEntries(Object.keys(PLAN_FIELDS).map((name) => [name, given[name]]));
}

function budgetsOf(options: OptionValues): Budgets {
  return valuesOf(BUDGET_FIELDS, options);
}

export function openRequestOf(options: OptionValues): OpenRequest {
  return { ...valuesOf(OPEN_FIELDS, options), budgets: budgetsOf(options) };
}
