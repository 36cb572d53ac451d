/** @file What `plan` and `tokens` ask of the engine beside their flags, and what they note: in words on stderr, and never there with --json. */
import assert from "node:assert/strict";
import { tmpdir } from "node:os";
import { test } from "node:test";
import { runCli } from "../../src/cli/program.ts";
import type { Engine } from "../../src/job/types.ts";
import { fakeContext } from "./fake-context.ts";

async function run(line: readonly string[], own: Partial<Engine> = {}) {
  const fake = fakeContext({ cwd: tmpdir() });
  const openEngine: typeof fake.context.openEngine = async (options) => ({
    ...(await fake.context.openEngine(options)),
    ...own,
  });
  const rc = await runCli(line, { ...fake.context, openEngine });
  return { rc, out: fake.out(), err: fake.err(), opened: fake.opened };
}

test("plan: the prompt counts, several images are asked for as such, and a described machine's precision is noted", async () => {
  const asked: (readonly [unknown, unknown])[] = [];
  const plan: Engine["plan"] = async (job, options) => {
    asked.push([job.prompt, options?.count]);
    return {} as Awaited<ReturnType<Engine["plan"]>>;
  };
  const note = "Note: described machines are planned for in fp32.\n";
  const as = ["--as", "gtx1060-6g", "--precision", "fp16"];
  const notes = [];
  for (const line of [["a [b:c:3]"], ["x", "--count", "4"], ["x", ...as], ["x", "--precision", "fp16"]]) {
    const { rc, err } = await run(["plan", ...line, "--json"], { plan });
    assert.equal(rc, 0, err);
    notes.push(err.endsWith(note));
  }
  assert.deepEqual(asked, [
    ["a [b:c:3]", undefined],
    ["x", 4],
    ["x", undefined],
    ["x", undefined],
  ]);
  assert.deepEqual(notes, [false, false, true, false]);
});

test("tokens: what is cut of a plain prompt, beside the ids; in a1111's syntax nothing is", async () => {
  const long = "x".repeat(80);
  const words = await run(["tokens", long]);
  assert.match(words.err, /\nNote: The prompt is too long for tokenizer /);
  assert.ok(!words.out.includes("too long"));
  const json = await run(["tokens", long, "--json"]);
  assert.deepEqual([json.err, Object.keys(JSON.parse(json.out))], ["", ["tokenizer", "tokenizer_2", "cut"]]);
  for (const flags of [[], ["--json"]]) {
    const { out, err } = await run(["tokens", long, "--prompt-syntax", "a1111", ...flags]);
    assert.ok(!/"cut"|too long/.test(out + err), err);
  }
  assert.equal((await run(["tokens", "x", "--model", "m"])).opened[0]?.model, "m");
});
