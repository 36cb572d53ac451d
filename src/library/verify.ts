/** @file Does a folder or a file hold a whole, sound model? Reads everything once and lists all that is wrong. */
import { compareWithSchema, quoteFirst, type Schema } from "../checkpoint/schema.ts";
import { weightTable } from "../checkpoint/weight-header.ts";
import { readLzr2 } from "../container/lzr2.ts";
import { readSafetensorsHeader } from "../container/safetensors.ts";
import { sniffContainer } from "../container/sniff.ts";
import type { TensorEntry, TensorTable } from "../container/table.ts";
import { SolvayError } from "../errors.ts";
import { FAMILIES, openModelFolder } from "../models/families.ts";
import type { Family } from "../models/family.ts";
import type { RecognisedNetwork } from "../models/recognised.ts";
import type { ByteSource } from "../source/source.ts";
import { firstNonFinite } from "../tensor/finite.ts";
import type { LibraryHost } from "./host.ts";
import { locateFiles } from "./locate.ts";
import { openRefinerAt, refinerFamilyAt } from "./model-files.ts";

export interface VerifyReport {
  readonly ok: boolean;
  /** One line each. */
  readonly problems: readonly string[];
  /** What is odd but no fault, one line each. */
  readonly notes: readonly string[];
  readonly summary: string;
}

export interface VerifyOptions {
  readonly signal?: AbortSignal | undefined;
  /** The model that an LZR2 file is for: a folder or a Hugging Face id. Default: of those that are here the one that it fits best. */
  readonly model?: string | undefined;
}

/** A file of several: its name says so, and what it lacks is in the others. */
const SHARD = /-\d{5}-of-\d{5}\b/;

/**
 * `name`: a file, a folder, or a Hugging Face id in the cache. What is wrong with its files is the report; rejects with ArtifactError where
 * `options.model` isn't there.
 */
export async function verifyPath(host: LibraryHost, name: string, options: VerifyOptions = {}): Promise<VerifyReport> {
  if (options.model !== undefined) await locateFiles(host, options.model);
  try {
    const path = await locateFiles(host, name);
    const isFolder = (await host.kindOf(path)) === "folder";
    const family = await refinerFamilyAt(host, path, options.signal);
    if (family) return await verifyRefiner(host, family, path, options.signal);
    if (isFolder) return await verifyFolder(host, path, options.signal);
    await using source = await host.openFile(path);
    const kind = await sniffContainer(source, options.signal);
    if (kind === "lzr2") return await verifyLzr2(host, source, options);
    return await verifyWeights(host, source, path, options.signal);
  } catch (error) {
    if (!(error instanceof SolvayError)) throw error;
    return { ok: false, problems: [error.message], notes: [], summary: `${name} can't be read` };
  }
}

async function verifyWeights(
  host: LibraryHost,
  source: ByteSource,
  path: string,
  signal: AbortSignal | undefined,
): Promise<VerifyReport> {
  const header = await readSafetensorsHeader(source, signal);
  const stored = [...header.table.values(), ...header.foreign.values()];
  const foreign = firstOf((family) => family.foreignFile(stored));
  if (foreign !== undefined) return report([`this is ${foreign}`], `${stored.length} tensors in ${path}`);
  const table = await weightTable(header, path, signal);
  const problems: string[] = [];
  const notes: string[] = [];
  const parts = firstOf((family) => {
    const networks = family.networksIn(table, path);
    return networks.length > 0 ? networks : undefined;
  });
  const alone = parts ? undefined : await recognise(host, path, table);
  const networks = parts ?? (alone ? [{ ...alone, table }] : []);
  for (const { network, rules, table: part } of networks) {
    if (!rules) {
      problems.push(`${network} is not as wide as SDXL base's, so that the file alone doesn't say what it must hold`);
      continue;
    }
    const compared = compareWithSchema(part, rules, SHARD.test(path));
    problems.push(...compared.problems);
    notes.push(...compared.notes);
  }
  if (networks.length === 0) problems.push("none of its tensors is SDXL's");
  problems.push(...(await weighTable(table, signal)));
  const words = networks.map(({ network }) => network).join(", ");
  return report(problems, `${stored.length} tensors${words === "" ? "" : ` of ${words}`} in ${path}`, notes);
}

function firstOf<T>(find: (family: Family) => T | undefined): T | undefined {
  for (const family of FAMILIES) {
    const found = find(family);
    if (found !== undefined) return found;
  }
  return undefined;
}

async function recognise(host: LibraryHost, path: string, table: TensorTable): Promise<RecognisedNetwork | undefined> {
  const beside = await host.readBeside(path, "config.json");
  for (const family of FAMILIES) {
    const found = family.recognise(table, beside && { folder: beside.folder, config: beside.text });
    if (found) return found;
  }
  return undefined;
}

async function verifyFolder(host: LibraryHost, path: string, signal?: AbortSignal): Promise<VerifyReport> {
  await using checkpoint = await openModelFolder(await host.openFolder(path), { signal });
  const problems: string[] = [];
  let tensors = 0;
  for (const { id, onDemand } of checkpoint.family.components) {
    if (onDemand) continue;
    const { table } = checkpoint.components.get(id)!;
    problems.push(...(await weighTable(table, signal)));
    tensors += table.size;
  }
  return report(problems, `${tensors} tensors of an SDXL in ${path}`, checkpoint.notes);
}

async function verifyRefiner(
  host: LibraryHost,
  family: Family,
  path: string,
  signal?: AbortSignal,
): Promise<VerifyReport> {
  await using owned = new AsyncDisposableStack();
  const refiner = owned.use(await openRefinerAt(host, family, path, { owned, signal }));
  const problems: string[] = [];
  let tensors = 0;
  for (const { table } of refiner.components.values()) {
    problems.push(...(await weighTable(table, signal)));
    tensors += table.size;
  }
  return report(problems, `${tensors} tensors of an SDXL refiner in ${path}`);
}

/** Reads every tensor once and lists those with NaN or infinities. */
async function weighTable(table: TensorTable, signal?: AbortSignal): Promise<string[]> {
  const problems: string[] = [];
  for (const entry of table.values()) {
    const bad = firstNonFinite(entry.dtype, await tensorBytes(entry, signal));
    if (bad) problems.push(`tensor "${entry.name}": ${bad.count} values are NaN or infinite, first at ${bad.index}`);
  }
  return problems;
}

async function tensorBytes(entry: TensorEntry, signal?: AbortSignal): Promise<Uint8Array> {
  const bytes = new Uint8Array(entry.endByte - entry.startByte);
  await entry.source.read(entry.startByte, bytes, signal);
  return bytes;
}

/** A model that an artifact may be for. */
interface ArtifactBase {
  readonly name: string;
  readonly schema: Schema;
}

async function verifyLzr2(host: LibraryHost, source: ByteSource, options: VerifyOptions): Promise<VerifyReport> {
  const shapes = new Map<string, readonly number[]>();
  let records = 0;
  let skippedRows = 0;
  for await (const record of readLzr2(source, { compat: false, signal: options.signal })) {
    records++;
    skippedRows += record.skippedOverlayRows;
    shapes.set(record.key, record.shape);
  }
  const fitting = ({ schema }: ArtifactBase) =>
    [...shapes].filter(([key, shape]) => schema.get(key)?.join() === shape.join()).length;
  const bases = await basesOf(host, options);
  const base = bases.reduce((best, next) => (fitting(next) > fitting(best) ? next : best));
  const problems: string[] = [];
  const strange: string[] = [];
  for (const [key, shape] of shapes) {
    const expected = base.schema.get(key);
    if (!expected) strange.push(key);
    else if (expected.join() !== shape.join())
      problems.push(`record "${key}": shape [${shape}] expected [${expected}]`);
  }
  const missing = [...base.schema.keys()].filter((key) => !shapes.has(key));
  if (strange.length > 0)
    problems.push(`${strange.length} records are no UNet parameters, first ${quoteFirst(strange)}`);
  if (missing.length > 0) {
    problems.push(
      `${missing.length} keys missing, first ${quoteFirst(missing)}: the file may be cut at a record boundary`,
    );
  }
  if (skippedRows > 0) problems.push(`${skippedRows} overlay rows lie outside of their matrix and are skipped`);
  return report(problems, `${records} records in ${source.name}, held against ${base.name}`);
}

/** The model that is named, else a family's base model and the embedded demo. */
async function basesOf(
  host: LibraryHost,
  { model, signal }: VerifyOptions,
): Promise<readonly [ArtifactBase, ...ArtifactBase[]]> {
  const opened = async (name: string, path: string): Promise<ArtifactBase> => {
    await using checkpoint = await openModelFolder(await host.openFolder(path), { signal });
    return { name, schema: checkpoint.artifactTarget.schema };
  };
  if (model !== undefined) return [await opened(model, await locateFiles(host, model))];
  const { schema } = FAMILIES[0].baseArtifactTarget;
  return [{ name: "SDXL base 1.0", schema }, await opened("the demo model", host.demoModel)];
}

function report(problems: readonly string[], what: string, notes: readonly string[] = []): VerifyReport {
  const ok = problems.length === 0;
  const count = problems.length === 1 ? "1 problem" : `${problems.length} problems`;
  return { ok, problems, notes, summary: `${what}: ${ok ? "all sound" : count}` };
}
