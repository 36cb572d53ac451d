/** @file The formats on a browser's deflate streams and hashes: their own tests, run under the condition that a browser's bundler sets. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import path from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";

const UNIT = path.join(import.meta.dirname, "..", "unit");

for (const file of ["stored-blocks.test.ts", "png.test.ts", "lzr2.test.ts"]) {
  test(`${file} passes with --conditions=browser`, async () => {
    // A test runner inside another one reports to it otherwise.
    const env = { ...process.env, NODE_TEST_CONTEXT: undefined };
    const args = ["--conditions=browser", "--test-reporter=tap", path.join(UNIT, file)];
    const { stdout } = await promisify(execFile)(process.execPath, args, { env });
    assert.match(stdout, /^# pass [1-9]/m);
    assert.match(stdout, /^# fail 0$/m);
  });
}
