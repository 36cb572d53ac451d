/**
 * @file Writes a diffusers folder of SDXL base's shapes (synth-sdxl.ts) as one file in the original layout, its values unchanged.
 * Usage: node scripts/synth-single.ts FOLDER OUT.safetensors
 */
import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import { type OriginalName, originalNames } from "../test/support/single-file.ts";
import { safetensorsFront } from "./synth-sdxl/safetensors-front.ts";

const [folder, out] = process.argv.slice(2);
if (folder === undefined || out === undefined) {
  console.error("Usage: node scripts/synth-single.ts FOLDER OUT.safetensors");
  process.exit(2);
}

const FILES: Readonly<Record<string, string>> = {
  unet: "diffusion_pytorch_model.fp16.safetensors",
  vae: "diffusion_pytorch_model.fp16.safetensors",
  text_encoder: "model.fp16.safetensors",
  text_encoder_2: "model.fp16.safetensors",
};

interface Stored {
  readonly handle: FileHandle;
  readonly startByte: number;
  readonly endByte: number;
}

/** Every tensor of the folder, by `folder/name`. */
async function storedTensors(): Promise<Map<string, Stored>> {
  const stored = new Map<string, Stored>();
  for (const [part, file] of Object.entries(FILES)) {
    const handle = await open(join(folder!, part, file));
    const length = Buffer.alloc(8);
    await handle.read(length, 0, 8, 0);
    const headerBytes = Number(length.readBigUInt64LE());
    const json = Buffer.alloc(headerBytes);
    await handle.read(json, 0, headerBytes, 8);
    const header = JSON.parse(json.toString()) as Record<string, { data_offsets: [number, number] }>;
    for (const [name, { data_offsets }] of Object.entries(header)) {
      if (name === "__metadata__") continue;
      const [begin, end] = data_offsets;
      stored.set(`${part}/${name}`, { handle, startByte: 8 + headerBytes + begin, endByte: 8 + headerBytes + end });
    }
  }
  return stored;
}

function storedShape(names: readonly OriginalName[]): readonly number[] {
  const { how, shape } = names[0]!;
  const [first, ...rest] = shape as [number, ...number[]];
  if (how === "conv") return [...shape, 1, 1];
  if (how === "transposed") return [...rest, first];
  return how === "same" ? shape : [3 * first, ...rest];
}

const stored = await storedTensors();
const tensors = [...Map.groupBy(originalNames("sdxl"), ({ original }) => original)];
const { front, dataBytes } = safetensorsFront(
  tensors.map(([name, parts]) => ({ name, dtype: "f16", shape: storedShape(parts) })),
  { "modelspec.architecture": "stable-diffusion-xl-v1-base" },
);
await using file = await open(out, "w");
await file.write(front);
for (const [, parts] of tensors) {
  for (const { folder: part, parameter, how, shape } of parts.toSorted((a, b) => (a.how < b.how ? -1 : 1))) {
    const { handle, startByte, endByte } = stored.get(`${part}/${parameter}`)!;
    const bytes = Buffer.alloc(endByte - startByte);
    await handle.read(bytes, 0, bytes.length, startByte);
    await file.write(how === "transposed" ? transposed(bytes, shape) : bytes);
  }
}
for (const handle of new Set(Array.from(stored.values(), (tensor) => tensor.handle))) await handle.close();
console.error(`${((front.length + dataBytes) / 1e9).toFixed(2)} GB, ${tensors.length} tensors`);

function transposed(bytes: Buffer, [rows, columns]: readonly number[]): Buffer {
  const to = Buffer.alloc(bytes.length);
  for (let i = 0; i < rows!; i++) {
    for (let j = 0; j < columns!; j++)
      to.writeUInt16LE(bytes.readUInt16LE(2 * (i * columns! + j)), 2 * (j * rows! + i));
  }
  return to;
}
