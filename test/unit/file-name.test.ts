/** @file Names that Windows keeps for itself, on an injected platform. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileNameProblem } from "../../src/node/files/file-name.ts";

test("names of devices, refused characters and ends are told on Windows, and are names like others elsewhere", () => {
  for (const [file, problem] of [
    ["C:\\pictures\\nul.png", /keeps the name nul for a device/],
    ["C:\\pictures\\CON", /keeps the name CON /],
    ["com1.tar.gz", /keeps the name com1 /],
    ["LPT³.png", /keeps the name LPT³ /],
    ["C:/pictures/aux .png", /keeps the name aux /],
    ["lake.png:second", /no ":" in a name/],
    ["is it a lake?.png", /no "\?" in a name/],
    ["a\tb.png", /no "\\t" in a name/],
    ["C:\\pictures\\lake.", /dot or a blank at the end/],
    ["lake ", /dot or a blank at the end/],
  ] as const) {
    assert.match(fileNameProblem(file, "win32") ?? "none", problem, file);
    assert.equal(fileNameProblem(file, "linux"), undefined);
    assert.equal(fileNameProblem(file, "darwin"), undefined);
  }
  for (const file of ["C:\\nul\\lake.png", "console.png", "com.png", "null.png", "C:\\a b\\lake.2.png", "湖.png"])
    assert.equal(fileNameProblem(file, "win32"), undefined, file);
});
