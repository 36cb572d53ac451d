/** @file `solvay grid` over models: each is opened once, whatever its axis, and every cell is the picture of its own. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { runCli } from "../../src/cli/program.ts";
import { openThreadlessEngine } from "../support/threadless-engine.ts";
import { fakeContext } from "./fake-context.ts";

const [FLAT, DEEP] = ["flat", "deep"].map((name) =>
  fileURLToPath(new URL(`../../fixtures/golden/${name}`, import.meta.url)),
);
const SMALL = ["--width", "32", "--height", "32", "--seed", "3", "--backend", "reference"];

test("models as columns, steps as rows: two openings, four cells, each as drawn by itself", async () => {
  const cwd = mkdtempSync(path.join(tmpdir(), "solvay-grid-"));
  const fake = fakeContext({ cwd });
  const opened: (string | undefined)[] = [];
  const context = {
    ...fake.context,
    openEngine: (options: Parameters<typeof openThreadlessEngine>[0]) => {
      opened.push(options?.model);
      return openThreadlessEngine(options);
    },
  };
  const axes = ["--x", `model=${FLAT},${DEEP}`, "--y", "steps=1,2"];
  assert.equal(await runCli(["grid", "x", ...axes, ...SMALL, "--cells", "--output", "g.png"], context), 0, fake.err());
  assert.deepEqual(opened, [FLAT, DEEP]);
  assert.match(fake.out(), /\nGrid: g\.png\n$/);
  const alone = ["generate", "x", "--model", DEEP!, "--steps", "2", ...SMALL, "--output", "alone.png"];
  assert.equal(await runCli(alone, context), 0, fake.err());
  assert.deepEqual(readFileSync(path.join(cwd, "g_004.png")), readFileSync(path.join(cwd, "alone.png")));
});
