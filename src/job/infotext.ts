/**
 * @file How a picture was made, as text in its PNG: A1111's infotext, which other programs read back, and our JSON.
 * The infotext follows `create_infotext` of A1111's web UI 1.10 (modules/processing.py, infotext_utils.py).
 */

/** All that is needed to make the picture again. */
export interface ImageRecord {
  readonly prompt: string;
  readonly negativePrompt: string;
  readonly seed: number;
  readonly steps: number;
  readonly guidance: number;
  readonly width: number;
  readonly height: number;
  /** A1111's name of the schedule, e.g. "DDIM" or "Karras" (`scheduleTypeName`). */
  readonly scheduleType: string;
  /** Name of the model folder or its Hugging Face id. */
  readonly model?: string;
  /** Name of the LZR2 file laid over it. */
  readonly artifact?: string;
  readonly backend: string;
  /** What it computed in; absent: fp32. */
  readonly precision?: string;
  /** What went wrong in less than fp32, if that is why it was fp32. */
  readonly retry?: string;
  /** Version of Solvay, e.g. "0.1.0". */
  readonly version: string;
}

/** Keyword of the infotext's chunk. */
export const A1111_KEYWORD = "parameters";
/** Keyword of our own JSON's chunk. */
export const SOLVAY_KEYWORD = "solvay";

/** The infotext: the prompt, the negative prompt if any, and one line of settings. */
export function a1111Parameters(record: ImageRecord): string {
  const settings: [string, string | undefined][] = [
    ["Steps", String(record.steps)],
    ["Sampler", "Euler"],
    ["Schedule type", record.scheduleType],
    ["CFG scale", pythonFloat(record.guidance)],
    ["Seed", String(record.seed)],
    ["Size", `${record.width}x${record.height}`],
    ["Model", record.model],
    ["RNG", "CPU"],
    ["Artifact", record.artifact],
    ["Precision", record.precision === "fp32" ? undefined : record.precision],
    ["Retry", record.retry],
    ["Version", `Solvay ${record.version}`],
  ];
  const line = settings
    .filter((pair): pair is [string, string] => pair[1] !== undefined)
    .map(([key, value]) => (key === value ? key : `${key}: ${quoted(value)}`))
    .join(", ");
  const negative = record.negativePrompt ? `\nNegative prompt: ${record.negativePrompt}` : "";
  return `${record.prompt}${negative}\n${line}`;
}

/** Our own record of the same, one JSON object; equal records give equal text. */
export function solvayJson(record: ImageRecord): string {
  return JSON.stringify({
    version: record.version,
    prompt: record.prompt,
    negativePrompt: record.negativePrompt,
    seed: record.seed,
    steps: record.steps,
    guidance: record.guidance,
    width: record.width,
    height: record.height,
    sampler: "euler",
    scheduleType: record.scheduleType,
    rng: "torch-cpu",
    model: record.model,
    artifact: record.artifact,
    backend: record.backend,
    precision: record.precision,
    retry: record.retry,
  });
}

/** A number as Python prints a float: 5 is "5.0". */
function pythonFloat(value: number): string {
  return Number.isInteger(value) ? value.toFixed(1) : String(value);
}

/** A value that would break the line apart is written as a JSON string. */
function quoted(value: string): string {
  return /[,\n:]/.test(value) ? JSON.stringify(value) : value;
}
