#!/usr/bin/env node
/**
 * @file The clone's way in: `npm start`, `npm test`, `npm run check`, `npm pack` and, linked, the `solvay` command. Installs the
 * packages when they are missing or older than package-lock.json, then hands over to the pinned Node. Plain JavaScript for
 * whatever Node is there. Everything it says itself goes to stderr.
 */
import { createHash } from "node:crypto";
import { existsSync, lstatSync, readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { launch, run } from "../bin/launch.mjs";

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const inRoot = (...parts) => path.join(root, ...parts);
const stampFile = inRoot("node_modules", ".solvay-installed");
const lockFile = inRoot("package-lock.json");

const [first, ...rest] = process.argv.slice(2);
const task = ["start", "test", "check", "prepack", "postpack"].includes(first) ? first : "start";
const args = first === task ? rest : process.argv.slice(2);

// Messages that nobody can get are no reason to stop.
process.stderr.on("error", () => {});
process.exitCode = await main();

async function main() {
  const code = await install();
  if (code !== 0) return code;
  const node = pinnedNode();
  if (!node) return 5;
  switch (task) {
    case "test":
      return run(node, [inRoot("scripts", "test.ts"), ...args], { cwd: root });
    case "check": {
      const tsc = await run(node, [inRoot("node_modules", "typescript", "bin", "tsc"), "-p", "."], { cwd: root });
      const studio = await run(node, [inRoot("node_modules", "typescript", "bin", "tsc"), "-p", "studio"], {
        cwd: root,
      });
      const biome = inRoot("node_modules", "@biomejs", "biome", "bin", "biome");
      const lint = await run(node, [biome, "check", "--error-on-warnings", "."], { cwd: root });
      return tsc || studio || lint;
    }
    case "prepack":
    case "postpack":
      return run(node, [inRoot("scripts", "package.ts"), task], { cwd: root });
    default:
      // `npm start` changes to the project's folder, and INIT_CWD is where the user stands; the `solvay` command does not, and
      // says itself if that folder is gone.
      return launch(
        node,
        inRoot("src", "cli", "main.ts"),
        args,
        (first === "start" && process.env.INIT_CWD) || undefined,
      );
  }
}

/** Runs `npm ci` if the packages are not those of package-lock.json. Returns its exit code. */
async function install() {
  const wanted = createHash("sha256").update(readFileSync(lockFile)).digest("hex");
  const installed = existsSync(stampFile) ? readFileSync(stampFile, "utf8").trim() : "";
  if (installed === wanted) return 0;
  if (installed === "" && installedByHand()) {
    writeFileSync(stampFile, `${wanted}\n`);
    return 0;
  }
  if (isLink(inRoot("node_modules"))) {
    const problem = "node_modules is a link to another folder, whose packages npm ci would take away";
    process.stderr.write(`E_INSTALL: ${problem}. Next: run npm ci where it leads, or remove the link.\n`);
    return 5;
  }
  process.stderr.write("Installing Solvay's packages (once), this takes a minute ...\n");
  const npm = process.env.npm_execpath;
  const options = ["ci", "--no-audit", "--no-fund", "--include=dev", "--include=optional", "--loglevel=error"];
  const windows = process.platform === "win32";
  const [command, before] = npm?.endsWith(".js") ? [process.execPath, [npm]] : [windows ? "npm.cmd" : "npm", []];
  const code = await run(command, [...before, ...options], {
    cwd: root,
    // `npm pack --dry-run` hands its own settings down.
    env: { ...process.env, ONNXRUNTIME_NODE_INSTALL: "skip", npm_config_dry_run: "false" },
    stdio: ["ignore", 2, 2],
    shell: windows && before.length === 0,
  });
  if (code === 0) writeFileSync(stampFile, `${wanted}\n`);
  else
    process.stderr.write("E_INSTALL: npm ci failed, its messages are above. Next: check the network and try again.\n");
  return code === 0 || code === 130 ? code : 5;
}

function isLink(file) {
  return lstatSync(file, { throwIfNoEntry: false })?.isSymbolicLink() === true;
}

/** npm writes this file last, so one newer than the lock file means a complete `npm ci` or `npm install`. */
function installedByHand() {
  const marker = inRoot("node_modules", ".package-lock.json");
  return existsSync(marker) && statSync(marker).mtimeMs >= statSync(lockFile).mtimeMs;
}

/** Path of the Node that the `node` package installed; this Node if it is new enough and that one is missing. */
function pinnedNode() {
  const pinned = inRoot("node_modules", "node", "bin", process.platform === "win32" ? "node.exe" : "node");
  if (existsSync(pinned)) return pinned;
  const problem = "E_NODE: the pinned Node 24 is missing from node_modules/node (install scripts may be switched off)";
  if (Number(process.versions.node.split(".")[0]) >= 24) {
    process.stderr.write(`${problem}; using Node ${process.versions.node}.\n`);
    return process.execPath;
  }
  process.stderr.write(`${problem}. Next: run npm ci --include=dev, or use Node 24 or newer.\n`);
  return undefined;
}
