#!/usr/bin/env node
/** @file The `solvay` command of the installed package: its compiled command line, on the Node that is there. */
import { fileURLToPath } from "node:url";
import { launch } from "./launch.mjs";

const [major, minor] = process.versions.node.split(".").map(Number);
if (major > 22 || (major === 22 && minor >= 12)) {
  const main = fileURLToPath(new URL("../dist/cli/main.js", import.meta.url));
  process.exitCode = await launch(process.execPath, main, process.argv.slice(2), process.cwd());
} else {
  process.stderr.write(
    `E_NODE: Solvay needs Node 22.12 or newer (found ${process.versions.node}). Next: install a newer Node.\n`,
  );
  process.exitCode = 5;
}
