/**
 * @file Writes types/: the declarations of the public names, for those whose compiler does not take `.ts` imports. Made from
 * src/ by tsc; a test holds that they are current. Run: npx node scripts/types.ts
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
export const TYPES_FOLDER = join(ROOT, "types");
/** What src/node.ts and src/index.ts say, and what that refers to. */
const PUBLIC = ["node", "index", "engine-types", "errors", "version"];

/** File name -> text. */
export function makeDeclarations(): Map<string, string> {
  const folder = mkdtempSync(join(tmpdir(), "solvay-types-"));
  try {
    const tsc = join(ROOT, "node_modules", "typescript", "bin", "tsc");
    const emit = ["--noEmit", "false", "--declaration", "--emitDeclarationOnly", "--outDir", folder, "--rootDir", ROOT];
    execFileSync(process.execPath, [tsc, "-p", ROOT, ...emit], { stdio: ["ignore", 2, 2] });
    return new Map(
      PUBLIC.map((name) => {
        const text = readFileSync(join(folder, "src", `${name}.d.ts`), "utf8");
        return [`${name}.d.ts`, text.replace(/(from "\.\/[\w-]+)\.ts"/g, '$1.js"')];
      }),
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  mkdirSync(TYPES_FOLDER, { recursive: true });
  for (const [name, text] of makeDeclarations()) writeFileSync(join(TYPES_FOLDER, name), text);
}
