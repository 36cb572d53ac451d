/** @file Files that are whole or not there: whatever fails, a folder holds afterwards what it held before, and errors name no hidden file. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { createFile, replaceFile, tryFolder } from "../../src/node/disk/atomic-file.ts";
import { madeFolder } from "../support/made-folder.ts";

const broken = new Error("the picture broke");

for (const durable of [true, false]) {
  test(`${durable ? "durable" : "not durable"}: a file is whole, or as it was`, async (t) => {
    const folder = madeFolder(t, { a: "old" });
    const inside = () => readdirSync(folder).map((name) => [name, readFileSync(path.join(folder, name), "utf8")]);
    const target = path.join(folder, "a");
    const half = async (file: { writeFile(text: string): Promise<void> }) => {
      await file.writeFile("ha");
      assert.deepEqual(readFileSync(target, "utf8"), "old");
      throw broken;
    };
    await assert.rejects(replaceFile(target, half, { durable }), broken);
    await assert.rejects(createFile(folder, ["b"], half, { durable }), broken);
    // All names are taken: nothing is written over.
    await assert.rejects(
      createFile(folder, ["a"], (file) => file.writeFile("new"), { durable }),
      /no name is free/,
    );
    assert.deepEqual(inside(), [["a", "old"]]);
    assert.equal(await createFile(folder, ["a", "b", "c"], (file) => file.writeFile("new"), { durable }), "b");
    const filled = await replaceFile(
      target,
      async (file) => {
        await file.writeFile("newer");
        return 5;
      },
      { durable },
    );
    assert.equal(filled, 5);
    assert.deepEqual(inside().toSorted(), [
      ["a", "newer"],
      ["b", "new"],
    ]);
  });
}

test("a folder that takes files is left as it was; one that isn't there is named, and not what was tried in it", async (t) => {
  const folder = madeFolder(t, { a: "old" });
  await tryFolder(folder);
  assert.deepEqual(readdirSync(folder), ["a"]);
  const gone = path.join(folder, "gone");
  const target = path.join(gone, "b");
  for (const [named, call] of [
    [gone, () => tryFolder(gone)],
    [gone, () => createFile(gone, ["b"], async () => undefined)],
    [target, () => replaceFile(target, async () => undefined)],
  ] as const) {
    await assert.rejects(call, (error: NodeJS.ErrnoException) => {
      assert.deepEqual([error.code, error.path, error.syscall], ["ENOENT", named, "open"]);
      assert.ok(error.message.includes(`'${named}'`) && !error.message.includes(".partial"), error.message);
      return true;
    });
  }
});
