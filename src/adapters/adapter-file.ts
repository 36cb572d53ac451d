/** @file The tensors and words of an adapter's file, before anything is known of a model. */
import { weightTable } from "../checkpoint/weight-header.ts";
import { readSafetensorsHeader } from "../container/safetensors.ts";
import type { TensorTable } from "../container/table.ts";
import type { ByteSource } from "../source/source.ts";

export interface AdapterFile {
  /** For messages. */
  readonly name: string;
  /** 8-bit floats widened. */
  readonly table: TensorTable;
  readonly metadata: ReadonlyMap<string, string>;
}

/** Reads the header. Rejects with ArtifactError for what is no safetensors file of weights. */
export async function readAdapterFile(source: ByteSource, signal?: AbortSignal): Promise<AdapterFile> {
  const header = await readSafetensorsHeader(source, signal);
  return { name: source.name, table: await weightTable(header, source.name, signal), metadata: header.metadata };
}
