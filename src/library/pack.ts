/** @file Writes a model's UNet as an LZR2 artifact: lossless, or smaller. */
import { encodeLzr2Record, LZR2_SIGNATURE, type Lzr2Mode } from "../container/lzr2-writer.ts";
import { readSafetensorsHeader, requireKnownDTypes } from "../container/safetensors.ts";
import type { TensorEntry, TensorTable } from "../container/table.ts";
import { ArtifactError } from "../errors.ts";
import { FAMILIES, openModelFolder } from "../models/families.ts";
import { f16ToNumber, numberToF16, toFloat32 } from "../tensor/dtype.ts";
import type { LibraryHost } from "./host.ts";
import { locateFiles } from "./locate.ts";

export interface PackTotals {
  readonly tensors: number;
  readonly weights: number;
  readonly overlayRows: number;
  /** Against the weights in fp16. */
  readonly maxAbsError: number;
  readonly rmsError: number;
  /** Weights of a wider type that fp16 doesn't hold, and the largest change to one. */
  readonly roundedWeights: number;
  readonly maxRounding: number;
  readonly bytes: number;
}

export interface PackRequest {
  /** Diffusers folder, Hugging Face id in the cache, or one safetensors file with the network's weights. */
  readonly model: string;
  /** The artifact's path; what is there is replaced once the new one is whole. */
  readonly output: string;
  readonly mode: Lzr2Mode;
}

/** Rejects with ArtifactError for a model that can't be read, BudgetError for a full disk, or the signal's reason. */
export async function packModel(
  host: LibraryHost,
  { model, output, mode }: PackRequest,
  signal: AbortSignal,
): Promise<PackTotals> {
  await using sources = new AsyncDisposableStack();
  const entries = await openWeights(host, model, sources, signal);
  return await host.replaceFile(host.absolute(output), (write) => writeArtifact(write, entries, mode, signal));
}

async function openWeights(
  host: LibraryHost,
  model: string,
  sources: AsyncDisposableStack,
  signal: AbortSignal,
): Promise<readonly TensorEntry[]> {
  const path = await locateFiles(host, model);
  if ((await host.kindOf(path)) === "file") {
    const source = sources.use(await host.openFile(path));
    const table = requireKnownDTypes(await readSafetensorsHeader(source, signal), model, "weights");
    const weights = unetOf(model, table);
    requirePackable(model, weights);
    return [...weights.values()];
  }
  const checkpoint = sources.use(await openModelFolder(await host.openFolder(path), { signal }));
  return [...checkpoint.components.get(checkpoint.artifactTarget.component)!.table.values()];
}

/** A file of several networks, or of another layout, has the one that artifacts overlay by diffusers' names. Throws ArtifactError `E_PACK`. */
function unetOf(file: string, table: TensorTable): TensorTable {
  const refuse = (problem: string) =>
    new ArtifactError({
      code: "E_PACK",
      subject: file,
      problem,
      next: "give a file with a UNet's weights, or a model folder",
    });
  for (const family of FAMILIES) {
    const foreign = family.foreignFile(table.values());
    if (foreign !== undefined) throw refuse(`this is ${foreign}`);
    const networks = family.networksIn(table, file);
    const { component } = family.baseArtifactTarget;
    if (networks.length === 0) {
      const alone = family.recognise(table)?.rules.component;
      const { folder } = family.components.find(({ id }) => id === component)!;
      if (alone !== undefined && alone !== folder) throw refuse(`it holds a ${alone}, and no ${component}`);
      continue;
    }
    const found = networks.find((network) => network.component === component);
    if (!found) throw refuse(`it holds ${networks.map(({ network }) => network).join(", ")}, and no ${component}`);
    return new Map([...found.table].map(([name, entry]) => [name, { ...entry, name }]));
  }
  return table;
}

const FLOATS: ReadonlySet<string> = new Set(["f16", "bf16", "f32", "f64"]);

/** Throws ArtifactError `E_PACK` for a file of another layout, or with tensors that LZR2 can't hold. */
function requirePackable(file: string, table: TensorTable): void {
  const refuse = (problem: string, next: string) => new ArtifactError({ code: "E_PACK", subject: file, problem, next });
  if (table.size === 0) throw refuse("it holds no tensors", "give a file with a UNet's weights, or a model folder");
  for (const { name, dtype, shape } of table.values()) {
    const shown = JSON.stringify(name.slice(0, 120));
    const next = "give a file with a UNet's weights alone";
    if (!FLOATS.has(dtype))
      throw refuse(`tensor ${shown} is ${dtype}, and LZR2 holds floating-point weights alone`, next);
    if (shape.length === 0 || shape.includes(0)) throw refuse(`tensor ${shown} of shape [${shape}] has no rows`, next);
  }
}

async function writeArtifact(
  write: (bytes: Uint8Array) => Promise<void>,
  entries: readonly TensorEntry[],
  mode: Lzr2Mode,
  signal: AbortSignal,
): Promise<PackTotals> {
  await write(LZR2_SIGNATURE);
  let [weights, overlayRows, maxAbsError, squares, bytes] = [0, 0, 0, 0, LZR2_SIGNATURE.byteLength];
  let [roundedWeights, maxRounding] = [0, 0];
  for (const entry of entries) {
    signal.throwIfAborted();
    const raw = new Uint8Array(entry.endByte - entry.startByte);
    await entry.source.read(entry.startByte, raw, signal);
    const values = entry.dtype === "f16" ? new Uint16Array(raw.buffer) : toFloat32(entry.dtype, raw);
    const record = await encodeLzr2Record({ key: entry.name, shape: entry.shape, values, mode });
    for (const chunk of record.chunks()) await write(chunk);
    if (values instanceof Float32Array) {
      for (const value of values) {
        const change = Math.abs(value - f16ToNumber(numberToF16(value)));
        if (change === 0) continue;
        roundedWeights++;
        maxRounding = Math.max(maxRounding, change);
      }
    }
    weights += record.stats.weights;
    overlayRows += record.stats.overlayRows;
    maxAbsError = Math.max(maxAbsError, record.stats.maxAbsError);
    squares += record.stats.rmsError ** 2 * record.stats.weights;
    bytes += record.byteLength;
  }
  const rmsError = Math.sqrt(squares / Math.max(1, weights));
  return { tensors: entries.length, weights, overlayRows, maxAbsError, rmsError, roundedWeights, maxRounding, bytes };
}
