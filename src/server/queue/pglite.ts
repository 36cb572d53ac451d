/** @file PGlite with the settings that a queue needs, and without what its compilers would take. */
import { setFlagsFromString } from "node:v8";
import type { PGlite } from "@electric-sql/pglite";

/** In place of PGlite's 128 MB: a queue of jobs fits many times over. */
const SETTINGS = ["shared_buffers=16MB", "max_wal_size=64MB", "min_wal_size=32MB"];
/**
 * V8 would compile the database's busiest functions again, and better, two seconds after it was opened: one of them takes 0.5 GB and a second of a
 * processor for that. The first code does for a queue. Nothing else of ours is WebAssembly.
 */
const FLAGS = ["--no-wasm-tier-up", "--no-wasm-dynamic-tiering"];

/** Opens the database in `folder`, or makes it, which takes 0.5 GB. Rejects with the system's errors. */
export async function openPglite(folder: string): Promise<PGlite> {
  for (const flag of FLAGS) setFlagsFromString(flag);
  const { PGlite } = await import("@electric-sql/pglite");
  const settings = SETTINGS.flatMap((setting) => ["-c", setting]);
  return await PGlite.create(folder, { startParams: [...PGlite.defaultStartParams, ...settings] });
}
