/** @file The block store on this machine's disk. */

import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { DeviceError } from "../../errors.ts";
import type { Store, WriterLock } from "../../store/store.ts";
import { SYSTEM_CLOCK } from "../clock.ts";
import { measureDisk } from "./disk-speed.ts";
import { HASH_THREADS } from "./hashing.ts";
import { acquireLock } from "./lock.ts";
import { NODE_FS } from "./node-fs.ts";

/** `$SOLVAY_STORE`, or the user's cache folder. */
export function defaultStoreFolder(env: Readonly<Record<string, string | undefined>>): string {
  if (env.SOLVAY_STORE) return env.SOLVAY_STORE;
  return join(env.XDG_CACHE_HOME || join(homedir(), ".cache"), "solvay", "store");
}

/** A store on this machine's disk; its folders are made when something is written. */
export function nodeStore(folder: string): Store {
  const lockFile = join(folder, "writer.lock");
  const lock: WriterLock = async ({ signal, onWait }) => {
    const held = await acquireLock(lockFile, { clock: SYSTEM_CLOCK, signal, onWait });
    const own = await readFile(lockFile, "utf8").catch(() => "");
    return {
      async check() {
        if (own !== "" && (await readFile(lockFile, "utf8").catch(() => "")) === own) return;
        throw new DeviceError({
          code: "E_STORE_LOCK",
          subject: folder,
          problem: "another process took the store over while this one was stopped",
          next: "run it again: what was finished is kept",
        });
      },
      [Symbol.asyncDispose]: () => held[Symbol.asyncDispose](),
    };
  };
  return { folder, fs: NODE_FS, lock, measureDisk, hashThreads: HASH_THREADS };
}
