/** @file What a program does to files, in its order: what must be on the disk before a name leads to it. */
import fs from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import path from "node:path";
import type { TestContext } from "node:test";

export interface FileEvent {
  readonly what: "write" | "sync" | "name" | "remove";
  /** Of "name": the new name. */
  readonly path: string;
  /** Of "name": the old one. */
  readonly from?: string;
}

/** Everything that node:fs/promises is asked from now to the end of the test. Syncing is noted, not done. */
export async function traceFiles(t: TestContext): Promise<FileEvent[]> {
  const events: FileEvent[] = [];
  const paths = new WeakMap<object, string>();
  const probe = await fs.open(import.meta.filename);
  const handles = Object.getPrototypeOf(probe) as fs.FileHandle;
  await probe.close();
  const pathOf = (handle: object) => paths.get(handle) ?? "?";
  const { open, rename, link, symlink, unlink, writeFile } = fs;
  t.mock.method(fs, "open", async (...args: Parameters<typeof open>) => {
    const handle = await open(...args);
    paths.set(handle, String(args[0]));
    return handle;
  });
  const named = (operation: typeof rename) => async (from: string, to: string) => {
    await operation(from, to);
    events.push({ what: "name", path: to, from });
  };
  t.mock.method(fs, "rename", named(rename as typeof rename));
  t.mock.method(fs, "link", named(link));
  t.mock.method(fs, "symlink", async (target: string, at: string, type?: string) => {
    await symlink(target, at, type);
    events.push({ what: "name", path: at });
  });
  t.mock.method(fs, "unlink", async (at: string) => {
    await unlink(at);
    events.push({ what: "remove", path: at });
  });
  t.mock.method(fs, "writeFile", async (...args: Parameters<typeof writeFile>) => {
    await writeFile(...args);
    const [at] = args;
    events.push({ what: "write", path: typeof at === "string" ? at : pathOf(at as object) });
  });
  for (const method of ["write", "writeFile", "writev"] as const) {
    const original = handles[method] as (...args: unknown[]) => Promise<unknown>;
    t.mock.method(handles, method, function (this: object, ...args: unknown[]) {
      events.push({ what: "write", path: pathOf(this) });
      return original.apply(this, args);
    });
  }
  for (const method of ["sync", "datasync"] as const) {
    t.mock.method(handles, method, async function (this: object) {
      events.push({ what: "sync", path: pathOf(this) });
    });
  }
  syncBuiltinESMExports();
  t.after(() => {
    t.mock.restoreAll();
    syncBuiltinESMExports();
  });
  return events;
}

/** Where `path` got its name; of several times the last. */
export function namedAt(events: readonly FileEvent[], path: string): number {
  return events.findLastIndex((event) => event.what === "name" && event.path === path);
}

/** What had not reached the disk when event `at` happened: files written to, and folders with new names, since they were synced. */
export function unsyncedBefore(events: readonly FileEvent[], at: number): string[] {
  const dirty = new Set<string>();
  for (const event of events.slice(0, at)) {
    if (event.what === "write") dirty.add(event.path);
    if (event.what === "sync" || event.what === "remove") dirty.delete(event.path);
    if (event.what !== "name") continue;
    const { from } = event;
    if (from !== undefined && dirty.delete(from)) dirty.add(event.path);
    dirty.add(path.dirname(event.path));
  }
  return [...dirty].sort();
}
