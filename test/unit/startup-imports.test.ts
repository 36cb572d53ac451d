/** @file What is loaded at every start: the schema library is not, since it would cost 80 ms, nor what only a server needs. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const SRC = fileURLToPath(new URL("../../src", import.meta.url));
/** Imports of values: those of types alone are stripped, and `import()` waits until it is reached. */
const STATIC_IMPORT = /^(?:import|export) (?!type\b)[^;]*?from "([^"]+)";/gm;

/** All that loading `file` loads: paths of ours, names of packages. */
function closure(file: string, found = new Set<string>()): Set<string> {
  if (found.has(file)) return found;
  found.add(file);
  for (const [, target] of readFileSync(file, "utf8").matchAll(STATIC_IMPORT)) {
    if (target!.startsWith(".")) closure(resolve(dirname(file), target!), found);
    else found.add(target!);
  }
  return found;
}

/** Packages that wait until they are needed. */
const LATER = ["zod", "hono", "@hono/node-server", "pg-boss", "@electric-sql/pglite", "pino", "prom-client"];

test("the command line, the library's entries and the engine's thread start without zod, and without a server's packages; a server without MCP's", () => {
  for (const entry of ["cli/main.ts", "node.ts", "index.ts", "node/engine-worker.ts"]) {
    const loaded = closure(resolve(SRC, entry));
    assert.deepEqual(
      LATER.filter((name) => loaded.has(name)),
      [],
      entry,
    );
  }
  const ofServer = closure(resolve(SRC, "server/serve.ts"));
  assert.deepEqual(
    [...ofServer].filter((name) => name.startsWith("@modelcontextprotocol")),
    [],
  );
  assert.ok(ofServer.has("hono"));
  assert.ok(closure(resolve(SRC, "job/schema.ts")).has("zod"));
  assert.ok(closure(resolve(SRC, "cli/main.ts")).has("commander"));
});
