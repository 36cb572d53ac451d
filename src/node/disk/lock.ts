/**
 * @file One process at a time, among all that share a cache or a store. A lock file names its owner, which touches it every few
 * seconds; an owner that died is replaced. A lock may be taken over wrongly, from a process that was stopped for long: pulls write so
 * that this costs no more than a second download (hub/partial.ts), and the store checks its lock before it publishes.
 */

import { randomUUID } from "node:crypto";
import { mkdir, readdir, readFile, rename, stat, unlink, utimes, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { basename, dirname, join } from "node:path";
import type { Clock } from "../clock.ts";

export interface LockOptions {
  readonly clock: Clock;
  readonly signal?: AbortSignal | undefined;
  /** Called once, when another process holds the lock. */
  readonly onWait: (owner: string) => void;
}

const BEAT_MS = 5_000;
/** No sign of life for so long: the owner is gone, whatever machine it is on. */
const DEAD_AFTER_MS = 60_000;
const POLL_MS = 500;

/** Locks that this process holds: its own process id in a file says nothing about files of an earlier process. */
const held = new Set<string>();

/** Waits until the lock is ours. Rejects with the signal's reason. */
export async function acquireLock(file: string, { clock, signal, onWait }: LockOptions): Promise<AsyncDisposable> {
  const key = randomUUID();
  const text = JSON.stringify({ pid: process.pid, host: hostname(), key });
  await mkdir(dirname(file), { recursive: true });
  for (let waited = false; ; ) {
    signal?.throwIfAborted();
    held.add(key);
    try {
      await writeFile(file, text, { flag: "wx" });
      await removeAsides(file);
      return holdLock(file, key);
    } catch (error) {
      held.delete(key);
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
    const owner = await readOwner(file);
    if (owner === undefined) continue;
    if (owner.dead) {
      await removeIfOwned(file, owner.key);
      continue;
    }
    if (!waited) onWait(owner.name);
    waited = true;
    await clock.sleep(POLL_MS, signal).catch((cause: unknown) => {
      signal?.throwIfAborted();
      throw cause;
    });
  }
}

function holdLock(file: string, key: string): AsyncDisposable {
  const beat = setInterval(() => {
    const now = new Date();
    utimes(file, now, now).catch(() => {});
  }, BEAT_MS);
  beat.unref();
  return {
    async [Symbol.asyncDispose]() {
      clearInterval(beat);
      await removeIfOwned(file, key);
      held.delete(key);
    },
  };
}

interface Owner {
  /** See keyOf. */
  readonly key: string;
  readonly name: string;
  readonly dead: boolean;
}

/** Undefined when the lock is gone by now. */
async function readOwner(file: string): Promise<Owner | undefined> {
  const text = await readFile(file, "utf8").catch(() => undefined);
  const info = await stat(file).catch(() => undefined);
  if (text === undefined || info === undefined) return undefined;
  const { pid, host, key: ownKey } = parseOwner(text);
  const key = keyOf(text);
  const silent = isSilent(info.mtimeMs);
  if (typeof pid !== "number" || typeof ownKey !== "string") return { key, name: "another program", dead: silent };
  const here = host === hostname();
  const gone = here && (pid === process.pid ? !held.has(key) : !isRunning(pid));
  return { key, name: here ? `process ${pid}` : `process ${pid} on another machine`, dead: silent || gone };
}

function parseOwner(text: string): { readonly pid?: unknown; readonly host?: unknown; readonly key?: unknown } {
  try {
    return (JSON.parse(text) ?? {}) as object;
  } catch {
    return {};
  }
}

/** What a lock file is known by: its key, or the whole text where it has none. */
function keyOf(text: string): string {
  const { key } = parseOwner(text);
  return typeof key === "string" ? key : text;
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** Between reading and removing, another process may have done the same and locked: what was moved aside is looked at again. */
async function removeIfOwned(file: string, key: string): Promise<void> {
  const aside = `${file}.${randomUUID()}`;
  const current = await readFile(file, "utf8").catch(() => undefined);
  if (current === undefined || keyOf(current) !== key) return;
  try {
    await rename(file, aside);
  } catch {
    return;
  }
  const moved = await readFile(aside, "utf8").catch(() => "");
  if (keyOf(moved) === key) await unlink(aside).catch(() => {});
  else await rename(aside, file).catch(() => {});
}

/**
 * What `removeIfOwned` moved aside and was killed before it could remove. One that shows a sign of life may be a lock that is looked
 * at just now.
 */
async function removeAsides(file: string): Promise<void> {
  const prefix = `${basename(file)}.`;
  for (const name of await readdir(dirname(file)).catch(() => [])) {
    if (!name.startsWith(prefix) || !UUID.test(name.slice(prefix.length))) continue;
    const aside = join(dirname(file), name);
    const info = await stat(aside).catch(() => undefined);
    if (info && isSilent(info.mtimeMs)) await unlink(aside).catch(() => {});
  }
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

function isSilent(mtimeMs: number): boolean {
  return Date.now() - mtimeMs > DEAD_AFTER_MS;
}
