/** @file What an import needs of the disk and of memory: known before it begins. */

import { BudgetError } from "../../errors.ts";
import { formatBytes } from "../../ledger/byte-text.ts";
import { Ledger } from "../../ledger/ledger.ts";
import type { BlockLayout } from "../pack/block-layout.ts";
import type { BlockCodec } from "../pack/pack-format.ts";
import { CHUNKS_BYTES } from "../pack/pack-writer.ts";
import type { Store } from "../store.ts";
import { decodingBytes } from "./artifact-component.ts";
import type { ImportBudget, ImportRequest } from "./import-types.ts";
import type { Journal } from "./journal.ts";

/** Bytes that may have to be written, at most. `thereBytes`: what an earlier attempt has left in the work folder. */
export function diskBytesOf(
  { components }: ImportRequest,
  layouts: readonly (readonly BlockLayout[])[],
  shared: readonly unknown[],
  codec: BlockCodec,
  journal: Journal,
  thereBytes: number,
): number {
  const done = new Set(
    journal.entries.filter((entry) => entry.get("t").text() === "done").map((entry) => entry.get("key").text()),
  );
  let bytes = 0;
  for (const [i, { name, artifact }] of components.entries()) {
    if (shared[i] || done.has(name)) continue;
    // Decoding needs a scratch file of its own where blocks are packed.
    const copies = artifact && codec !== "plain" ? 2 : 1;
    bytes += copies * layouts[i]!.reduce((sum, { plainBytes }) => sum + plainBytes, 0);
  }
  return Math.max(0, bytes - thereBytes);
}

/** What an import holds in memory at most; measured growth of the process is below it. */
export function memoryBytesOf(
  { hashThreads }: Store,
  { components }: ImportRequest,
  layouts: readonly (readonly BlockLayout[])[],
): number {
  const threadBytes = hashThreads?.threadBytes ?? 0;
  const decoding = components.map(({ artifact }, i) => (artifact ? decodingBytes(layouts[i]!) + threadBytes : 0));
  return CHUNKS_BYTES + Math.max(0, ...decoding);
}

/** A ledger of its own, with all that is free on the disk. */
export function ownBudget(freeBytes: number): ImportBudget {
  const disk = Math.min(Math.floor(freeBytes), Number.MAX_SAFE_INTEGER);
  return { ledger: new Ledger({ device: 0, ram: Number.MAX_SAFE_INTEGER, disk }), memory: "ram" };
}

/** Returns what is free. Rejects with BudgetError `E_DISK_FULL` where that is less than `bytes`. */
export async function requireSpace(store: Store, bytes: number): Promise<number> {
  const freeBytes = await store.fs.freeBytes(store.folder);
  if (bytes <= freeBytes) return freeBytes;
  throw new BudgetError({
    code: "E_DISK_FULL",
    subject: store.folder,
    problem: `the import needs ${formatBytes(bytes)}, ${formatBytes(freeBytes)} free`,
    next: "free some space, or choose another folder with --store",
  });
}
