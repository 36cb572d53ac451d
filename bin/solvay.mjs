#!/usr/bin/env node
/** @file The `solvay` command: in the package the compiled command line, on the Node that is there; in the clone its bootstrap. */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { launch } from "./launch.mjs";

// Messages that nobody can get are no reason to stop.
process.stderr.on("error", () => {});
const bootstrap = new URL("../scripts/bootstrap.mjs", import.meta.url);
const [major, minor] = process.versions.node.split(".").map(Number);
if (existsSync(bootstrap)) {
  await import(bootstrap.href);
} else if (major > 22 || (major === 22 && minor >= 12)) {
  const main = fileURLToPath(new URL("../dist/cli/main.js", import.meta.url));
  process.exitCode = await launch(process.execPath, main, process.argv.slice(2));
} else {
  process.stderr.write(
    `E_NODE: Solvay needs Node 22.12 or newer (found ${process.versions.node}). Next: install a newer Node.\n`,
  );
  process.exitCode = 5;
}
