/** @file Does a folder or a file hold a whole, sound model? Reads everything once and lists all that is wrong. */
import { compareWithSchema, quoteFirst, type Schema } from "../checkpoint/schema.ts";
import { readLzr2 } from "../container/lzr2.ts";
import { readSafetensorsHeader } from "../container/safetensors.ts";
import { sniffContainer } from "../container/sniff.ts";
import type { TensorEntry, TensorTable } from "../container/table.ts";
import { SolvayError } from "../errors.ts";
import { FAMILIES, openModelFolder } from "../models/families.ts";
import type { RecognisedNetwork } from "../models/family.ts";
import type { ByteSource } from "../source/source.ts";
import { firstNonFinite } from "../tensor/finite.ts";
import type { LibraryHost } from "./host.ts";

export interface VerifyReport {
  readonly ok: boolean;
  /** One line each. */
  readonly problems: readonly string[];
  readonly summary: string;
}

export interface VerifyOptions {
  readonly signal?: AbortSignal | undefined;
  /** What an LZR2 file's keys are held against: the model it overlays. Default: the first family's base model. */
  readonly artifactSchema?: Schema;
}

/** A file of several: its name says so, and what it lacks is in the others. */
const SHARD = /-\d{5}-of-\d{5}\b/;

/** Never rejects for what is wrong with the files: that is the report. */
export async function verifyPath(host: LibraryHost, path: string, options: VerifyOptions = {}): Promise<VerifyReport> {
  try {
    if ((await host.kindOf(path)) === "folder") return await verifyFolder(host, path, options.signal);
    await using source = await host.openFile(path);
    const kind = await sniffContainer(source, options.signal);
    if (kind === "lzr2") return await verifyLzr2(source, options);
    const { table } = await readSafetensorsHeader(source, options.signal);
    const found = await recognise(host, path, table);
    const problems = found
      ? compareWithSchema(table, found.rules, SHARD.test(path)).problems
      : ["none of its tensors is SDXL's"];
    problems.push(...(await weighTable(table, options.signal)));
    return report(problems, `${table.size} tensors${found ? ` of ${found.network}` : ""} in ${path}`);
  } catch (error) {
    if (!(error instanceof SolvayError)) throw error;
    return { ok: false, problems: [error.message], summary: `${path} can't be read` };
  }
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
  return report(problems, `${tensors} tensors of an SDXL in ${path}`);
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

async function verifyLzr2(source: ByteSource, options: VerifyOptions): Promise<VerifyReport> {
  const schema = options.artifactSchema ?? FAMILIES[0].baseArtifactTarget.schema;
  const missing = new Set(schema.keys());
  const strange: string[] = [];
  const problems: string[] = [];
  let records = 0;
  let skippedRows = 0;
  for await (const record of readLzr2(source, { compat: false, signal: options.signal })) {
    records++;
    skippedRows += record.skippedOverlayRows;
    const expected = schema.get(record.key);
    if (!expected) strange.push(record.key);
    else if (expected.join() !== record.shape.join()) {
      problems.push(`record "${record.key}": shape [${record.shape}] expected [${expected}]`);
    }
    missing.delete(record.key);
  }
  if (strange.length > 0)
    problems.push(`${strange.length} records are no UNet parameters, first ${quoteFirst(strange)}`);
  if (missing.size > 0) {
    const first = quoteFirst([...missing]);
    problems.push(`${missing.size} keys missing, first ${first}: the file may be cut at a record boundary`);
  }
  if (skippedRows > 0) problems.push(`${skippedRows} overlay rows lie outside of their matrix and are skipped`);
  return report(problems, `${records} records in ${source.name}`);
}

function report(problems: readonly string[], what: string): VerifyReport {
  const ok = problems.length === 0;
  return { ok, problems, summary: ok ? `${what}: all sound` : `${what}: ${problems.length} problems` };
}
