/**
 * @file Builds the studio (studio/README.md) and writes to stdout where it lies: `build-studio.ts [DIR]`. It is a folder of
 * node_modules/.cache that is named for what it is made of, so that it is built once; complete or not there. Into DIR it is copied.
 */
import { createHash } from "node:crypto";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const ROOT = path.resolve(import.meta.dirname, "..");
const SOURCES = path.join(ROOT, "studio");
/** What of the program's own the studio has in it: pure code that pages run as well. */
const SHARED = ["image", "tensor"].map((room) => path.join(ROOT, "src", room));
const CACHE = path.join(ROOT, "node_modules", ".cache", "solvay-studio");
/** Builds of other sources that stay: of branches between which one goes back and forth. */
const KEPT_BUILDS = 4;
const WORKER = "service-worker.js";

/** What the server has to know of a file: path in an address -> how it answers. */
interface ServedFile {
  readonly type: string;
  /** Its name tells its content. */
  readonly hashed: boolean;
  /** A packed copy lies beside it for each. */
  readonly packed: readonly ("br" | "gz")[];
}

const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
  ".png": "image/png",
  ".webmanifest": "application/manifest+json",
};

const [asked] = process.argv.slice(2);
const built = path.join(CACHE, contentHash());
if (!existsSync(built)) {
  mkdirSync(CACHE, { recursive: true });
  const partial = mkdtempSync(`${built}-partial-`);
  try {
    await make(partial);
    renameSync(partial, built);
  } catch (error) {
    // Another process may have been faster.
    if (!existsSync(built)) throw error;
  } finally {
    rmSync(partial, { recursive: true, force: true });
  }
  forgetOldBuilds();
}
if (asked !== undefined) cpSync(built, asked, { recursive: true });
process.stdout.write(`${asked === undefined ? built : path.resolve(asked)}\n`);

function contentHash(): string {
  const hash = createHash("sha256");
  const inputs = [...[SOURCES, ...SHARED].flatMap(filesIn), import.meta.filename];
  for (const file of [...inputs, path.join(ROOT, "package-lock.json")]) {
    hash.update(path.relative(ROOT, file)).update("\0").update(readFileSync(file)).update("\0");
  }
  return hash.digest("hex").slice(0, 24);
}

function filesIn(folder: string): string[] {
  const names = readdirSync(folder, { recursive: true, encoding: "utf8" });
  return names
    .filter((name) => path.extname(name) !== "")
    .sort()
    .map((name) => path.join(folder, name));
}

async function make(into: string): Promise<void> {
  const { build } = await import("vite");
  await build({
    root: SOURCES,
    configFile: false,
    logLevel: "warn",
    oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
    build: {
      outDir: into,
      emptyOutDir: false,
      target: "es2022",
      modulePreload: { polyfill: false },
      // Inlined pictures would be data: addresses in style sheets.
      assetsInlineLimit: 0,
      rollupOptions: {
        input: [path.join(SOURCES, "index.html"), path.join(SOURCES, "src", "service-worker.ts")],
        output: {
          entryFileNames: ({ name }) => (`${name}.js` === WORKER ? WORKER : "assets/[name]-[hash].js"),
          chunkFileNames: "assets/[name]-[hash].js",
          assetFileNames: "assets/[name]-[hash][extname]",
        },
      },
    },
  });
  const names = readdirSync(into, { recursive: true, encoding: "utf8" })
    .map((name) => name.replaceAll("\\", "/"))
    .filter((name) => path.extname(name) in TYPES)
    .sort();
  // The worker changes with what it keeps, so that browsers notice.
  const kept = names.filter((name) => name !== WORKER && !name.endsWith(".html")).map((name) => `/${name}`);
  const worker = path.join(into, WORKER);
  writeFileSync(
    worker,
    `self.SHELL=${JSON.stringify(["/", ...kept])};self.BUILD="${contentHash()}";${readFileSync(worker, "utf8")}`,
  );
  const served: Record<string, ServedFile> = {};
  for (const name of names) {
    const type = TYPES[path.extname(name)]!;
    const bytes = readFileSync(path.join(into, name));
    const packs = type !== "image/png";
    if (packs) {
      const params = { [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length };
      writeFileSync(path.join(into, `${name}.br`), brotliCompressSync(bytes, { params }));
      writeFileSync(path.join(into, `${name}.gz`), gzipSync(bytes, { level: 9 }));
    }
    const address = name === "index.html" ? "/" : `/${name}`;
    served[address] = { type, hashed: name.startsWith("assets/"), packed: packs ? ["br", "gz"] : [] };
  }
  writeFileSync(path.join(into, "files.json"), `${JSON.stringify(served, undefined, 1)}\n`);
}

function forgetOldBuilds(): void {
  const others = readdirSync(CACHE, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && /^[0-9a-f]{24}$/.test(entry.name))
    .map(({ name }) => ({ folder: path.join(CACHE, name), made: statedMs(path.join(CACHE, name, "files.json")) }))
    .sort((a, b) => b.made - a.made);
  for (const { folder } of others.slice(KEPT_BUILDS)) rmSync(folder, { recursive: true, force: true });
}

function statedMs(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}
