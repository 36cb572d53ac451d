/**
 * @file What `npm pack` runs before and after: `prepack` compiles src/ to dist/ and puts the package's manifest in place of the
 * clone's, and builds the studio into dist/studio; `postpack` puts the manifest back. `npm run prepack` alone only compiles and builds.
 * The two manifests differ in what they export: src/ in the clone, which needs no build, and dist/ in the package.
 */
import { execFileSync } from "node:child_process";
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join, posix } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const DIST = join(ROOT, "dist");
const MANIFEST = join(ROOT, "package.json");
/** The clone's manifest while the package's is in its place. */
const KEPT_MANIFEST = join(ROOT, "package.json.clone");
/** What "solvay" is on Node and in a browser: of declarations, only what these refer to is packed. */
const PUBLIC_ENTRIES = ["node", "index"];
const IMPORTED = /^(?:import|export) (?:[^"]*? from )?"([^"]+)"|\bimport\("([^"]+)"/gm;
/** Modules that are loaded for what they do. */
const EFFECTIVE = ["node/disposal", "node/engine-worker", "node/disk/hash-thread", "cli/main"];
const PACKING = ["pack", "publish"];

switch (process.argv[2]) {
  case "prepack":
    // An earlier packing that was killed.
    restoreManifest();
    compile();
    bundleOnnxRuntime();
    execFileSync(process.execPath, [join(ROOT, "scripts", "build-studio.ts"), join(DIST, "studio")], {
      stdio: ["ignore", 2, 2],
    });
    if (PACKING.includes(process.env.npm_command ?? "")) replaceManifest();
    break;
  case "postpack":
    restoreManifest();
    break;
  default:
    throw new Error("usage: package.ts prepack|postpack");
}

function compile(): void {
  rmSync(DIST, { recursive: true, force: true });
  const tsc = join(ROOT, "node_modules", "typescript", "bin", "tsc");
  execFileSync(process.execPath, [tsc, "-p", join(ROOT, "tsconfig.build.json")], { stdio: ["ignore", 2, 2] });
  const published = publicDeclarations();
  for (const name of readdirSync(DIST, { recursive: true, encoding: "utf8" })) {
    const module = name.replaceAll("\\", "/");
    if (!module.endsWith(".d.ts")) continue;
    const text = published.get(module);
    if (text === undefined) rmSync(join(DIST, name));
    else writeFileSync(join(DIST, name), text);
  }
}

/** Path below dist/ -> text, with imports as they are named there. Throws where one leads out of the package. */
function publicDeclarations(): Map<string, string> {
  const found = new Map<string, string>();
  const waiting = PUBLIC_ENTRIES.map((entry) => `${entry}.d.ts`);
  for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
    if (found.has(name)) continue;
    const text = readFileSync(join(DIST, name), "utf8");
    for (const [, stated, inline] of text.matchAll(IMPORTED)) {
      const target = stated ?? inline ?? "";
      if (!/^\..*\.[jt]s$/.test(target)) throw new Error(`${name}: a public declaration refers to ${target}`);
      waiting.push(posix.join(posix.dirname(name), target.replace(/\.[jt]s$/, ".d.ts")));
    }
    found.set(
      name,
      text.replaceAll(IMPORTED, (whole) => whole.replace(/\.ts"$/, '.js"')),
    );
  }
  return found;
}

/**
 * onnxruntime-node without its install script, for the one platform where that script does anything: src/node/onnx.ts says why.
 * onnxruntime-common, which it needs, is a dependency of ours.
 */
function bundleOnnxRuntime(): void {
  const from = join(ROOT, "node_modules", "onnxruntime-node");
  const to = join(DIST, "vendor", "onnxruntime-node");
  const native = join("bin", "napi-v6", "linux", "x64");
  mkdirSync(join(to, "dist"), { recursive: true });
  for (const name of readdirSync(join(from, "dist"))) {
    if (name.endsWith(".js")) copyFileSync(join(from, "dist", name), join(to, "dist", name));
  }
  cpSync(join(from, native), join(to, native), { recursive: true });
  copyFileSync(join(ROOT, "docs", "licenses", "onnxruntime.txt"), join(to, "LICENSE"));
  const { name, version, license } = JSON.parse(readFileSync(join(from, "package.json"), "utf8"));
  const manifest = { name, version, license, private: true, main: "dist/index.js" };
  writeFileSync(join(to, "package.json"), `${JSON.stringify(manifest, undefined, 2)}\n`);
}

/** Everything the clone's manifest holds stays, so that a clone whose packing was killed still works. */
function replaceManifest(): void {
  const text = readFileSync(MANIFEST, "utf8");
  const manifest: Record<string, unknown> = JSON.parse(text);
  const packed = {
    ...manifest,
    imports: compiled(manifest.imports),
    exports: { ...typed(compiled(manifest.exports)), "./package.json": "./package.json" },
    // For TypeScript's resolution of old, which doesn't look at exports.
    main: "./dist/node.js",
    types: "./dist/node.d.ts",
    sideEffects: EFFECTIVE.map((module) => `./dist/${module}.js`),
  };
  writeFileSync(KEPT_MANIFEST, text);
  const next = `${MANIFEST}.packing`;
  writeFileSync(next, `${JSON.stringify(packed, undefined, 2)}\n`);
  renameSync(next, MANIFEST);
}

function restoreManifest(): void {
  if (existsSync(KEPT_MANIFEST)) renameSync(KEPT_MANIFEST, MANIFEST);
}

/** An object of conditions and paths, each path in dist/ instead of src/. */
function compiled(value: unknown): object {
  return mapPaths(value, (path) => path.replace(/^\.\/src\/(.*)\.ts$/, "./dist/$1.js"));
}

/** ... and each with its declarations. */
function typed(value: unknown): object {
  return mapPaths(value, (path) => ({ types: path.replace(/\.js$/, ".d.ts"), default: path }));
}

function mapPaths(value: unknown, change: (path: string) => unknown): object {
  if (typeof value !== "object" || value === null) throw new Error(`conditions are wanted: ${JSON.stringify(value)}`);
  const changed = (inner: unknown) => (typeof inner === "string" ? change(inner) : mapPaths(inner, change));
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, changed(inner)]));
}
