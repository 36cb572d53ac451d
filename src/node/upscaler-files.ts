/** @file Files of upscalers on this machine's disk: .safetensors, and .pth by a reader that runs nothing. */
import { recogniseUpscaler, type UpscalerFile } from "../models/upscaler-file.ts";
import type { ByteSource } from "../source/source.ts";
import { openFileSource } from "./files/file.ts";
import { tensorTables } from "./tensor-file.ts";

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
  const file = recogniseUpscaler(await tensorTables(source, signal), shown);
  sources.move();
  return { ...file, source };
}
