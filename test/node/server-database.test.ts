/** @file The embedded database: its folder is made whole by another process or not at all, and opening it takes no more memory than is counted. */
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { openEmbedded } from "../../src/server/queue/database.ts";
import { makeDatabaseFolder } from "../../src/server/queue/database-folder.ts";
import { serverFolder } from "../support/server.ts";

const folders: string[] = [];
after(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

test("a folder that can't be made is said so, with the reason (E_DATABASE), and nothing is left of it", async () => {
  const folder = mkdtempSync(path.join(tmpdir(), "solvay-database-"));
  folders.push(folder);
  writeFileSync(path.join(folder, "file"), "");
  await assert.rejects(makeDatabaseFolder(path.join(folder, "file", "database")), {
    code: "E_DATABASE",
    message: /E_DATABASE .*the database can't be made \((ENOTDIR|EEXIST).*Next: make sure/,
  });
  assert.ok(!existsSync(path.join(folder, "file.new")));
});

test("opening it, and the two seconds after, take no more than a server counts for it", async () => {
  const folder = await serverFolder();
  folders.push(folder);
  const before = process.resourceUsage().maxRSS * 1024;
  await using database = await openEmbedded(path.join(folder, "database"));
  // V8 would begin to compile again what was used most.
  for (let i = 0; i < 300; i++) await database.query("select $1::int + 1 as next", [i]);
  await delay(2000);
  const grown = process.resourceUsage().maxRSS * 1024 - before;
  assert.ok(grown < database.ownBytes, `${Math.round(grown / 2 ** 20)} MiB`);
});
