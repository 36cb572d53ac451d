/** @file Imports point down only: a folder may import those of a lower layer, and itself. */
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { dirname, relative, resolve } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const SRC = fileURLToPath(new URL("../../src", import.meta.url));

/** Lower numbers are lower layers; equal numbers don't know each other. */
const LAYERS: Readonly<Record<string, number>> = {
  tensor: 0,
  ledger: 1,
  source: 1,
  state: 1,
  container: 3,
  codec: 2,
  ir: 2,
  tokenizer: 2,
  image: 2,
  sampler: 2,
  hub: 2,
  model: 3,
  backend: 4,
  plan: 5,
  store: 4,
  checkpoint: 5,
  stream: 6,
  bench: 6,
  pipeline: 7,
  // "" is src itself: the engine and its thread.
  "": 8,
  terminal: 9,
  repl: 10,
  cli: 11,
};

/** Words that every layer may use. */
const COMMON = new Set(["errors.ts", "engine-types.ts", "version.ts"]);

test("imports point down only", () => {
  const wrong: string[] = [];
  const files = globSync("**/*.ts", { cwd: SRC });
  assert.ok(files.length > 20);
  for (const file of files) {
    const from = layerOf(file);
    for (const [, target] of readFileSync(resolve(SRC, file), "utf8").matchAll(/from "(\.[^"]+)"/g)) {
      const imported = relative(SRC, resolve(SRC, dirname(file), target!));
      if (COMMON.has(imported)) continue;
      const to = layerOf(imported);
      const inside = from === to;
      if (!inside && !(LAYERS[to]! < LAYERS[from]!)) wrong.push(`${file} imports ${imported}`);
    }
  }
  assert.deepEqual(wrong, []);
});

function layerOf(file: string): string {
  const folder = file.includes("/") ? file.slice(0, file.indexOf("/")) : "";
  assert.ok(folder in LAYERS, `src/${folder} has no layer in this test's table`);
  return folder;
}
