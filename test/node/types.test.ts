/** @file What a TypeScript program that imports "solvay" sees. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { makeDeclarations, TYPES_FOLDER } from "../../scripts/types.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

test("types/ is what tsc makes of src/ (else: npx node scripts/types.ts)", () => {
  const made = makeDeclarations();
  const there = readdirSync(TYPES_FOLDER, { recursive: true, encoding: "utf8" }).map((name) =>
    name.replaceAll("\\", "/"),
  );
  assert.deepEqual(there.filter((name) => name.endsWith(".ts")).sort(), [...made.keys()].sort());
  for (const [name, text] of made) assert.equal(readFileSync(join(TYPES_FOLDER, name), "utf8"), text, name);
});

const PROGRAM = `
import { type Engine, type GenerateEvent, openEngine, SolvayError } from "solvay";
await using engine: Engine = await openEngine({ model: "m", onEvent: (event) => console.log(event.type) });
for await (const event of engine.generate({ prompt: "a lake" }, { signal: AbortSignal.timeout(1000) })) {
  const known: GenerateEvent = event;
  if (known.type === "image") console.log(known.png.byteLength, known.seed.toFixed());
}
console.log(new SolvayError({ code: "E", problem: "p", next: "n" }).code);
// @ts-expect-error: no such option
await openEngine({ modle: "m" });
// @ts-expect-error: a job is plain JSON
engine.generate({ prompt: "a lake", signal: AbortSignal.timeout(1000) });
await engine.setBudgets({ vram: "6G", ram: 2 ** 31 });
await engine.setBudgets({ vram: { allBut: 2 ** 30 } });
`;

test("a strict program in another folder type-checks without settings for our sake", () => {
  const folder = mkdtempSync(join(tmpdir(), "solvay-consumer-"));
  mkdirSync(join(folder, "node_modules", "@types"), { recursive: true });
  symlinkSync(ROOT, join(folder, "node_modules", "solvay"), "junction");
  symlinkSync(join(ROOT, "node_modules", "@types", "node"), join(folder, "node_modules", "@types", "node"), "junction");
  const options = { target: "esnext", module: "nodenext", strict: true, noEmit: true, types: ["node"] };
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions: options, files: ["use.ts"] }));
  writeFileSync(join(folder, "package.json"), '{"type":"module"}');
  writeFileSync(join(folder, "use.ts"), PROGRAM);
  const tsc = join(ROOT, "node_modules", "typescript", "bin", "tsc");
  try {
    execFileSync(process.execPath, [tsc, "-p", folder], { encoding: "utf8" });
  } catch (error) {
    assert.fail((error as { stdout?: string }).stdout ?? String(error));
  }
});
