/** @file Wildcards from a folder: into the picture and back, and nothing from outside the folder. */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { runCli } from "../../src/cli/program.ts";
import { wildcardReader } from "../../src/node/wildcard-files.ts";
import { writtenTexts } from "../support/picture-files.ts";
import { openThreadlessEngine } from "../support/threadless-engine.ts";
import { fakeContext } from "./fake-context.ts";

const FLAT = fileURLToPath(new URL("../../fixtures/golden/flat", import.meta.url));
const MODEL = ["--model", FLAT, "--backend", "reference", "--steps", "1", "--width", "16", "--height", "16"];
let cwd: string;
before(() => {
  cwd = mkdtempSync(path.join(tmpdir(), "solvay-wildcards-"));
  mkdirSync(path.join(cwd, "cards/animals"), { recursive: true });
  writeFileSync(path.join(cwd, "cards/animals/cats.txt"), "# cats\nlion\n__size__ lynx\n");
  writeFileSync(path.join(cwd, "cards/size.txt"), "small\r\nlarge\r\n");
  writeFileSync(path.join(cwd, "secret.txt"), "secret\n");
  symlinkSync(path.join(cwd, "secret.txt"), path.join(cwd, "cards/link.txt"));
  symlinkSync("size.txt", path.join(cwd, "cards/inner.txt"));
  // A folder beside it whose name begins alike.
  mkdirSync(path.join(cwd, "cards-of-others"));
  writeFileSync(path.join(cwd, "cards-of-others/x.txt"), "secret\n");
  symlinkSync(path.join(cwd, "cards-of-others/x.txt"), path.join(cwd, "cards/beside.txt"));
  writeFileSync(path.join(cwd, "cards/large.txt"), Buffer.alloc(4 * 1024 ** 2 + 1, "x"));
  writeFileSync(path.join(cwd, "cards/latin.txt"), Buffer.from([0xe9, 0x0a]));
});

async function run(...line: string[]) {
  const fake = fakeContext({ cwd });
  const rc = await runCli(line, { ...fake.context, openEngine: openThreadlessEngine });
  return { rc, out: fake.out(), error: fake.err().trimEnd().split("\n").at(-1)! };
}

test("drawn by the seed, told in the picture, and made again from what was drawn", async () => {
  const template = "a {red|blue} __animals/cats__";
  const second = ["--prompt-2", `${template}, {oil|ink}`];
  const line = ["generate", template, ...second, "--negative", "{fog|rain}", "--prompt-syntax", "a1111", ...MODEL];
  const made = await run(...line, "--wildcards-dir", path.join(cwd, "cards"), "--seed", "3", "--count", "4");
  assert.equal(made.rc, 0, made.error);
  const files = ["output_001.png", "output_002.png", "output_003.png", "output_004.png"];
  const records = await Promise.all(
    files.map(async (file) => {
      const read = await writtenTexts(readFileSync(path.join(cwd, file)));
      const texts = new Map(read.map(({ keyword, text }) => [keyword, text]));
      const record = JSON.parse(texts.get("solvay")!) as Readonly<Record<string, string>>;
      return { file, infotext: texts.get("parameters")!, record };
    }),
  );
  for (const { infotext, record } of records) {
    assert.match(record.prompt!, /^a (red|blue) (lion|(small|large) lynx)$/);
    assert.equal(record.template, template);
    assert.match(record.prompt2!, new RegExp(`^${record.prompt}, (oil|ink)$`));
    assert.equal(record.template2, `${template}, {oil|ink}`);
    assert.ok(infotext.includes(`, Template 2: "${template}, {oil|ink}"`));
    assert.ok(infotext.startsWith(`${record.prompt}\nNegative prompt: ${record.negativePrompt}\nSteps: 1, `));
    assert.ok(infotext.endsWith(`\nTemplate: ${template}\nNegative Template: {fog|rain}`));
  }
  assert.ok(new Set(records.map(({ record }) => record.prompt)).size > 1);
  // Without the folder: what was drawn is in the picture.
  const [{ file, record }] = records as [(typeof records)[0]];
  const again = await run("again", file, "--model", FLAT, "--output", "again.png");
  assert.equal(again.error, "The same file, byte for byte.");
  const other = await run("again", file, "--model", FLAT, "--prompt", "{z}", "--output", "other.png");
  assert.equal(other.rc, 0, other.error);
  const shown = JSON.parse((await run("show", "--json", "other.png")).out);
  assert.deepEqual([shown.job.prompt, shown.job.template], ["z", "{z}"]);
  assert.equal(shown.job.negativePrompt, record.negativePrompt);
  assert.deepEqual([shown.job.prompt2, shown.job.template2], [record.prompt2, record.template2]);
  const seeds = await run("again", file, "--model", FLAT, "--seed", "77", "--output", "seed.png");
  assert.equal(seeds.rc, 0, seeds.error);
  assert.equal(JSON.parse((await run("show", "--json", "seed.png")).out).job.prompt, record.prompt);
});

test("nothing is read from outside the folder, and each refusal is one error", async () => {
  const read = wildcardReader(path.join(cwd, "cards"));
  assert.deepEqual(await read("inner"), ["small", "large"]);
  for (const [name, problem] of [
    ["../secret", /that is no name/],
    ["/etc/passwd", /that is no name/],
    ["animals/../../secret", /that is no name/],
    ["animals*", /that is no name/],
    [".hidden", /that is no name/],
    ["a\0b", /that is no name/],
    ["none", /there is no file none\.txt/],
    ["link", /outside the folder/],
    ["beside", /outside the folder/],
    ["large", /too large \(found 4194305 bytes, allowed 4194304\)/],
    ["latin", /no UTF-8/],
  ] as const) {
    await assert.rejects(read(name), (error) => {
      const { code, problem: told } = error as { code: string; problem: string };
      assert.equal(code, "E_WILDCARD", String(error));
      assert.match(told, problem);
      return true;
    });
  }
  await assert.rejects(wildcardReader(path.join(cwd, "nowhere"))("size"), /folder of wildcards .* can't be opened/);
  const line = ["generate", "__size__", "--prompt-syntax", "a1111", ...MODEL];
  const { rc, error } = await run(...line);
  assert.equal(rc, 2);
  assert.match(error, /^E_WILDCARD __size__: no folder of wildcards was named\. Next: name it with --wildcards-dir/);
});
