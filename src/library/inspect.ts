/** @file What lies in a weight file: its tensors or records, and what its header says. */
import { isTorchSource } from "../adapters/adapter-file.ts";
import { type AdapterDescription, describeAdapter } from "../adapters/description.ts";
import { describeEmbedding } from "../adapters/embedding-file.ts";
import { adviceText } from "../adapters/few-steps.ts";
import { kindOfTables } from "../checkpoint/file-kind.ts";
import { readLzr2 } from "../container/lzr2.ts";
import { readSafetensorsHeader } from "../container/safetensors.ts";
import { sniffContainer } from "../container/sniff.ts";
import { readTorchFile } from "../container/torch-file.ts";
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
  if (await isTorchSource(source, signal)) return await torchContent(source, signal);
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
  const metadata = Object.fromEntries(header.metadata);
  return { container, fileBytes, metadata, ...described(source.name, all, header.metadata), tensors };
}

/** What torch.save has written: its tensors by their paths, found without running anything. */
async function torchContent(source: ByteSource, signal: AbortSignal): Promise<FileContent> {
  const tables = await readTorchFile(source, signal);
  const tensors = [...tables].flatMap(([path, table]) =>
    Array.from(table.values(), ({ name, dtype, shape, startByte, endByte }) => {
      return {
        name: path === "" || path === "state_dict" ? name : `${path}.${name}`,
        dtype,
        shape,
        startByte,
        endByte,
      };
    }),
  );
  const kind = kindOfTables(tables);
  const { content, ...rest } = described(source.name, tensors, new Map());
  const told = content.length === 0 && kind ? [`this is ${kind.words}`] : content;
  return { container: "torch", fileBytes: source.byteLength, metadata: {}, content: told, ...rest, tensors };
}

function described(
  name: string,
  tensors: readonly TensorRow[],
  metadata: ReadonlyMap<string, string>,
): Pick<FileContent, "content" | "adapter"> {
  const adapter = describeAdapter(name, tensors, metadata);
  if (adapter) return { content: adapterLines(adapter), adapter };
  const embedding = describeEmbedding(tensors);
  if (embedding !== undefined) return { content: [`this is ${embedding}`] };
  return { content: FAMILIES.flatMap((family) => family.contentOf(tensors, Object.fromEntries(metadata))) };
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
