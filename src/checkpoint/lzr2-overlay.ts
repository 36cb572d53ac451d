/** @file Lays an LZR2 artifact over a UNet's tensor table: named weights are replaced, the rest of the base model stays. */
import { type Lzr2Record, readLzr2 } from "../container/lzr2.ts";
import type { TensorEntry, TensorTable } from "../container/table.ts";
import { ArtifactError } from "../errors.ts";
import { memorySource } from "../source/memory.ts";
import type { ByteSource } from "../source/source.ts";
import { quoteFirst, type Schema } from "./schema.ts";

export interface OverlayOptions {
  /** The base model's UNet by canonical name, and what it must hold. */
  readonly base: TensorTable;
  readonly schema: Schema;
  /** Keep the base weight for records of unknown kind, as the published loader does. */
  readonly compat: boolean;
  /** Decoded weights stay in memory: no more than so many bytes of them. Default: any amount. */
  readonly limitBytes?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** After each record: its number, key, and the bytes of the artifact read so far. */
  readonly onRecord?: (count: number, key: string, readBytes: number) => void;
}

export interface OverlayResult {
  readonly table: TensorTable;
  /** Of decoded weights, which the table holds. */
  readonly heldBytes: number;
  /** Records whose weights replaced the base model's. */
  readonly applied: number;
  /** Records without a payload. */
  readonly untouched: number;
  /** Parameters that the artifact doesn't name. */
  readonly missing: readonly string[];
  /** Overlay rows outside of their matrix, which are skipped. */
  readonly skippedOverlayRows: number;
}

/**
 * Decodes the artifact in one pass; undefined if its weights take more than the limit. Throws ArtifactError, also if it names a
 * parameter the UNet doesn't have, or none at all.
 */
export async function overlayLzr2(artifact: ByteSource, options: OverlayOptions): Promise<OverlayResult | undefined> {
  const { base, schema, compat, limitBytes = Number.POSITIVE_INFINITY, signal, onRecord } = options;
  const table = new Map(base);
  const unnamed = new Set(schema.keys());
  let applied = 0;
  let untouched = 0;
  let count = 0;
  let skippedOverlayRows = 0;
  let heldBytes = 0;
  const expectedShape = (key: string) => schema.get(key);
  for await (const record of readLzr2(artifact, { compat, expectedShape, signal })) {
    count++;
    requireKnown(artifact, record, schema);
    unnamed.delete(record.key);
    skippedOverlayRows += record.skippedOverlayRows;
    if (record.weight) {
      heldBytes += record.weight.byteLength;
      if (heldBytes > limitBytes) return undefined;
      table.set(record.key, entryOf(record, record.weight, artifact.name));
      applied++;
    } else {
      untouched++;
    }
    onRecord?.(count, record.key, record.endByte);
  }
  if (count === 0) {
    throw new ArtifactError({
      code: "E_LZR_EMPTY",
      subject: artifact.name,
      problem: "the artifact holds no record",
      next: "fetch the artifact again",
    });
  }
  return { table, heldBytes, applied, untouched, missing: [...unnamed], skippedOverlayRows };
}

/** Its shape the reader has held against the schema. */
function requireKnown(artifact: ByteSource, { key, startByte }: Lzr2Record, schema: Schema): void {
  if (schema.has(key)) return;
  throw new ArtifactError({
    code: "E_SCHEMA",
    subject: artifact.name,
    problem: `record ${quoteFirst([key])} is no parameter of this UNet at byte ${startByte}`,
    next: "use the artifact with the base model it was made for",
  });
}

function entryOf(record: Lzr2Record, weight: Uint16Array<ArrayBuffer>, artifactName: string): TensorEntry {
  const bytes = new Uint8Array(weight.buffer, weight.byteOffset, weight.byteLength);
  const source = memorySource(`${artifactName} "${record.key}"`, bytes);
  return { name: record.key, dtype: "f16", shape: record.shape, source, startByte: 0, endByte: bytes.byteLength };
}
