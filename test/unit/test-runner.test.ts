/** @file The runner of tests itself: a hang, an early end and what a file leaves running are failures with names. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { type FileResult, runFile } from "../../scripts/test/file-run.ts";

/** `body`: the file's text after the import of node:test. */
async function resultOf(body: string, limitMs = 60_000): Promise<FileResult> {
  const folder = mkdtempSync(path.join(tmpdir(), "solvay-runner-"));
  try {
    const file = path.join(folder, "x.test.mjs");
    writeFileSync(file, `import { describe, test } from "node:test"; import assert from "node:assert";\n${body}`);
    // node --test sets this for its files; a file under it reports to that run instead of ours.
    const { NODE_TEST_CONTEXT: _, ...env } = process.env;
    return await runFile(file, { cwd: folder, env, folder, limitMs });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

test("tests that pass, fail and are skipped are counted and placed; suites are not", async () => {
  const found = await resultOf(`describe("suite", () => { test("a", () => {}); });
    test("b", async (t) => { await t.test("inner", () => assert.equal(1, 2)); });
    test("c", (t) => t.skip("no adapter"));
    test("d", { skip: true }, () => {});`);
  assert.equal(found.passed, 1);
  assert.deepEqual(
    found.failures.map(({ where }) => where),
    ["3 inner"],
  );
  assert.match(found.failures[0]!.error, /1 == 2/);
  assert.deepEqual(found.skips, [
    { where: "4 c", reason: "no adapter" },
    { where: "5 d", reason: "no reason given" },
  ]);
  assert.ok(found.cpuSeconds! > 0);
});

test("a file's CPU time is that of the processes it started too", { skip: process.platform !== "linux" }, async () => {
  const spin = "for (let used = 0; used < 6e5; used = process.cpuUsage().user + process.cpuUsage().system);";
  const found = await resultOf(`import { spawnSync } from "node:child_process";
    test("a", () => { spawnSync(process.execPath, ["-e", ${JSON.stringify(spin)}]); });`);
  assert.deepEqual(found.failures, []);
  assert.ok(found.cpuSeconds! >= 0.6);
});

test("a test that never lets go of the thread is killed and named", async () => {
  const found = await resultOf(
    `test("outer", async (t) => { await t.test("blocks", () => { Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0); }); });`,
    4000,
  );
  assert.deepEqual(
    found.failures.map(({ error }) => error),
    ['no end after 4 seconds: killed while "outer > blocks" ran'],
  );
});

test("what keeps the process alive after the last test is a hang too", async () => {
  const found = await resultOf(`test("a", () => { setInterval(() => {}, 1000); });`, 4000);
  assert.deepEqual(
    found.failures.map(({ error }) => error),
    ['no end after 4 seconds: killed after "a"'],
  );
});

test("a file that ends in the middle, or before its first test, has failed", async () => {
  const early = await resultOf(`test("a", () => { process.exit(0); });`);
  assert.match(early.failures.at(-1)!.error, /^exit code 0 while "a" ran$/);
  const broken = await resultOf("throw new Error('no such module');");
  assert.ok(broken.failures.length > 0);
});

test("a rejection that nobody handles, and an error out of a timer, fail the test that runs", async () => {
  const found = await resultOf(`const rest = () => new Promise((resolve) => setTimeout(resolve, 20));
    test("a", async () => { void (async () => { await null; throw new Error("stray 1"); })(); await rest(); });
    test("b", async () => { setTimeout(() => { throw new Error("stray 2"); }); await rest(); });
    test("c", rest);`);
  assert.deepEqual(
    found.failures.map(({ where, error }) => [where, /stray \d/.exec(error)?.[0]]),
    [
      ["0 a", "stray 1"],
      ["4 b", "stray 2"],
    ],
  );
});
