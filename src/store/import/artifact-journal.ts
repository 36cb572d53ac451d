/** @file What an import of an artifact writes down, and what of it a later attempt takes up: only what is in place and sound. */

import { tensorBytes } from "../../tensor/dtype.ts";
import type { Field } from "../fields.ts";
import { decodePackBlock, type PackBlock } from "../pack/pack-format.ts";
import type { PlacedFile } from "../pack/placed-file.ts";
import { isSound } from "./build-table.ts";
import type { Journal } from "./journal.ts";

export interface RecordLine {
  readonly key: string;
  readonly startByte: number;
  readonly endByte: number;
  /** CRC32 of the tensor's pieces; absent without a payload. */
  readonly crcs?: readonly number[];
  readonly skippedRows: number;
}

export function recordItem(key: string, line: RecordLine): object {
  const { key: name, startByte: start, endByte: end, skippedRows: skipped, crcs } = line;
  return { t: "record", key, name, start, end, skipped, crcs };
}

export interface TakenUp {
  readonly done: ReadonlyMap<number, PackBlock>;
  /** From the artifact's first record on, without a gap. */
  readonly records: readonly RecordLine[];
}

export async function takeUp(
  journal: Journal,
  key: string,
  placed: PlacedFile,
  signal: AbortSignal | undefined,
): Promise<TakenUp> {
  const entries = journal.entries.filter((entry) => entry.get("key").text() === key);
  const kind = (entry: Field) => entry.get("t").text();
  const done = new Map<number, PackBlock>();
  for (const entry of entries.filter((entry) => kind(entry) === "block")) {
    const index = entry.get("i").whole(0, placed.layouts.length - 1);
    const block = decodePackBlock(entry.get("block"));
    const fits = block.startByte === placed.starts[index] && block.plainBytes === placed.layouts[index]!.plainBytes;
    if (fits && (await isSound(placed.file, block, signal))) done.set(index, block);
  }
  const records: RecordLine[] = [];
  for (const entry of entries.filter((entry) => kind(entry) === "record")) {
    signal?.throwIfAborted();
    const line = decodeRecord(entry);
    // An attempt that began again before the end of an earlier one has written lines for the same records.
    if (line.startByte !== (records.at(-1)?.endByte ?? FIRST_RECORD_BYTE)) continue;
    const place = placed.places.get(line.key);
    if (!place) continue;
    const bytes = tensorBytes({ dtype: "f16", shape: place.tensor.shape });
    const inPlace = !line.crcs || done.has(place.block) || (await placed.hasPieces(place, bytes, line.crcs));
    if (inPlace) records.push(line);
  }
  return { done, records };
}

/** Behind the signature. */
const FIRST_RECORD_BYTE = 4;

function decodeRecord(entry: Field): RecordLine {
  const byte = (name: string) => entry.get(name).whole(FIRST_RECORD_BYTE, Number.MAX_SAFE_INTEGER);
  const crcs = entry.get("crcs");
  return {
    key: entry.get("name").text(),
    startByte: byte("start"),
    endByte: byte("end"),
    crcs: crcs.exists ? crcs.list().map((crc) => crc.whole(0, 0xffffffff)) : undefined,
    skippedRows: entry.get("skipped").whole(0, Number.MAX_SAFE_INTEGER),
  };
}
