/** @file Options that several commands share, with their limits. */
import { randomInt } from "node:crypto";
import { type Command, Option } from "commander";
import { PRECISIONS } from "../backend/webgpu/precision.ts";
import type { BackendName, BudgetOptions, PrecisionName } from "../engine-types.ts";
import { UsageError } from "../errors.ts";
import { parseBudget } from "../ledger/budget.ts";

/** Largest seed: every whole number up to it is exact in JavaScript. */
export const MAX_SEED = Number.MAX_SAFE_INTEGER;

function refuse(name: string, text: string, allowed: string): never {
  const problem = `${name} must be ${allowed} (found ${JSON.stringify(text)})`;
  throw new UsageError({ code: "E_USAGE", problem, next: `give ${name} a value in that range` });
}

/** A whole number in [min, max] that `multiple` divides. Throws UsageError. */
export function parseWhole(name: string, text: string, min: number, max: number, multiple = 1): number {
  const value = Number(text);
  const fits =
    /^\d+$/.test(text) && Number.isSafeInteger(value) && value >= min && value <= max && value % multiple === 0;
  const kind = multiple === 1 ? "a whole number" : `a multiple of ${multiple}`;
  return fits ? value : refuse(name, text, `${kind} from ${min} to ${max}`);
}

/** A decimal number in [min, max]. Throws UsageError. */
export function parseDecimal(name: string, text: string, min: number, max: number): number {
  const value = Number(text);
  const fits = /^\d*\.?\d+$|^\d+\.$/.test(text) && value >= min && value <= max;
  return fits ? value : refuse(name, text, `a number from ${min} to ${max}`);
}

export const parseSeed = (text: string) => parseWhole("--seed", text, 0, MAX_SEED);
export const parseSteps = (text: string) => parseWhole("--steps", text, 1, 1000);
export const parseGuidance = (text: string) => parseDecimal("--guidance", text, 0, 100);
export const parseSide = (name: string) => (text: string) => parseWhole(name, text, 16, 4096, 8);

/** Seed for those who name none: short enough to be typed. */
export function drawSeed(): number {
  return randomInt(2 ** 32);
}

/** Options of whoever opens a model. */
export interface ModelOptions {
  readonly model?: string;
  readonly artifact?: string;
  readonly store?: string;
  readonly backend: BackendName;
  readonly adapter?: string;
  readonly precision?: PrecisionName;
  readonly compat?: boolean;
  readonly vram?: string;
  readonly ram?: string;
}

/** Options that a plan depends on. */
export interface SizeOptions {
  readonly steps: number;
  readonly guidance: number;
  readonly width?: number;
  readonly height?: number;
}

/** Options of whoever makes images. */
export interface ImageOptions extends ModelOptions, SizeOptions {
  readonly negative?: string;
  readonly seed?: number;
}

/** Checks an amount of memory now, and keeps it as it was written: "all but" depends on the machine. */
const parseAmount = (name: string) => (text: string) => {
  parseBudget(name, text);
  return text;
};
export const parseVram = parseAmount("--vram");
export const parseRam = parseAmount("--ram");

export function budgetsOf({ vram, ram }: ModelOptions): BudgetOptions {
  return { ...(vram === undefined ? {} : { vram }), ...(ram === undefined ? {} : { ram }) };
}

/** `name` becomes the option's key: none of ours are negated or variadic. */
export function addModelOptions(command: Command): Command {
  return command
    .option(
      "--model <dir|hub-id>",
      "diffusers folder, Hugging Face id in the local cache, or store:ID (default: the demo model)",
    )
    .option("--artifact <file.lzr2>", "LZR2 artifact laid over the model's UNet")
    .option("--store <dir>", "block store for large artifacts (default: $SOLVAY_STORE, or in the user's cache)")
    .option("--compat", "accept LZR2 records of unknown kind (the model's own weight stays)")
    .addOption(
      new Option("--backend <name>", "what computes").choices(["auto", "webgpu", "cpu", "reference"]).default("auto"),
    )
    .option("--adapter <name>", "part of a graphics adapter's name; software adapters only when named")
    .addOption(
      new Option(
        "--precision <name>",
        "arithmetic on a graphics card (default: fp32; fp16 is faster, with other pixels)",
      ).choices(PRECISIONS),
    )
    .option("--vram <amount>", "bound of device memory: 6G, 512M, or -1G for all but 1 GiB", parseVram)
    .option("--ram <amount>", "bound of other memory, the process included", parseRam);
}

export function addSizeOptions(command: Command): Command {
  return command
    .option("--steps <n>", "1 to 1000", parseSteps, 30)
    .option("--guidance <n>", "0 to 100; 1 or less turns it off", parseGuidance, 5)
    .option("--width <pixels>", "multiple of 8, 16 to 4096 (default: the model's own)", parseSide("--width"))
    .option("--height <pixels>", "multiple of 8, 16 to 4096 (default: the model's own)", parseSide("--height"));
}

export function addImageOptions(command: Command): Command {
  return addSizeOptions(
    addModelOptions(command)
      .option("--negative <text>", "what the image should not show")
      .option("--seed <n>", `0 to ${MAX_SEED} (default: drawn at random)`, parseSeed),
  );
}
