/** @file What killed processes leave behind goes with the next one that writes: half-published files, a repair's folder, locks moved aside. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { mkdir, mkdtemp, readdir, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { nodeStore } from "../../src/node/disk/node-store.ts";
import { importModel } from "../../src/store/import/import.ts";
import { cleanStore, removeModel } from "../../src/store/removal.ts";
import { repairModel } from "../../src/store/repair.ts";
import { modelIds } from "../../src/store/store.ts";
import { fixture } from "../unit/store-fixture.ts";

let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "solvay-leftovers-"));
});
after(() => rm(folder, { recursive: true, force: true }));

const HOUR_S = 3600;
const OTHER = "0".repeat(64);

test("each command that writes tidies up", async () => {
  const store = nodeStore(join(folder, "store"));
  const { request } = fixture();
  await importModel(store, request);
  const id = (await modelIds(store))[0]!;
  const sound = (await readdir(store.folder, { recursive: true })).sort();
  const commands = {
    import: () => importModel(store, fixture({ packed: "on" }).request),
    repair: () => repairModel(store, id, () => assert.fail("nothing is damaged")),
    clean: () => cleanStore(store),
    remove: () => removeModel(store, id),
  };
  for (const [name, command] of Object.entries(commands)) {
    const old = [`models/${OTHER}.model.partial`, "imports/repair/block.part", `writer.lock.${randomUUID()}`];
    for (const file of old) {
      await mkdir(dirname(join(store.folder, file)), { recursive: true });
      await writeFile(join(store.folder, file), "left");
    }
    const hourAgo = Date.now() / 1000 - HOUR_S;
    await utimes(join(store.folder, old[2]!), hourAgo, hourAgo);
    await command();
    const left = await readdir(store.folder, { recursive: true });
    assert.deepEqual(
      left.filter((file) => /partial|repair|lock/.test(file)),
      [],
      name,
    );
    if (name === "repair")
      assert.ok(
        sound.every((file) => left.includes(file)),
        name,
      );
  }
});

test("a lock that is moved aside just now, and files of other names, stay", async () => {
  const store = nodeStore(join(folder, "aside"));
  const names = [`writer.lock.${randomUUID()}`, "writer.lock.mine", `other.lock.${randomUUID()}`];
  await mkdir(store.folder, { recursive: true });
  for (const name of names) await writeFile(join(store.folder, name), "alive");
  for (const name of names.slice(1)) await utimes(join(store.folder, name), 1, 1);
  await cleanStore(store);
  assert.deepEqual((await readdir(store.folder)).sort(), names.toSorted());
});
