/** @file What a store did to its disk, held against the rules by which no crash loses or mixes anything, and crashes themselves. */
import assert from "node:assert/strict";
import { importModel } from "../../src/store/import/import.ts";
import type { Store } from "../../src/store/store.ts";
import { type LogEntry, MemoryFs, memoryStore } from "./memory-store-fs.ts";
import { type Fixture, fixture, randomOf } from "./store-fixture.ts";

export const folderOf = (path: string) => path.slice(0, path.lastIndexOf("/"));

/** Holds the log from `from` on against the rules; returns how many times each was put to the test. */
export function requireOrder(fs: MemoryFs, from = 0): Record<string, number> {
  const counts: Record<string, number> = { published: 0, named: 0, journaled: 0, removed: 0 };
  const names = new Map<string, number>();
  /** Of each file: whether something is not on the disk yet. */
  const unsynced = new Map<number, LogEntry[]>();
  /** Of each folder: names that are not on the disk yet. */
  const loose = new Map<string, string[]>();
  const dirty = (inode: number) => unsynced.get(inode)?.length ?? 0;
  const change = (folder: string, what: string) => loose.set(folder, [...(loose.get(folder) ?? []), what]);
  for (const [i, entry] of fs.log.entries()) {
    const judged = i >= from;
    switch (entry.op) {
      case "create":
        names.set(entry.path, entry.inode);
        change(folderOf(entry.path), entry.path);
        break;
      case "write":
      case "truncate": {
        const path = [...names].find(([, inode]) => inode === entry.inode)?.[0];
        if (judged && entry.op === "write" && path?.endsWith("/journal")) {
          const text = new TextDecoder().decode(entry.bytes);
          // A line about a part stands behind all that it speaks of.
          for (const [part, inode] of names) {
            const [key] = /[^/]+(?=\.(part|placed)$)/.exec(part) ?? [];
            if (key === undefined || folderOf(part) !== folderOf(path)) continue;
            if (!text.includes(`"t":"block","key":"${key}"`) && !text.includes(`"t":"record","key":"${key}"`)) continue;
            assert.equal(dirty(inode), 0, `${part} is not on the disk when the journal speaks of it`);
            counts.journaled!++;
          }
        }
        unsynced.set(entry.inode, [...(unsynced.get(entry.inode) ?? []), entry]);
        break;
      }
      case "sync":
        unsynced.delete(entry.inode);
        break;
      case "rename": {
        const inode = names.get(entry.path)!;
        if (judged && /\.(pack|model)$/.test(entry.to)) {
          assert.equal(dirty(inode), 0, `${entry.to} gets its name before its content is on the disk`);
          counts.published!++;
          const journal = names.get(`${folderOf(entry.path)}/journal`);
          if (journal !== undefined)
            assert.equal(dirty(journal), 0, "the journal is to know of a pack before it has its name");
        }
        if (judged && entry.to.endsWith(".model")) {
          assert.deepEqual(loose.get("s/packs") ?? [], [], "a model names packs whose names are not on the disk");
          counts.named!++;
        }
        names.delete(entry.path);
        names.set(entry.to, inode);
        change(folderOf(entry.path), entry.path);
        change(folderOf(entry.to), entry.to);
        break;
      }
      case "remove":
        if (judged && entry.path.endsWith(".pack")) {
          const gone = (loose.get("s/models") ?? []).filter((path) => path.endsWith(".model"));
          assert.deepEqual(gone, [], "a pack goes before it is sure that no model has it");
          counts.removed!++;
        }
        names.delete(entry.path);
        change(folderOf(entry.path), entry.path);
        break;
      case "syncFolder":
        loose.delete(entry.path);
    }
  }
  // What an operation has told as done is on the disk.
  for (const folder of ["s/packs", "s/models"]) assert.deepEqual(loose.get(folder) ?? [], [], `names in ${folder}`);
  for (const [path, inode] of names) {
    if (/\.(pack|model)$/.test(path)) assert.equal(dirty(inode), 0, `content of ${path}`);
  }
  return counts;
}

/** A store with a base and a model over it, which shares some of its packs. */
export async function twoModels(): Promise<{
  fs: MemoryFs;
  store: Store;
  base: string;
  over: string;
  fixtures: [Fixture, Fixture];
}> {
  const fs = new MemoryFs();
  const store = memoryStore(fs);
  const fixtures: [Fixture, Fixture] = [fixture({ artifact: false }), fixture()];
  const { id: base } = await importModel(store, fixtures[0].request);
  const { id: over } = await importModel(store, fixtures[1].request);
  return { fs, store, base, over, fixtures };
}

/** Calls `check` with states that a crash may leave at any moment since `from`. */
export async function eachCrash(
  fs: MemoryFs,
  from: number,
  check: (after: MemoryFs, isEnd: boolean) => Promise<void>,
  rounds = 6,
): Promise<number> {
  const random = randomOf(17);
  let states = 0;
  for (let length = from; length <= fs.log.length; length++) {
    for (let round = 0; round < rounds; round++, states++) {
      // All that may be lost is lost, all that may be there is there, and mixtures.
      const draw = round === 0 ? () => 0 : round === 1 ? () => 0.999 : random;
      await check(fs.crashed(length, draw), length === fs.log.length);
    }
  }
  return states;
}
