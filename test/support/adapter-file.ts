/** @file Adapters' files for tests: tables of names and shapes without bytes, and small whole files. */
import { type AdapterFile, readAdapterFile } from "../../src/adapters/adapter-file.ts";
import { LayerNames, type ModelPart } from "../../src/adapters/layer-names.ts";
import type { TensorEntry } from "../../src/container/table.ts";
import { SDXL_BASE_CLIP_BIG_G, SDXL_BASE_CLIP_L, SDXL_BASE_UNET } from "../../src/models/sdxl/base.ts";
import { SDXL } from "../../src/models/sdxl/family.ts";
import { clipRules, unetRules } from "../../src/models/sdxl/rules.ts";
import { memorySource } from "../../src/source/memory.ts";
import type { ByteSource } from "../../src/source/source.ts";
import { elementCount, numberToF16 } from "../../src/tensor/dtype.ts";
import { encodeSafetensors } from "../safetensors-writer.ts";

const RULES = {
  unet: unetRules(SDXL_BASE_UNET),
  textEncoder: clipRules("text_encoder", SDXL_BASE_CLIP_L),
  textEncoder2: clipRules("text_encoder_2", SDXL_BASE_CLIP_BIG_G),
};

/** SDXL base's. */
export const SDXL_PARTS: readonly ModelPart[] = SDXL.adapterParts({
  rulesOf: (component) => RULES[component as keyof typeof RULES],
});
export const SDXL_NAMES = new LayerNames(SDXL_PARTS);

/** Zeros. */
const NOWHERE: ByteSource = {
  ...memorySource("style.safetensors", new Uint8Array(0)),
  read: async (_, into) => void into.fill(0),
  file: { path: "/style.safetensors", stamp: "1" },
};

export type Shapes = Iterable<readonly [name: string, shape: readonly number[]]>;

/** f16 tensors of zeros that lie nowhere. */
export function shapesFile(shapes: Shapes, metadata: Readonly<Record<string, string>> = {}): AdapterFile {
  const entries = [...shapes].map(([name, shape]): [string, TensorEntry] => [
    name,
    { name, dtype: "f16", shape, source: NOWHERE, startByte: 0, endByte: 2 * elementCount(shape) },
  ]);
  return { name: "style.safetensors", table: new Map(entries), metadata: new Map(Object.entries(metadata)) };
}

/** A whole file of f16 tensors, each of one value. */
export async function wholeFile(
  tensors: Iterable<readonly [name: string, shape: readonly number[], value: number]>,
  metadata?: Readonly<Record<string, string>>,
): Promise<AdapterFile> {
  const stored = [...tensors].map(([name, shape, value]) => {
    const halves = new Uint16Array(elementCount(shape)).fill(numberToF16(value));
    return { name, dtype: "f16" as const, shape, bytes: new Uint8Array(halves.buffer) };
  });
  return await readAdapterFile(memorySource("style.safetensors", encodeSafetensors(stored, metadata)));
}

/** The shapes of a pair of factors of `rank` for a weight. */
export function pairShapes(shape: readonly number[], rank: number): { down: readonly number[]; up: readonly number[] } {
  const [outputs, inputs, ...kernel] = shape as [number, number, ...number[]];
  return { down: [rank, inputs, ...kernel], up: [outputs, rank, ...kernel.map(() => 1)] };
}
