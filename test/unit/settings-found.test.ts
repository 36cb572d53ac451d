/** @file What is taken of a picture's own words, value by value: within its field's limits as text or as JSON; the rest is noted, so much and no more. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { SettingsFound } from "../../src/job/picture-settings.ts";

/** The value that a job has then, or the note. */
function taken(name: string, value: unknown, called?: string): unknown {
  const found = new SettingsFound();
  found.take(name, value, called);
  const { job, notes } = found.settings("json", "x");
  return notes[0] ?? (job as Readonly<Record<string, unknown>>)[name];
}

test("values of every kind, as text and as JSON", () => {
  for (const [name, value, expected] of [
    ["prompt", "a", "a"],
    ["steps", 7, 7],
    ["steps", "7", 7],
    ["guidance", 7.5, 7.5],
    ["guidance", "7.", 7],
    ["seed", "18446744073709551615", "18446744073709551615"],
    ["seed", 5, 5],
    ["seed", -1, undefined],
    ["sampler", "Euler a", "euler-a"],
    ["lossless", true, true],
    ["lossless", "false", false],
    ["embeddings", ["a", "b"], ["a", "b"]],
    ["embeddings", 'a, "b,c"', ["a", "b,c"]],
    ["loras", [{ file: "a", weight: 1 }], [{ file: "a", weight: 1 }]],
    ["loras", "a:0.5", [{ file: "a", weight: 0.5 }]],
    ["controls", [{ file: "a" }], [{ file: "a" }]],
    ["initImage", "a.png", "a.png"],
    ["steps", undefined, undefined],
    ["steps", null, undefined],
  ] as const) {
    assert.deepEqual(taken(name, value), expected, `${name} ${JSON.stringify(value)}`);
  }
});

test("what can't be is left out with a note in the picture's own word for it", () => {
  for (const [name, value, words] of [
    ["steps", 0, /^Steps must be .* \(found "0"\): left out$/],
    ["steps", 1.5, /^Steps must be .*: left out$/],
    ["steps", true, /^Steps must be .* \(found true\): left out$/],
    ["prompt", 5, /^Steps must be .* \(found 5\): left out$/],
    ["width", 17, /^Steps must be .*: left out$/],
    ["embeddings", ["a", 1], /^Steps must be .*: left out$/],
    ["embeddings", new Array(1000).fill("a"), /^Steps must be up to \d+ files \(found 1000\): left out$/],
    ["loras", [{ file: "a", weight: 1000 }], /^Steps must be .*: left out$/],
    ["loras", { file: "a" }, /^Steps must be .* \(found \{"file":"a"\}\): left out$/],
    ["controls", "a", /^Steps must be .*: left out$/],
    ["controls", [{ file: "a", image: "https://x" }], /left out$/],
    ["initImage", "https://x/a.png", /left out$/],
    ["nothing", "x", /^Steps: x is not understood here: left out$/],
    ["__proto__", "x", /^Steps: x is not understood here: left out$/],
    ["nothing", "x".repeat(61), /^Steps: x{60} \.\.\. is not understood here: left out$/],
  ] as const) {
    assert.match(String(taken(name, value, "Steps")), words, `${name} ${JSON.stringify(value).slice(0, 60)}`);
  }
  const { maxCount } = /up to (?<maxCount>\d+) files/.exec(String(taken("embeddings", new Array(1000).fill("a"))))!
    .groups!;
  const files = (count: number) => new Array<string>(count).fill("a");
  assert.deepEqual(taken("embeddings", files(Number(maxCount))), files(Number(maxCount)));
  assert.match(String(taken("embeddings", files(Number(maxCount) + 1))), /left out$/);
});

test("a hostile picture's notes are forty, and one that there are more; its other words are all kept", () => {
  const found = new SettingsFound();
  for (let i = 0; i < 50; i++) found.pass(`k${i}`, i);
  const { notes, others } = found.settings("json", "x");
  assert.equal(notes.length, 41);
  assert.deepEqual(
    [notes[0], notes[39], notes[40]],
    [
      ...[
        "k0: 0 is not understood here: left out",
        "k39: 39 is not understood here: left out",
        "and more that is not told",
      ],
    ],
  );
  assert.deepEqual([others.size, others.get("k49")], [50, "49"]);
});

test("facts are texts of plain values; a field is had once it was taken", () => {
  const found = new SettingsFound();
  found.fact("model", "m");
  found.fact("clip", 2);
  found.fact("tiling", false);
  found.fact("list", [1]);
  found.fact("nothing", null);
  found.take("steps", 5);
  found.take("seed", -1);
  assert.deepEqual({ ...found.settings("json", "x").facts }, { model: "m", clip: "2", tiling: "false" });
  assert.deepEqual(
    [found.has("steps"), found.has("seed"), found.knows("seed"), found.knows("model")],
    [true, false, true, false],
  );
});
