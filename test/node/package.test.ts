/**
 * @file The package that `npm pack` makes: what is in it, that it installs in an empty project with nothing but npm, and that it
 * draws the clone's picture there, on the Node that runs the tests and on the oldest one that package.json allows. In a usual run it is
 * packed without types being checked and without what its two largest files hold, which is copied there from the clone's; the packages
 * that it names are linked from there, and the library draws on the one Node, the command on the other.
 */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { searched } from "../support/thorough.ts";
import { openThreadlessEngine } from "../support/threadless-engine.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const PACKAGES = path.join(ROOT, "node_modules");
const TARBALL = "solvay-0.1.0.tgz";
/** The two that are nine tenths of the package are empty in a usual run, and copied from the clone's once they are installed. */
const QUICK = searched(true, false);
const RUNTIME = "bin/napi-v6/linux/x64/libonnxruntime.so.1";
const WEIGHTS = "models/demo/unet/diffusion_pytorch_model.fp16.safetensors";
const LARGE: readonly (readonly [packed: string, from: string])[] = [
  [WEIGHTS, path.join(ROOT, WEIGHTS)],
  [`dist/vendor/onnxruntime-node/${RUNTIME}`, path.join(PACKAGES, "onnxruntime-node", RUNTIME)],
];
const TARBALL_LIMIT_BYTES = QUICK ? 8e6 : 45e6;
const OLDEST_NODE = "22.12.0";
type Face = "library" | "command";
const FACES: readonly Face[] = ["library", "command"];
const JOB = { prompt: "a lake at dawn", seed: 7, steps: 2, width: 64, height: 64 };

const scratch = mkdtempSync(path.join(tmpdir(), "solvay-package-"));
after(() => rmSync(scratch, { recursive: true, force: true }));

/** What `npm pack` needs of the clone: packing there would change package.json under the other tests. */
const clone = path.join(scratch, "clone");
const PACKED_FROM = [
  "bin",
  "docs/licenses",
  "models",
  "scripts",
  "src",
  "studio",
  "LICENSE",
  "README.md",
  "package-lock.json",
];
const project = path.join(scratch, "project");
const tarball = path.join(scratch, TARBALL);
/** Why nothing could be installed. */
let notInstalled: string | undefined;

/**
 * As where no install script runs or gets through. On Linux x64 that leaves onnxruntime-node out, so that the package's own copy must do; elsewhere
 * it is there.
 */
const LINKED = searched(process.platform === "linux" && process.arch === "x64", false);
const LIGHT = [
  "--ignore-scripts",
  LINKED ? "--offline" : "--prefer-offline",
  "--no-audit",
  "--no-fund",
  "--loglevel=error",
  ...(process.platform === "linux" && process.arch === "x64"
    ? ["--omit=optional", LINKED ? path.join(PACKAGES, "onnxruntime-common") : "onnxruntime-common@1.30.0"]
    : []),
];

/** npm unpacks and fetches none of these: each that the package asks for becomes a link to the clone's. What it doesn't ask for isn't there. */
function linkedDependencies(): Record<string, string> {
  const { dependencies } = JSON.parse(readFileSync(path.join(ROOT, "package.json"), "utf8")) as {
    readonly dependencies: Record<string, string>;
  };
  return Object.fromEntries(Object.keys(dependencies).map((name) => [name, `file:${path.join(PACKAGES, name)}`]));
}

function npm(cwd: string, args: readonly string[]) {
  const windows = process.platform === "win32";
  // Settings of the npm that runs the tests are not for this one.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^npm_/i.test(name)));
  return spawnSync(windows ? "npm.cmd" : "npm", args, { cwd, env, encoding: "utf8", shell: windows, timeout: 240_000 });
}

const DRAW = `
import { createHash } from "node:crypto";
import { openEngine, SolvayError } from "solvay";
const engine = await openEngine({ backend: "cpu" });
const failure = await engine.generate({ prompt: "x", steps: 0 }).next().catch((error) => error);
if (!(failure instanceof SolvayError)) throw new Error("no SolvayError: " + failure);
for await (const event of engine.generate(${JSON.stringify(JOB)}))
  if (event.type === "image") console.log(createHash("sha256").update(event.bytes).digest("hex"));
await engine[Symbol.asyncDispose]();
`;

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

/** The clone's own folder of packages, with a stamp of its own: nothing that is installed or taken away there is this worktree's. */
function linkPackages(): void {
  const folder = path.join(clone, "node_modules");
  mkdirSync(folder);
  for (const entry of readdirSync(PACKAGES, { withFileTypes: true })) {
    if (entry.isDirectory()) symlinkSync(path.join(PACKAGES, entry.name), path.join(folder, entry.name), "junction");
  }
  if (QUICK) linkWithoutRuntime(path.join(folder, "onnxruntime-node"));
  const lock = readFileSync(path.join(clone, "package-lock.json"));
  writeFileSync(path.join(folder, ".solvay-installed"), `${sha256(lock)}\n`);
}

function linkWithoutRuntime(folder: string): void {
  const real = realpathSync(folder);
  rmSync(folder);
  mkdirSync(path.join(folder, path.dirname(RUNTIME)), { recursive: true });
  for (const name of ["package.json", "dist"])
    cpSync(path.join(real, name), path.join(folder, name), { recursive: true });
  for (const name of readdirSync(path.join(real, path.dirname(RUNTIME)))) {
    const file = path.join(path.dirname(RUNTIME), name);
    if (file !== RUNTIME) copyFileSync(path.join(real, file), path.join(folder, file));
  }
  writeFileSync(path.join(folder, RUNTIME), "");
}

function extendSettings(file: string, compilerOptions: object): void {
  const settings = JSON.parse(readFileSync(file, "utf8")) as { readonly compilerOptions: object };
  const extended = { ...settings, compilerOptions: { ...settings.compilerOptions, ...compilerOptions } };
  writeFileSync(file, JSON.stringify(extended));
}

before(() => {
  for (const name of [...PACKED_FROM, "package.json", "tsconfig.json", "tsconfig.build.json"]) {
    cpSync(path.join(ROOT, name), path.join(clone, name), { recursive: true });
  }
  if (QUICK) writeFileSync(path.join(clone, WEIGHTS), "");
  linkPackages();
  // `npm run check` looks at the same types.
  if (QUICK) extendSettings(path.join(clone, "tsconfig.build.json"), { noCheck: true });
  const packed = npm(clone, ["pack", "--loglevel=error", "--pack-destination", scratch]);
  assert.equal(packed.status, 0, packed.stderr);

  mkdirSync(project);
  const overrides = LINKED ? linkedDependencies() : {};
  writeFileSync(path.join(project, "package.json"), JSON.stringify({ type: "module", private: true, overrides }));
  writeFileSync(path.join(project, "draw.js"), DRAW);
  const installed = npm(project, ["install", tarball, ...LIGHT]);
  if (installed.status !== 0) notInstalled = `npm install failed: ${installed.stderr.split("\n")[0]}`;
  else if (QUICK) {
    for (const [packed, from] of LARGE) {
      const there = path.join(project, "node_modules", "solvay", packed);
      assert.equal(statSync(there).size, 0);
      copyFileSync(from, there);
    }
  }
});

let drawn: Promise<string> | undefined;
const clonesPicture = () => (drawn ??= drawInClone());

async function drawInClone(): Promise<string> {
  await using engine = await openThreadlessEngine({ backend: "cpu" });
  for await (const event of engine.generate(JOB)) if (event.type === "image") return sha256(event.bytes);
  assert.fail("no image");
}

test("the clone is as it was, and a packing that was killed is mended", () => {
  const manifest = readFileSync(path.join(ROOT, "package.json"), "utf8");
  assert.equal(readFileSync(path.join(clone, "package.json"), "utf8"), manifest);
  writeFileSync(path.join(clone, "package.json.clone"), manifest);
  writeFileSync(path.join(clone, "package.json"), '{"type":"module"}');
  execFileSync(process.execPath, [path.join(clone, "scripts", "bootstrap.mjs"), "postpack"], { cwd: clone });
  assert.equal(readFileSync(path.join(clone, "package.json"), "utf8"), manifest);
  assert.ok(!existsSync(path.join(clone, "package.json.clone")));
});

test("the package holds the program, the studio, the demo model, CLIP's vocabulary and nothing else", () => {
  const folder = path.join(scratch, "unpacked");
  mkdirSync(folder);
  execFileSync("tar", ["xzf", tarball, "-C", folder]);
  const inside = readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name)).replaceAll("\\", "/"))
    // npm puts all below this one.
    .map((name) => name.replace(/^package\//, ""))
    .sort();
  const known =
    /^(package\.json|README\.md|LICENSE|bin\/[a-z-]+\.(mjs|json)|dist\/[a-z0-9/-]+(\.d\.ts|\.js)|dist\/studio\/(assets\/)?[\w.-]+|models\/(clip|demo)\/.+)$/;
  const vendored = /^dist\/vendor\/onnxruntime-node\//;
  assert.deepEqual(
    inside.filter((name) => !known.test(name) && !vendored.test(name)),
    [],
  );
  for (const needed of [
    "dist/node.js",
    "dist/node/engine-worker.js",
    "dist/node.d.ts",
    "dist/studio/index.html",
    "bin/solvay.mjs",
  ]) {
    assert.ok(inside.includes(needed), needed);
  }
  assert.ok(readFileSync(tarball).byteLength < TARBALL_LIMIT_BYTES);
  // Neither zod's types nor Node's: a program needs only what it uses itself.
  for (const name of inside.filter((name) => name.endsWith(".d.ts"))) {
    const text = readFileSync(path.join(folder, "package", name), "utf8");
    for (const [, target] of text.matchAll(/^(?:import|export)[^"]*? from "([^"]+)"/gm)) {
      assert.match(target!, /^\..*\.js$/, name);
    }
  }
});

for (const [tool, bin, args] of [
  ["publint", "publint/src/cli.js", ["run", tarball, "--strict"]],
  ["attw", "@arethetypeswrong/cli/dist/index.js", [tarball, "--profile", "esm-only"]],
] as const) {
  test(`${tool} finds nothing wrong`, () => {
    const { status, stdout } = spawnSync(process.execPath, [path.join(PACKAGES, bin), ...args], { encoding: "utf8" });
    assert.equal(status, 0, stdout);
    assert.doesNotMatch(stdout, /Suggestions|Warnings|Errors/);
  });
}

test("a JavaScript program draws the clone's picture with it, and so does the command", async (t) => {
  if (notInstalled) return t.skip(notInstalled);
  drawsOn(process.execPath, await clonesPicture(), searched<readonly Face[]>(["library"], FACES));
});

test(`... and on Node ${OLDEST_NODE}`, async (t) => {
  if (notInstalled) return t.skip(notInstalled);
  const node = oldestNode(t);
  // The command loads what the library does.
  if (node) drawsOn(node, await clonesPicture(), searched<readonly Face[]>(["command"], FACES));
});

function drawsOn(node: string, picture: string, faces: readonly Face[]): void {
  const run = (args: readonly string[]) => {
    const done = spawnSync(node, args, { cwd: project, encoding: "utf8", timeout: 120_000, killSignal: "SIGKILL" });
    assert.equal(done.status, 0, done.stderr);
    return done.stdout;
  };
  if (faces.includes("library")) assert.equal(run(["draw.js"]).trim(), picture);
  if (!faces.includes("command")) return;
  assert.ok(existsSync(path.join(project, "node_modules", ".bin", "solvay")));
  const { prompt, seed, steps, width, height } = JOB;
  const options = ["--seed", seed, "--steps", steps, "--width", width, "--height", height].map(String);
  const command = path.join(project, "node_modules", "solvay", "bin", "solvay.mjs");
  run([command, "generate", prompt, ...options, "--backend", "cpu", "--output", "lake.png"]);
  assert.equal(sha256(readFileSync(path.join(project, "lake.png"))), picture);
}

/** Kept below node_modules once it is there. */
function oldestNode(t: TestContext): string | undefined {
  if (process.env.SOLVAY_TEST_NODE22) return process.env.SOLVAY_TEST_NODE22;
  const name = `node-${process.platform === "win32" ? "win" : process.platform}-${process.arch}`;
  const folder = path.join(PACKAGES, ".cache", `solvay-node-${OLDEST_NODE}`);
  const file = process.platform === "win32" ? "node.exe" : "node";
  const node = path.join(folder, "node_modules", name, "bin", file);
  if (existsSync(node)) return node;
  mkdirSync(folder, { recursive: true });
  writeFileSync(path.join(folder, "package.json"), '{"private":true}');
  const { status, stderr } = npm(folder, ["install", `${name}@${OLDEST_NODE}`, "--ignore-scripts", "--no-audit"]);
  if (status === 0 && existsSync(node)) return node;
  t.skip(`SOLVAY_TEST_NODE22 names no Node, and npm can't install one: ${stderr.split("\n")[0]}`);
  return undefined;
}

const PROGRAM = `
import { type Engine, type GenerateEvent, openEngine, SolvayError } from "solvay";
await using engine: Engine = await openEngine({ model: "m", onEvent: (event) => console.log(event.type) });
for await (const event of engine.generate({ prompt: "a lake" }, { signal: AbortSignal.timeout(1000) })) {
  const known: GenerateEvent = event;
  if (known.type === "image") console.log(known.bytes.byteLength, String(known.seed));
}
console.log(new SolvayError({ code: "E", problem: "p", next: "n" }).code);
// @ts-expect-error: no such option
await openEngine({ modle: "m" });
// @ts-expect-error: a job is plain JSON
engine.generate({ prompt: "a lake", signal: AbortSignal.timeout(1000) });
await engine.setBudgets({ vram: "6G", ram: 2 ** 31 });
await engine.setBudgets({ vram: { allBut: 2 ** 30 } });
`;

for (const moduleResolution of ["nodenext", "bundler"]) {
  test(`a strict TypeScript program with moduleResolution ${moduleResolution} type-checks`, (t) => {
    if (notInstalled) return t.skip(notInstalled);
    const module = moduleResolution === "bundler" ? "esnext" : "nodenext";
    // No types but the platform's, and declarations are checked, too.
    const settings = { target: "esnext", lib: ["esnext", "dom"], types: [], strict: true, noEmit: true };
    const config = path.join(project, `tsconfig.${moduleResolution}.json`);
    const compilerOptions = { ...settings, module, moduleResolution };
    writeFileSync(config, JSON.stringify({ compilerOptions, files: ["use.ts"] }));
    writeFileSync(path.join(project, "use.ts"), PROGRAM);
    const tsc = path.join(PACKAGES, "typescript", "bin", "tsc");
    const { status, stdout } = spawnSync(process.execPath, [tsc, "-p", config], { encoding: "utf8" });
    assert.equal(status, 0, stdout);
  });
}

test("packages are never installed through a link: what it leads to stays (E_INSTALL)", () => {
  const linked = path.join(scratch, "linked");
  const others = path.join(scratch, "others");
  for (const name of ["bin", "scripts"]) cpSync(path.join(ROOT, name), path.join(linked, name), { recursive: true });
  for (const name of ["package.json", "package-lock.json"]) cpSync(path.join(ROOT, name), path.join(linked, name));
  mkdirSync(path.join(others, "a-package"), { recursive: true });
  symlinkSync(others, path.join(linked, "node_modules"), "junction");
  const bootstrap = path.join(linked, "scripts", "bootstrap.mjs");
  // No npm comes by this name: the test fails and nothing else happens.
  const env = { ...process.env, npm_execpath: path.join(linked, "no-npm.js") };
  const { status, stderr } = spawnSync(process.execPath, [bootstrap, "check"], { cwd: linked, env, encoding: "utf8" });
  assert.equal(status, 5, stderr);
  assert.match(stderr, /E_INSTALL: node_modules is a link to another folder, .*Next: /);
  assert.ok(existsSync(path.join(others, "a-package")));
});

test("a clone that npm linked says what it lacks", () => {
  const fresh = path.join(scratch, "fresh");
  const user = path.join(scratch, "user");
  cpSync(path.join(ROOT, "src"), path.join(fresh, "src"), { recursive: true });
  cpSync(path.join(ROOT, "package.json"), path.join(fresh, "package.json"));
  mkdirSync(path.join(user, "node_modules"), { recursive: true });
  symlinkSync(fresh, path.join(user, "node_modules", "solvay"), "junction");
  writeFileSync(path.join(user, "package.json"), '{"type":"module"}');
  writeFileSync(path.join(user, "draw.js"), DRAW);
  const { stderr } = spawnSync(process.execPath, ["draw.js"], { cwd: user, encoding: "utf8" });
  assert.match(stderr, /E_INSTALL: the packages that Solvay needs are not installed\. Next: run npm ci in .*fresh/);
});
