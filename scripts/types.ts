/**
 * @file Writes types/: the declarations of the public names, for those whose compiler does not take `.ts` imports. Made from
 * src/ by tsc; a test holds that they are current. Run: npx node scripts/types.ts
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, posix } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
export const TYPES_FOLDER = join(ROOT, "types");
/** What "solvay" is on Node and in a browser; what these refer to comes along. */
const ENTRIES = ["node", "index"];
const RELATIVE = /((?:from |import\()"\.[^"]+)\.ts"/g;

/** File name in types/ -> text. */
export function makeDeclarations(): Map<string, string> {
  const folder = mkdtempSync(join(tmpdir(), "solvay-types-"));
  try {
    const tsc = join(ROOT, "node_modules", "typescript", "bin", "tsc");
    const emit = ["--noEmit", "false", "--declaration", "--emitDeclarationOnly", "--outDir", folder, "--rootDir", ROOT];
    execFileSync(process.execPath, [tsc, "-p", ROOT, ...emit], { stdio: ["ignore", 2, 2] });
    const made = new Map<string, string>();
    const waiting = [...ENTRIES];
    for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
      const file = `${name}.d.ts`;
      if (made.has(file)) continue;
      const text = readFileSync(join(folder, "src", file), "utf8");
      for (const [, start] of text.matchAll(RELATIVE)) {
        waiting.push(posix.join(posix.dirname(name), start!.slice(start!.indexOf('"') + 1)));
      }
      made.set(file, text.replace(RELATIVE, '$1.js"'));
    }
    return made;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const declarations = makeDeclarations();
  rmSync(TYPES_FOLDER, { recursive: true, force: true });
  for (const [name, text] of declarations) {
    mkdirSync(dirname(join(TYPES_FOLDER, name)), { recursive: true });
    writeFileSync(join(TYPES_FOLDER, name), text);
  }
}
