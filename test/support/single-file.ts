/**
 * @file Single files in the original layout, made from a diffusers folder by names that diffusers itself reads so
 * (fixtures/single-file, scripts/golden/single_file_golden.py): nothing of the reader under test is used.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { numberToF16, toFloat32 } from "../../src/tensor/dtype.ts";
import type { SafetensorsTensor } from "../safetensors-writer.ts";

export interface OriginalName {
  readonly folder: string;
  /** In the single file. */
  readonly original: string;
  readonly parameter: string;
  /** "same", "conv", "rows 0" to "rows 2", "transposed". */
  readonly how: string;
  /** Of the parameter. */
  readonly shape: readonly number[];
}

const NAMES = fileURLToPath(new URL("../../fixtures/single-file/names.tsv.gz", import.meta.url));

export function originalNames(model: "sdxl" | "ssd-1b" | "vega" | "refiner" | "demo"): OriginalName[] {
  const lines = gunzipSync(readFileSync(NAMES)).toString().split("\n");
  return lines.flatMap((line) => {
    const [of, folder, original, parameter, how, shape] = line.split("\t") as [
      string,
      string,
      string,
      string,
      string,
      string,
    ];
    return of === model ? [{ folder, original, parameter, how, shape: shape.split("x").map(Number) }] : [];
  });
}

const DEMO = fileURLToPath(new URL("../../models/demo", import.meta.url));
const WEIGHTS: Readonly<Record<string, string>> = {
  unet: "diffusion_pytorch_model.fp16.safetensors",
  vae: "diffusion_pytorch_model.fp16.safetensors",
  text_encoder: "model.fp16.safetensors",
  text_encoder_2: "model.fp16.safetensors",
};

const readFolders = new Map<string, ReadonlyMap<string, SafetensorsTensor>>();

/** The demo model's tensors of a folder, by diffusers' names. Read once: nobody may change them. */
export function demoTensors(folder: string): ReadonlyMap<string, SafetensorsTensor> {
  const tensors = readFolders.get(folder) ?? readTensors(folder);
  readFolders.set(folder, tensors);
  return tensors;
}

function readTensors(folder: string): Map<string, SafetensorsTensor> {
  const file = Uint8Array.from(readFileSync(join(DEMO, folder, WEIGHTS[folder]!)));
  const headerBytes = Number(new DataView(file.buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + headerBytes))) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >;
  return new Map(
    Object.entries(header).flatMap(([name, entry]) => {
      if (name === "__metadata__") return [];
      const { dtype, shape, data_offsets } = entry;
      const [begin, end] = data_offsets;
      // As transformers before 5 named them.
      const key = folder.startsWith("text_encoder") && !/^text_/.test(name) ? `text_model.${name}` : name;
      const bytes = file.slice(8 + headerBytes + begin, 8 + headerBytes + end);
      return [[key, { name: key, dtype: dtype.toLowerCase() as "f16", shape, bytes }]];
    }),
  );
}

let original: readonly SafetensorsTensor[] | undefined;

/** All of the demo model in the original layout. Made once: nobody may change what they hold. */
export function originalDemo(): readonly SafetensorsTensor[] {
  original ??= makeOriginal();
  return original;
}

function makeOriginal(): SafetensorsTensor[] {
  const tensors = new Map<string, SafetensorsTensor>();
  const thirds = new Map<string, SafetensorsTensor[]>();
  const stored = new Map(Object.keys(WEIGHTS).map((folder) => [folder, demoTensors(folder)]));
  for (const { folder, original: name, parameter, how } of originalNames("demo")) {
    const tensor = stored.get(folder)!.get(parameter);
    if (!tensor) throw new Error(`the demo model has no ${folder} ${parameter}`);
    if (how === "same") tensors.set(name, { ...tensor, name });
    else if (how === "conv") tensors.set(name, { ...tensor, name, shape: [...tensor.shape, 1, 1] });
    else if (how === "transposed") tensors.set(name, { ...transposedHalves(tensor), name });
    else {
      const parts = thirds.get(name) ?? [];
      thirds.set(name, parts);
      parts[Number(how.slice(-1))] = tensor;
    }
  }
  for (const [name, parts] of thirds) {
    const bytes = new Uint8Array(Buffer.concat(parts.map((part) => part.bytes)));
    const [rows, ...rest] = parts[0]!.shape;
    tensors.set(name, { name, dtype: parts[0]!.dtype, shape: [3 * rows!, ...rest], bytes });
  }
  return [...tensors.values()];
}

function transposedHalves({ dtype, shape, bytes, name }: SafetensorsTensor): SafetensorsTensor {
  const [rows, columns] = shape as [number, number];
  const from = new Uint16Array(bytes.buffer, bytes.byteOffset, rows * columns);
  const to = new Uint16Array(rows * columns);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) to[j * rows + i] = from[i * columns + j]!;
  return { name, dtype, shape: [columns, rows], bytes: new Uint8Array(to.buffer) };
}

/** fp16 tensors as fp32. */
export function widened(tensors: readonly SafetensorsTensor[]): SafetensorsTensor[] {
  return tensors.map((tensor) => {
    const floats = toFloat32(tensor.dtype, tensor.bytes);
    return { ...tensor, dtype: "f32", bytes: new Uint8Array(floats.buffer, floats.byteOffset, floats.byteLength) };
  });
}

/** A tensor of a few numbers. */
export function small(
  name: string,
  values: readonly number[],
  shape: readonly number[] = [values.length],
): SafetensorsTensor {
  const bytes = new Uint8Array(Uint16Array.from(values, numberToF16).buffer);
  return { name, dtype: "f16", shape, bytes };
}
