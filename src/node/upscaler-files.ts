/** @file Files of upscalers on this machine's disk: .safetensors, and .pth by a reader that runs nothing. */
import { readSafetensorsHeader, requireKnownDTypes } from "../container/safetensors.ts";
import type { TensorTable } from "../container/table.ts";
import { isTorchFile, readTorchFile } from "../container/torch-file.ts";
import { recogniseUpscaler, type UpscalerFile } from "../models/upscaler-file.ts";
import type { ByteSource } from "../source/source.ts";
import { openFileSource } from "./files/file.ts";

const HEAD_BYTES = 16;

/** A recognised network whose weights are read from `source`, which the caller disposes. */
export interface OpenedUpscaler extends UpscalerFile {
  readonly source: ByteSource;
}

/**
 * Opens a file without reading its weights. Rejects with ArtifactError: `E_UPSCALER` for another network, `E_PICKLE` for a file that wants more than
 * tensors, or what a missing or damaged file is refused with.
 */
export async function openUpscaler(path: string, shown: string, signal?: AbortSignal): Promise<OpenedUpscaler> {
  await using sources = new AsyncDisposableStack();
  const source = sources.use(await openFileSource(path, shown, shown));
  const file = recogniseUpscaler(await tablesOf(source, signal), shown);
  sources.move();
  return { ...file, source };
}

async function tablesOf(source: ByteSource, signal?: AbortSignal): Promise<ReadonlyMap<string, TensorTable>> {
  const head = new Uint8Array(Math.min(HEAD_BYTES, source.byteLength));
  await source.read(0, head, signal);
  if (isTorchFile(head)) return await readTorchFile(source, signal);
  const header = await readSafetensorsHeader(source, signal);
  return new Map([["", requireKnownDTypes(header, source.name, "weights")]]);
}
