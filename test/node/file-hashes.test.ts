/** @file Hashes of models' files: computed once, remembered, written into pictures and found again by them. */
import assert from "node:assert/strict";
import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { settingsOfInfotext } from "../../src/job/infotext-settings.ts";
import { FileHashes } from "../../src/node/file-hashes.ts";
import { nodeLibraryHost } from "../../src/node/library-host.ts";
import { remakeOf } from "../../src/terminal/remake.ts";

const folder = () => mkdtempSync(path.join(tmpdir(), "solvay-hashes-"));
/** By `printf abc | sha256sum` and `printf abcd | sha256sum`. */
const [ABC, ABCD] = ["ba7816bf8f", "88d4266fd4"];

test("a hash is computed once a file, remembered while the file is the same, and forgotten with it", async () => {
  const state = folder();
  const file = path.join(folder(), "m.safetensors");
  writeFileSync(file, "abc");
  const hashes = new FileHashes(state);
  assert.equal(await hashes.known(file), undefined);
  assert.equal(await hashes.of(file), ABC);
  assert.equal(await new FileHashes(state).known(file), ABC);
  assert.equal(await hashes.fileWith(`${ABC.toUpperCase()}01`), file);
  assert.equal(await hashes.fileWith("ba7816"), undefined);
  const remembered = readFileSync(path.join(state, "file-hashes.json"), "utf8");
  assert.equal(await hashes.of(file), ABC);
  assert.equal(readFileSync(path.join(state, "file-hashes.json"), "utf8"), remembered);
  appendFileSync(file, "d");
  assert.equal(await hashes.known(file), undefined);
  assert.equal(await hashes.fileWith(ABC), undefined);
  assert.equal(await hashes.of(file), ABCD);
  renameSync(file, `${file}.gone`);
  assert.equal(await hashes.fileWith(ABCD), undefined);
  await assert.rejects(hashes.of(file), { code: "ENOENT" });
  writeFileSync(path.join(state, "file-hashes.json"), '{"/x":{"stamp":"1:1","sha256":"../"}}');
  assert.equal(await hashes.fileWith(ABC), undefined);
});

test("of a thousand hashes the oldest goes for a new one; what the file holds otherwise is no hash", async () => {
  const [state, home] = [folder(), folder()];
  const file = path.join(home, "m.safetensors");
  writeFileSync(file, "abc");
  const kept = path.join(state, "file-hashes.json");
  const entry = { stamp: "1:1", sha256: "0".repeat(64) };
  writeFileSync(kept, JSON.stringify(Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`/f${i}`, entry]))));
  const hashes = new FileHashes(state);
  await hashes.of(file);
  assert.equal(await hashes.known(file), ABC);
  const names = Object.keys(JSON.parse(readFileSync(kept, "utf8")));
  assert.deepEqual([names.length, names[0], names.at(-1)], [1000, "/f1", file]);
  const { stamp } = JSON.parse(readFileSync(kept, "utf8"))[file];
  for (const sha256 of ["../..", "0".repeat(63), "A".repeat(64), 5, null]) {
    writeFileSync(kept, JSON.stringify({ [file]: { stamp, sha256 } }));
    assert.equal(await hashes.known(file), undefined, `${sha256}`);
  }
  for (const text of ["[]", "null", '"abc"', "3", "{", ""]) {
    writeFileSync(kept, text);
    assert.equal(await hashes.known(file), undefined, text);
    assert.equal(await hashes.of(file), ABC);
    assert.deepEqual(Object.keys(JSON.parse(readFileSync(kept, "utf8"))), [file], text);
  }
});

test("a remake takes the file with the picture's hash, or says that the one of its name is another", async () => {
  const home = folder();
  const hashes = new FileHashes(folder());
  const host = nodeLibraryHost((name) => path.resolve(home, name), { SOLVAY_STORE: path.join(home, "store") });
  const settings = (hash: string) =>
    settingsOfInfotext(`a cat\nSteps: 2, Seed: 4, Size: 16x16, Model hash: ${hash}, Model: m, Version: v1.10.1`)!;
  assert.equal(settings(ABC).facts.modelHash, ABC);
  writeFileSync(path.join(home, "m.safetensors"), "abc");
  const same = await remakeOf(host, settings(ABC), {}, hashes);
  assert.equal(same.request.model, "m.safetensors");
  assert.ok(!same.reasons.some((reason) => /hash|taken by its name/.test(reason)), same.reasons.join());
  const other = await remakeOf(host, settings(ABCD), {}, hashes);
  assert.ok(other.reasons.includes(`its model's hash was ${ABCD}, that of m.safetensors here is ${ABC}`));
  mkdirSync(path.join(home, "elsewhere"));
  const moved = path.join(home, "elsewhere", "renamed.safetensors");
  writeFileSync(moved, "abcd");
  await hashes.of(moved);
  const found = await remakeOf(host, settings(ABCD), {}, hashes);
  assert.equal(found.request.model, moved);
  assert.ok(!found.reasons.some((reason) => reason.includes("hash")), found.reasons.join());
});
