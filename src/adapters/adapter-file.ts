/** @file The tensors and words of an adapter's file, before anything is known of a model. */
import { kindOfTables } from "../checkpoint/file-kind.ts";
import { weightTable } from "../checkpoint/weight-header.ts";
import { readSafetensorsHeader } from "../container/safetensors.ts";
import type { TensorTable } from "../container/table.ts";
import { isTorchFile, readTorchFile } from "../container/torch-file.ts";
import { ArtifactError } from "../errors.ts";
import type { ByteSource } from "../source/source.ts";

export interface AdapterFile {
  /** For messages. */
  readonly name: string;
  /** 8-bit floats widened. */
  readonly table: TensorTable;
  readonly metadata: ReadonlyMap<string, string>;
}

const HEAD_BYTES = 16;
/** Dictionaries of a file of torch.save that may be the tensors'. */
const DICTIONARIES = ["", "state_dict"];

/** Whether torch.save has written it: then its tensors are read by a machine that runs nothing (container/torch-file.ts). */
export async function isTorchSource(source: ByteSource, signal?: AbortSignal): Promise<boolean> {
  const head = new Uint8Array(Math.min(HEAD_BYTES, source.byteLength));
  await source.read(0, head, signal);
  return isTorchFile(head);
}

/** Reads the header. Rejects with ArtifactError for what is no file of weights. */
export async function readAdapterFile(source: ByteSource, signal?: AbortSignal): Promise<AdapterFile> {
  const { name } = source;
  if (await isTorchSource(source, signal)) {
    const tables = await readTorchFile(source, signal);
    const table = DICTIONARIES.map((path) => tables.get(path)).find((each) => each !== undefined);
    if (table) return { name, table, metadata: new Map() };
    const kind = kindOfTables(tables);
    throw new ArtifactError({
      code: "E_LORA_NO_MATCH",
      subject: name,
      problem: `0 of its tensors fit the model (it is ${kind?.words ?? "no dictionary of an adapter's tensors"})`,
      next: kind?.next ?? "use an adapter that was made for this model",
    });
  }
  const header = await readSafetensorsHeader(source, signal);
  return { name, table: await weightTable(header, name, signal), metadata: header.metadata };
}
