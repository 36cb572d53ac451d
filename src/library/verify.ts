/** @file Does a folder or a file hold a whole, sound SDXL? Reads everything once and lists all that is wrong. */
import { stat } from "node:fs/promises";
import { readLzr2 } from "../container/lzr2.ts";
import { readSafetensorsHeader } from "../container/safetensors.ts";
import { sniffContainer } from "../container/sniff.ts";
import type { TensorEntry, TensorTable } from "../container/table.ts";
import { SolvayError } from "../errors.ts";
import { unetSchema } from "../model/unet.ts";
import { openFileSource } from "../source/file.ts";
import { openFileFolder } from "../source/file-folder.ts";
import type { ByteSource } from "../source/source.ts";
import { firstNonFinite } from "../tensor/finite.ts";
import { rulesForFile } from "./component-file.ts";
import { compareWithSchema, quoteFirst, type Schema } from "./schema.ts";
import { SDXL_BASE_UNET } from "./sdxl-base.ts";
import { openSdxlFolder } from "./sdxl-folder.ts";

export interface VerifyReport {
  readonly ok: boolean;
  /** One line each. */
  readonly problems: readonly string[];
  readonly summary: string;
}

export interface VerifyOptions {
  readonly signal?: AbortSignal;
  /** What an LZR2 file's keys are held against: the model it overlays. Default: SDXL base 1.0. */
  readonly unetSchema?: Schema;
}

/** A file of several: its name says so, and what it lacks is in the others. */
const SHARD = /-\d{5}-of-\d{5}\b/;

/** Never rejects for what is wrong with the files: that is the report. */
export async function verifyPath(path: string, options: VerifyOptions = {}): Promise<VerifyReport> {
  try {
    const info = await stat(path).catch(() => undefined);
    if (info?.isDirectory()) return await verifyFolder(path, options.signal);
    await using source = await openFileSource(path);
    const kind = await sniffContainer(source, options.signal);
    if (kind === "lzr2") return await verifyLzr2(source, options);
    const { table } = await readSafetensorsHeader(source, options.signal);
    const found = await rulesForFile(path, table);
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

async function verifyFolder(path: string, signal?: AbortSignal): Promise<VerifyReport> {
  await using checkpoint = await openSdxlFolder(await openFileFolder(path), signal);
  const problems: string[] = [];
  let tensors = 0;
  for (const { table } of [checkpoint.textEncoder, checkpoint.textEncoder2, checkpoint.unet, checkpoint.vae]) {
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
  const schema = options.unetSchema ?? unetSchema(SDXL_BASE_UNET);
  const missing = new Set(schema.keys());
  const strange: string[] = [];
  const problems: string[] = [];
  let records = 0;
  let skippedRows = 0;
  for await (const record of readLzr2(source, {
    compat: false,
    ...(options.signal ? { signal: options.signal } : {}),
  })) {
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
