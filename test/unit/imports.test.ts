/** @file Who may import whom: rooms know only rooms below, platforms stay in their own, and nobody hears of a model who needs none. */
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const SRC = join(ROOT, "src");

/** From the ground up; those of one line don't know each other. A file's room is the longest name that its path begins with. */
const LAYERS: readonly (readonly string[])[] = [
  ["errors.ts", "version.ts"],
  ["tensor"],
  ["ledger", "source"],
  // What "#zlib" and "#hash" stand for on each platform.
  ["node/zlib.ts", "node/hash.ts", "browser/"],
  ["ir", "codec", "tokenizer", "image"],
  ["sampler", "container", "plan", "prompt"],
  ["checkpoint", "backend/"],
  ["adapters"],
  ["backend/onnx", "backend/reference", "backend/null", "backend/webgpu/kernels"],
  ["backend/webgpu/lower"],
  ["backend/webgpu/adapter"],
  ["backend/webgpu/run"],
  ["store/fs.ts"],
  ["store/fields.ts"],
  ["store/pack"],
  ["store/"],
  ["store/import"],
  ["stream", "bands"],
  ["models/"],
  ["models/sdxl"],
  ["models/families.ts"],
  ["job", "library"],
  ["pipeline"],
  ["engine"],
  ["index.ts"],
  ["browser.ts"],
  ["node/"],
  ["node.ts", "bench"],
  ["terminal"],
  ["repl"],
  ["server"],
  ["cli"],
];

/** Rooms for what only Node has. */
const NODE_ROOMS = ["node", "node.ts", "bench", "terminal", "repl", "server", "cli"];
/** Rooms that serve any model. */
const MODEL_FREE = ["plan", "stream", "backend", "bands", "store", "ir", "container", "checkpoint"];
/** Rooms that know families, but none by name. */
const FAMILY_FREE = ["pipeline", "library", "engine", "job", "node", "terminal", "repl", "server", "cli"];

const MAIN = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as {
  readonly imports: Readonly<Record<string, Readonly<Record<"browser" | "default", string>>>>;
};

interface Import {
  /** Relative to src, or the name of a package or of a part of Node. */
  readonly target: string;
  readonly typeOnly: boolean;
}

const FILES = globSync("**/*.ts", { cwd: SRC }).map((file) => file.replaceAll("\\", "/"));

function importsOf(file: string, platform: "browser" | "default" = "default"): Import[] {
  const text = readFileSync(join(SRC, file), "utf8");
  return [...text.matchAll(/^(?:import|export)\b([^;"]*?)(?:from )?"([^"]+)"|\bimport\("([^"]+)"\)/gm)].map((found) => {
    const [, words = "", named, dynamic] = found;
    const specifier = (named ?? dynamic)!;
    const typeOnly = /^\s*type\b/.test(words);
    const mapped = MAIN.imports[specifier]?.[platform];
    if (mapped) return { target: relative(SRC, resolve(ROOT, mapped)), typeOnly };
    if (!specifier.startsWith(".")) return { target: specifier, typeOnly };
    return { target: relative(SRC, resolve(SRC, dirname(file), specifier)).replaceAll("\\", "/"), typeOnly };
  });
}

function roomOf(file: string): { readonly name: string; readonly layer: number } {
  const rooms = LAYERS.flatMap((names, layer) => names.map((name) => ({ name, layer })));
  const fits = rooms.filter(({ name }) => (name.endsWith(".ts") ? file === name : file.startsWith(name)));
  const room = fits.toSorted((a, b) => b.name.length - a.name.length)[0];
  assert.ok(room, `src/${file} lies in no room of this test's table`);
  return room;
}

const isIn = (file: string, rooms: readonly string[]) =>
  rooms.some((room) => file === room || file.startsWith(`${room}/`));
const isOurs = (target: string) => target.endsWith(".ts");

test("imports point down only", () => {
  const wrong: string[] = [];
  assert.ok(FILES.length > 200);
  for (const file of FILES) {
    const from = roomOf(file);
    for (const { target } of importsOf(file)) {
      if (!isOurs(target)) continue;
      const to = roomOf(target);
      if (to.name !== from.name && to.layer >= from.layer) wrong.push(`${file} imports ${target}`);
    }
  }
  assert.deepEqual(wrong, []);
});

test("no circles: of files that run, and of those that only name types", () => {
  const done = new Set<string>();
  const circles: string[] = [];
  const visit = (file: string, path: readonly string[]) => {
    const at = path.indexOf(file);
    if (at >= 0) circles.push([...path.slice(at), file].join(" -> "));
    if (at >= 0 || done.has(file)) return;
    for (const { target } of importsOf(file)) if (isOurs(target)) visit(target, [...path, file]);
    done.add(file);
  };
  for (const file of FILES) visit(file, []);
  assert.deepEqual(circles, []);
});

test("what only Node has stays in node/ and in the faces", () => {
  const wrong = FILES.filter((file) => !isIn(file, NODE_ROOMS)).flatMap((file) => {
    const text = readFileSync(join(SRC, file), "utf8").replace(/^\s*(\/?\*|\/\/).*$/gm, "");
    const named = importsOf(file)
      .filter(({ target }) => target.startsWith("node:"))
      .map(({ target }) => target);
    const globals = [...text.matchAll(/\b(process\.\w+|Buffer\.\w+|__dirname)\b/g)].map(([use]) => use);
    return [...named, ...globals].map((use) => `${file} uses ${use}`);
  });
  assert.deepEqual(wrong, []);
});

/** All files that come along when `entry` is loaded, on that platform. */
function closure(entry: string, platform: "browser" | "default"): Set<string> {
  const seen = new Set<string>();
  const waiting = [entry];
  for (let file = waiting.pop(); file !== undefined; file = waiting.pop()) {
    if (seen.has(file)) continue;
    seen.add(file);
    if (!isOurs(file)) continue;
    for (const { target, typeOnly } of importsOf(file, platform)) if (!typeOnly) waiting.push(target);
  }
  return seen;
}

for (const entry of ["index.ts", "browser.ts"]) {
  test(`${entry} reaches nothing of Node's`, () => {
    const reached = [...closure(entry, "browser")];
    assert.deepEqual(
      reached.filter((file) => file.startsWith("node:") || isIn(file, NODE_ROOMS)),
      [],
    );
    if (entry === "browser.ts") assert.ok(reached.length > 100, "the engine itself should be among them");
  });
}

test("plans, streams, stores and backends know no model; pipeline, library and faces know no family by name", () => {
  const wrong = FILES.flatMap((file) =>
    importsOf(file)
      .map(({ target }) => target)
      .filter((target) => {
        if (isIn(file, MODEL_FREE)) return target.startsWith("models/");
        return isIn(file, FAMILY_FREE) && /^models\/\w+\//.test(target);
      })
      .map((target) => `${file} imports ${target}`),
  );
  assert.deepEqual(wrong, []);
});
