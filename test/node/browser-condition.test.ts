/** @file The formats on a browser's deflate streams and hashes: their own tests, run under the condition that a browser's bundler sets. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import path from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";

const UNIT = path.join(import.meta.dirname, "..", "unit");
const FILES = ["stored-blocks.test.ts", "png.test.ts", "lzr2.test.ts"];
/** Arithmetic: it neither packs nor hashes. */
const ALIKE = "^fp32 bits to fp16 bits|^arithmetic is fp32";

test(`${FILES.join(", ")} pass with --conditions=browser`, async () => {
  // A test runner inside another one reports to it otherwise.
  const env = { ...process.env, NODE_TEST_CONTEXT: undefined };
  const args = ["--conditions=browser", "--test", "--test-isolation=none", "--test-reporter=tap"];
  const skips = `--test-skip-pattern=${ALIKE}`;
  const files = FILES.map((file) => path.join(UNIT, file));
  const { stdout } = await promisify(execFile)(process.execPath, [...args, skips, ...files], { env });
  for (const name of ["a segment's block comes whole", "pixels come back", "lossless records give"])
    assert.match(stdout, new RegExp(`^ok .*${name}`, "m"));
  assert.match(stdout, /^# fail 0$/m);
});
