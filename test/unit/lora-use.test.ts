/** @file Adapters with their strengths as text and as JSON: read back as they were written, and refused as a whole where one of them can't be. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type LoraUse, lorasFromJson, lorasFromText, lorasText, MAX_LORAS } from "../../src/job/lora-use.ts";

test("text and JSON of adapters are read back", () => {
  const loras: readonly LoraUse[] = [
    { file: "C:\\loras\\a, b.safetensors", weight: -0.5 },
    { file: "fur:v2", te: 0.5, unet: 1, from: 0.2, to: 0.2 },
    { file: "fog" },
  ];
  assert.deepEqual(lorasFromText(lorasText(loras)), loras);
  assert.deepEqual(lorasFromJson(JSON.parse(JSON.stringify(loras))), loras);
  assert.deepEqual(lorasFromText("fur:.8:to=0.6"), [{ file: "fur", weight: 0.8, to: 0.6 }]);
});

test("a range that ends before it begins, a number said twice or too large, one bad adapter among good ones: none of them", () => {
  for (const text of ["fur:from=0.8:to=0.2", "fur:1:2", "fur:te=1:te=1", "fur:101", "fur:to=1.1"]) {
    assert.equal(lorasFromText(text), undefined, text);
  }
  const good = { file: "a" };
  for (const bad of [
    { file: "" },
    { file: 1 },
    {},
    null,
    "a",
    { ...good, weight: "1" },
    { ...good, from: -0.1 },
    { ...good, strength: 1 },
  ]) {
    assert.equal(lorasFromJson([good, bad]), undefined, JSON.stringify(bad));
  }
  assert.equal(lorasFromJson(Array(MAX_LORAS).fill(good))!.length, MAX_LORAS);
  assert.equal(lorasFromJson(Array(MAX_LORAS + 1).fill(good)), undefined);
});
