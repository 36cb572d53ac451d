/**
 * @file The checks made with the schemas of field-schema.ts: strict, and refused in our own words. Loaded when an engine is
 * opened, beside the start of its thread, since zod takes 80 ms; a face that only parses text needs none.
 */
import type * as z from "zod";
import { UsageError } from "../errors.ts";
import type { Budgets, OpenRequest } from "./checked.ts";
import type { GenerateOptions, GenerateRequest, PlanOptions, SeriesOptions } from "./engine.ts";
import type { DrawnState } from "./events.ts";
import { schemaOf } from "./field-schema.ts";
import {
  allowed,
  type Field,
  type Fields,
  fieldMeant,
  hasRange,
  type Kind,
  nearestOf,
  type ValuesOf,
} from "./field-type.ts";
import { BUDGET_FIELDS, JOB_FIELDS, OPEN_FIELDS } from "./fields.ts";
import { withListedAdapters } from "./ip-adapter-use.ts";
import type { GenerateJob, PlanJob } from "./job.ts";
import { LORA_SETTINGS } from "./lora-use.ts";
import type { OpenEngineOptions } from "./open.ts";
import { withNamesApart } from "./sampler-names.ts";
import { MAX_SERIES } from "./series.ts";
import { UPSCALE_FIELDS, type UpscaleJob } from "./upscale.ts";
import { useTable } from "./use-tables.ts";

/** What is checked, and how its refusals read. */
interface Subject<F extends Fields> {
  readonly code: string;
  /** "a job". */
  readonly what: string;
  readonly fields: F;
  /** What is said of names that are no fields, but known. */
  readonly hints?: ReadonlyMap<string, string>;
}

/** A check of objects with these fields. It throws UsageError naming the field that is wrong. */
export function checker<F extends Fields>(subject: Subject<F>): (value: unknown) => ValuesOf<F> {
  const schema = schemaOf(subject.fields);
  return (value) => {
    const result = schema.safeParse(value);
    if (result.success) return result.data;
    throw refusal(subject, value, result.error.issues[0]!);
  };
}

function refusal(subject: Subject<Fields>, value: unknown, issue: z.core.$ZodIssue): UsageError {
  const { code, what, fields } = subject;
  const [name] = issue.path;
  if (name === undefined) {
    if (issue.code === "unrecognized_keys") return unknownField(subject, issue.keys[0]!);
    return new UsageError({ code, problem: `${what} is an object (found ${shown(value)})`, next: "pass an object" });
  }
  const field = fields[String(name)]!;
  if (issue.path.length > 1 && field.kind.type !== "amount") {
    const inside = insideList(issue, field.kind, value);
    if (inside) return new UsageError({ code, ...inside });
  }
  const found = (value as Readonly<Record<string, unknown>>)[String(name)];
  const asText = field.kind.type === "seed" ? ` (above ${Number.MAX_SAFE_INTEGER} as a string of digits)` : "";
  const near = typeof found === "string" ? nearestOf(field.kind, found) : "";
  const wanted = allowed(field.kind) + asText;
  const [problem, next] =
    found === undefined
      ? [`is missing (${wanted} is wanted)`, "give it"]
      : hasRange(field.kind) && typeof found === typeOf(field)
        ? [`out of range (found ${shown(found)}, allowed ${wanted})`, `give ${String(name)} a value in that range`]
        : [`${wanted} is wanted (found ${shown(found)}${near})`, `give ${String(name)} such a value`];
  return new UsageError({ code, subject: String(name), problem, next });
}

/** What things are called that zod has other words for. */
const WORDS: Readonly<Record<string, string>> = {
  string: "text",
  number: "a number",
  boolean: "true or false",
  object: "an object with a file and its settings",
  array: "a list",
};

/** What is wrong inside a list's items: which item, and which of its settings. Undefined where that can't be told in more words. */
function insideList(
  issue: z.core.$ZodIssue,
  kind: Kind,
  value: unknown,
): { readonly subject: string; readonly problem: string; readonly next: string } | undefined {
  const [unknown] = issue.code === "unrecognized_keys" ? issue.keys : [];
  const steps = unknown === undefined ? issue.path : [...issue.path, unknown];
  const subject = steps
    .map((step) => (typeof step === "number" ? `[${step}]` : `.${String(step)}`))
    .join("")
    .slice(1);
  if (unknown !== undefined) {
    const settings = kind.type === "loras" ? LORA_SETTINGS : Object.keys(useTable(kind)?.parts ?? {});
    const next = `leave it out: there are ${["file", ...settings].join(", ")}`;
    return { subject, problem: "there is no such setting", next };
  }
  const found = steps.reduce<unknown>((at, step) => (at as Readonly<Record<PropertyKey, unknown>>)[step], value);
  const out = (limit: string) => ({
    subject,
    problem: `out of range (found ${shown(found)}, allowed ${limit})`,
    next: "give it a value in that range",
  });
  const other = (wanted: string) => ({
    subject,
    problem: found === undefined ? `is missing (${wanted} is wanted)` : `${wanted} is wanted (found ${shown(found)})`,
    next: found === undefined ? "give it" : "give it such a value",
  });
  if (issue.code === "too_big") return out(`at most ${issue.maximum}`);
  if (issue.code === "too_small") return out(`at least ${issue.minimum}`);
  if (issue.code === "invalid_value") return other(`one of ${issue.values.join(", ")}`);
  if (issue.code === "invalid_type") return other(WORDS[issue.expected] ?? issue.expected);
  return undefined;
}

/** What values with a range are to `typeof`. */
function typeOf({ kind }: Field): string {
  return kind.type === "text" ? "string" : "number";
}

/** Longest text that is quoted. */
const QUOTED_CHARS = 60;

function shown(value: unknown): string {
  if (typeof value === "string") {
    return value.length <= QUOTED_CHARS
      ? `a string ${JSON.stringify(value)}`
      : `a string of ${value.length} characters`;
  }
  if (Array.isArray(value)) return "an array";
  if (typeof value === "bigint") return `the bigint ${value}n`;
  if (typeof value === "function") return "a function";
  return value !== null && typeof value === "object" ? "an object" : String(value);
}

function unknownField({ code, what, fields, hints }: Subject<Fields>, name: string): UsageError {
  const meant = fieldMeant(fields, name);
  const hint = meant === undefined ? hints?.get(name) : `did you mean ${meant}?`;
  return new UsageError({
    code,
    subject: name.slice(0, QUOTED_CHARS),
    problem: `there is no such field${hint === undefined ? "" : ` (${hint})`}`,
    next:
      meant !== undefined
        ? `name it ${meant}`
        : hint !== undefined
          ? "put it there"
          : `leave it out: ${what} has ${Object.keys(fields).join(", ")}`,
  });
}

const checkJobFields: (job: unknown) => GenerateJob = checker({
  code: "E_JOB",
  what: "a job",
  fields: JOB_FIELDS,
  hints: new Map(
    ["signal", "telemetry", "states", "from", "previews"].map(
      (name) => [name, `it goes beside the job: generate(job, { ${name} })`] as const,
    ),
  ),
});

/** A job from outside, its sampler and its schedule apart. Throws UsageError `E_JOB` naming the field that is wrong. */
export function checkJob(job: unknown): GenerateJob {
  return withNamesApart(checkJobFields(job !== null && typeof job === "object" ? withListedAdapters(job) : job));
}

/** What a plan depends on, from outside; other fields of a job may be there. Throws UsageError `E_JOB`. */
export function checkPlanJob(job: unknown): PlanJob {
  if (job === null || typeof job !== "object") return checkJob(job);
  return checkJob({ ...job, prompt: "prompt" in job ? (job.prompt ?? "") : "" });
}

/** A picture to enlarge, from outside. Throws UsageError `E_JOB` naming the field that is wrong. */
export const checkUpscale: (job: unknown) => UpscaleJob = checker({
  code: "E_JOB",
  what: "an upscale",
  fields: UPSCALE_FIELDS,
}) as (job: unknown) => UpscaleJob;

/** Amounts of memory from outside, read. Throws UsageError naming the amount that is wrong. */
export const checkBudgets: (budgets: unknown) => Budgets = checker({
  code: "E_OPTION",
  what: "a budget",
  fields: BUDGET_FIELDS,
});

const checkOpenFields = checker({
  code: "E_OPTION",
  what: "an open request",
  fields: OPEN_FIELDS,
  hints: new Map(Object.keys(BUDGET_FIELDS).map((name) => [name, "it goes into budgets"] as const)),
});

/** Options from outside as a request that can cross to a thread. Throws UsageError naming the option that is wrong. */
export function checkOpen(request: OpenEngineOptions): OpenRequest {
  const { signal, onEvent, budgets, ...options } = objectOf(request, "an open request");
  requireSignal(signal);
  if (onEvent !== undefined && typeof onEvent !== "function") throw wrongOption("onEvent", "a function", onEvent);
  return { ...checkOpenFields(options), budgets: budgets === undefined ? undefined : checkBudgets(budgets) };
}

/** What may stand beside a job. Throws UsageError `E_OPTION` naming what may not. */
export function checkGenerateOptions(beside: GenerateOptions): GenerateOptions {
  const checked = besideFields("beside a job", beside, {
    signal: "object",
    telemetry: "boolean",
    states: "boolean",
    from: "object",
    previews: "boolean",
  });
  requireSignal(checked.signal);
  if (checked.from) requireState(checked.from);
  return checked;
}

/** A series from outside: each of its jobs, and what stands beside them. Throws UsageError. */
export function checkSeries(
  requests: readonly GenerateRequest[],
  beside: SeriesOptions,
): { readonly checked: readonly GenerateRequest[]; readonly signal: AbortSignal | undefined } {
  const { signal } = besideFields("beside a series", beside, { signal: "object" });
  if (!Array.isArray(requests) || requests.length > MAX_SERIES) {
    const found = Array.isArray(requests) ? `${requests.length} of them` : shown(requests);
    const problem = `a series is a list of up to ${MAX_SERIES} requests (found ${found})`;
    throw new UsageError({ code: "E_OPTION", problem, next: "give [{ job, ...options }, ...]" });
  }
  const checked = requests.map((request: GenerateRequest) => {
    const { job, ...options } = objectOf(request, "a request");
    return { ...checkGenerateOptions(options), job: checkJob(job) };
  });
  requireSignal(signal);
  return { checked, signal };
}

function requireSignal(signal: unknown): void {
  if (signal === undefined || signal instanceof AbortSignal) return;
  throw wrongOption("signal", "an AbortSignal", signal);
}

function wrongOption(subject: string, wanted: string, found: unknown): UsageError {
  const problem = `${wanted} is wanted (found ${shown(found)})`;
  return new UsageError({ code: "E_OPTION", subject, problem, next: `give ${subject} such a value, or leave it out` });
}

/** Its form; whether it is the job's is asked where the job's sizes are known. */
function requireState({ step, x, history, retry }: { readonly [Key in keyof DrawnState]: unknown }): void {
  const isLatent = (value: unknown) => value instanceof Float32Array;
  const fits = Number.isInteger(step) && isLatent(x) && Array.isArray(history) && history.every(isLatent);
  if (fits && (retry === undefined || typeof retry === "string")) return;
  const problem = "a step's state is wanted: { step, x, history }, latents as Float32Array";
  throw new UsageError({ code: "E_OPTION", subject: "from", problem, next: "pass what a step event had" });
}

/** What may stand beside a job that is planned. Throws UsageError `E_OPTION`. */
export function checkPlanOptions(beside: PlanOptions): {
  readonly as?: string;
  readonly budgets?: Budgets;
  readonly count?: number;
} {
  const types = { as: "string", budgets: "object", count: "number" };
  const { as, budgets, count } = besideFields("beside a plan's job", beside, types);
  if (count !== undefined && !(Number.isInteger(count) && count >= 1 && count <= MAX_SERIES)) {
    const problem = `a whole number from 1 to ${MAX_SERIES} is wanted (found ${count})`;
    throw new UsageError({ code: "E_OPTION", subject: "count", problem, next: "say how many images are wanted" });
  }
  return { as, budgets: budgets && checkBudgets(budgets), ...(count !== undefined && { count }) };
}

function besideFields<Options extends object>(
  what: string,
  options: Options,
  types: Readonly<Record<keyof Options, string>>,
): Options {
  for (const [name, value] of Object.entries(objectOf(options, what))) {
    const type = Object.hasOwn(types, name) ? types[name as keyof Options] : undefined;
    if (type !== undefined && (value === undefined || (value !== null && typeof value === type))) continue;
    const article = type === "object" ? "an" : "a";
    const problem =
      type === undefined ? `there is no such option ${what}` : `${article} ${type} is wanted (found ${shown(value)})`;
    const next = `leave it out: there are ${Object.keys(types).join(", ")}`;
    throw new UsageError({ code: "E_OPTION", subject: name.slice(0, QUOTED_CHARS), problem, next });
  }
  return options;
}

function objectOf<T extends object>(value: T, what: string): T {
  if (value !== null && typeof value === "object") return value;
  const problem = `${what} is an object (found ${shown(value)})`;
  throw new UsageError({ code: "E_OPTION", problem, next: "leave it out, or give an object" });
}
