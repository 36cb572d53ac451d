/** @file What lies in a weight file: its tensors or records, and what its header says. */
import { type AdapterDescription, describeAdapter } from "../adapters/description.ts";
import { describeEmbedding } from "../adapters/embedding-file.ts";
import { adviceText } from "../adapters/few-steps.ts";
import { readLzr2 } from "../container/lzr2.ts";
import { readSafetensorsHeader } from "../container/safetensors.ts";
import { sniffContainer } from "../container/sniff.ts";
import { FAMILIES } from "../models/families.ts";
import type { ByteSource } from "../source/source.ts";
import type { LibraryHost } from "./host.ts";

/** One tensor or record. */
export interface TensorRow {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly startByte: number;
  readonly endByte: number;
  readonly note?: string;
}

export interface FileContent {
  readonly container: string;
  readonly fileBytes: number;
  readonly metadata: Readonly<Record<string, string>>;
  /** What it is, one line each. */
  readonly content: readonly string[];
  /** Of a LoRA or one of its relatives: the same as data. */
  readonly adapter?: AdapterDescription;
  readonly tensors: readonly TensorRow[];
}

/** Reads headers only. Rejects with ArtifactError. */
export async function inspectFile(
  host: LibraryHost,
  file: string,
  { compat, signal }: { readonly compat: boolean; readonly signal: AbortSignal },
): Promise<FileContent> {
  await using source = await host.openFile(host.absolute(file));
  const container = await sniffContainer(source, signal);
  const fileBytes = source.byteLength;
  if (container === "lzr2") {
    const tensors = await Array.fromAsync(lzr2Rows(source, compat, signal));
    return { container, fileBytes, metadata: {}, content: [], tensors };
  }
  const header = await readSafetensorsHeader(source, signal);
  const foreign = [...header.foreign.values()].map((entry) => ({ ...entry, dtype: entry.dtype.toLowerCase() }));
  const all = foreign.length === 0 ? [...header.table.values()] : inFileOrder([...header.table.values(), ...foreign]);
  const tensors = all.map(({ name, dtype, shape, startByte, endByte }) => ({ name, dtype, shape, startByte, endByte }));
  const adapter = describeAdapter(source.name, all, header.metadata);
  const embedding = describeEmbedding(all);
  const content = adapter
    ? adapterLines(adapter)
    : embedding !== undefined
      ? [`this is ${embedding}`]
      : FAMILIES.flatMap((family) => family.contentOf(all, Object.fromEntries(header.metadata)));
  const metadata = Object.fromEntries(header.metadata);
  return { container, fileBytes, metadata, content, ...(adapter ? { adapter } : {}), tensors };
}

function adapterLines({ kinds, ranks, madeFor, trainedOn, triggers, tags, advice }: AdapterDescription): string[] {
  const counted = Object.entries(kinds).map(
    ([kind, layers]) => `${kind} of ${layers} ${layers === 1 ? "layer" : "layers"}`,
  );
  const rank = ranks.length === 0 ? "" : `, rank ${ranks.length > 1 ? `${ranks[0]} to ${ranks.at(-1)}` : ranks[0]}`;
  const lines = [`this is ${madeFor ?? "an adapter"}: ${counted.join(", ")}${rank}`];
  if (trainedOn !== undefined) lines.push(`trained on: ${trainedOn}`);
  if (triggers.length > 0) lines.push(`trigger words: ${triggers.join(", ")}`);
  if (tags.length > 0)
    lines.push(`frequent in its captions: ${tags.map(({ tag, count }) => `${tag} (${count})`).join(", ")}`);
  if (advice) lines.push(adviceText(advice));
  return lines;
}

function inFileOrder(tensors: readonly TensorRow[]): TensorRow[] {
  return tensors.toSorted((a, b) => a.startByte - b.startByte || a.endByte - b.endByte);
}

async function* lzr2Rows(source: ByteSource, compat: boolean, signal: AbortSignal): AsyncGenerator<TensorRow> {
  const records = readLzr2(source, { compat, signal, headersOnly: true });
  for await (const { key, shape, startByte, endByte, tf, overlayRows } of records) {
    const notes = [
      tf === 1 ? "" : "no payload: the model's own weight stays",
      overlayRows > 0 ? `${overlayRows} overlay rows` : "",
    ].filter((note) => note !== "");
    const row = { name: key, dtype: "f16", shape, startByte, endByte };
    yield notes.length > 0 ? { ...row, note: notes.join("; ") } : row;
  }
}
