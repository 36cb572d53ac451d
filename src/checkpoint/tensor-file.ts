/** @file Tensors of a small network's file: .safetensors, or what torch.save has written, by a reader that runs nothing. */
import { readSafetensorsHeader } from "../container/safetensors.ts";
import type { TensorTable } from "../container/table.ts";
import { isTorchFile, readTorchFile } from "../container/torch-file.ts";
import type { ByteSource } from "../source/source.ts";
import { weightTable } from "./weight-header.ts";

const HEAD_BYTES = 16;

/** By path within the file; a .safetensors file has one table, "", with 8-bit floats widened. Weights are not read. Rejects with ArtifactError. */
export async function tensorTables(
  source: ByteSource,
  signal?: AbortSignal,
): Promise<ReadonlyMap<string, TensorTable>> {
  const head = new Uint8Array(Math.min(HEAD_BYTES, source.byteLength));
  await source.read(0, head, signal);
  if (isTorchFile(head)) return await readTorchFile(source, signal);
  const header = await readSafetensorsHeader(source, signal);
  return new Map([["", await weightTable(header, source.name, signal)]]);
}
