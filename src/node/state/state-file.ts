/** @file Small JSON files that outlive the process, shared by processes: replaced whole, and empty when damaged. */
import { mkdir, readFile } from "node:fs/promises";
import path from "node:path";
import { isJsonObject, type JsonObject } from "../../source/json-fields.ts";
import { replaceFile } from "../disk/atomic-file.ts";

/** What the file holds; undefined where it is missing or damaged. The caller checks it. */
export async function readStateFile(file: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(file, "utf8"));
  } catch {
    return undefined;
  }
}

export async function writeStateFile(file: string, value: unknown): Promise<void> {
  await mkdir(path.dirname(file), { recursive: true });
  // A crash of the machine may lose it: rates are learned again, and rebuilds of the last minute mean nothing after one.
  await replaceFile(file, (handle) => handle.writeFile(JSON.stringify(value)), { durable: false });
}

/** The same, where the file should hold an object; empty where it doesn't. */
export async function readStateRecord(file: string): Promise<JsonObject> {
  const value = await readStateFile(file);
  return isJsonObject(value) ? value : {};
}

export function isPositive(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value) && value > 0;
}
