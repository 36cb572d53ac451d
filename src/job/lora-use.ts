/** @file The adapters that a job names, each with its strengths: as JSON, and as the text of a flag, of the loop and of the infotext. Pure. */
import { itemsOfText, textOfItems } from "./list-text.ts";

/** One adapter's file, and how strong it is where. */
export interface LoraUse {
  /** A path, or a name that is looked for in the folder of LoRAs. */
  readonly file: string;
  /** Of all parts. Default 1. */
  readonly weight?: number;
  /** In place of `weight`: of the network that denoises, and of the text encoders. */
  readonly unet?: number;
  readonly te?: number;
  /** Shares of the steps, 0..1, between which the denoising network has it. Default: all of them. */
  readonly from?: number;
  readonly to?: number;
}

export const MAX_LORAS = 32;
/** Longest path that any system takes. */
export const MAX_LORA_CHARS = 32767;
/** Either side of zero. */
export const MAX_LORA_WEIGHT = 100;

const WEIGHTS = ["unet", "te"] as const;
const SHARES = ["from", "to"] as const;
/** What one has beside its file. */
export const LORA_SETTINGS: readonly string[] = ["weight", ...WEIGHTS, ...SHARES];
/** `:0.8`, `:te=0.5` at the end of a text. */
const LAST = /^(.+):(?:(unet|te|from|to)=)?([+-]?(?:\d+\.?\d*|\.\d+))$/s;

/** `file:0.8`, `C:\a.safetensors:te=0.5:unet=1:to=0.6`; undefined where a number is out of range or said twice. */
function loraFromText(text: string): LoraUse | undefined {
  const numbers: Record<string, number> = {};
  let file = text.trim();
  for (let match = LAST.exec(file); match; match = LAST.exec(file)) {
    const [, rest, name = "weight", value] = match;
    if (Object.hasOwn(numbers, name)) return undefined;
    numbers[name] = Number(value);
    file = rest!;
  }
  return checkedLora({ file, ...numbers });
}

/** Several, as list-text.ts has them. */
export function lorasFromText(text: string): readonly LoraUse[] | undefined {
  const items = itemsOfText(text);
  return items && checkedLoras(items.map(loraFromText));
}

/** What `lorasFromText` reads. */
export function lorasText(loras: readonly LoraUse[]): string {
  const items = loras.map(({ file, weight, ...named }) => {
    const values = Object.entries(named).map(([name, value]) => `:${name}=${value}`);
    return `${file}${weight === undefined ? "" : `:${weight}`}${values.join("")}`;
  });
  return textOfItems(items);
}

/** From JSON; undefined where it is none. */
export function lorasFromJson(value: unknown): readonly LoraUse[] | undefined {
  return Array.isArray(value) ? checkedLoras(value.map(checkedLora)) : undefined;
}

function checkedLoras(loras: readonly (LoraUse | undefined)[]): readonly LoraUse[] | undefined {
  const read = loras.filter((lora) => lora !== undefined);
  return read.length === loras.length && read.length <= MAX_LORAS ? read : undefined;
}

function checkedLora(value: unknown): LoraUse | undefined {
  if (value === null || typeof value !== "object") return undefined;
  const { file, ...numbers } = value as Readonly<Record<string, unknown>>;
  if (typeof file !== "string" || file === "" || file.length > MAX_LORA_CHARS) return undefined;
  const fits = Object.entries(numbers).every(([name, number]) => {
    if (typeof number !== "number") return false;
    if (name === "weight" || WEIGHTS.some((each) => each === name)) return Math.abs(number) <= MAX_LORA_WEIGHT;
    return SHARES.some((each) => each === name) && number >= 0 && number <= 1;
  });
  const { from = 0, to = 1 } = numbers as Partial<LoraUse>;
  return fits && from <= to ? ({ file, ...numbers } as LoraUse) : undefined;
}
