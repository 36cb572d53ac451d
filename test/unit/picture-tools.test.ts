/** @file Which program made a picture, by its own words; which of several texts count, and what is told of one that was enlarged. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { settingsOfInfotext } from "../../src/job/infotext-settings.ts";
import { readPicture } from "../../src/job/read-picture.ts";

const LINE = "Steps: 3, Seed: 1, Size: 8x8";

test("the program by its version's form, its own name, or what else it writes", () => {
  for (const [entries, tool] of [
    [", Version: v1.10.1", "A1111 v1.10.1"],
    [", Version: f2.0.1v1.10.1-previous-659", "Forge f2.0.1v1.10.1-previous-659"],
    [", Version: f0.0.17v1.8.0rc", "Forge f0.0.17v1.8.0rc"],
    [", Version: reForge 2", "Forge reForge 2"],
    [", Version: neo", "Forge Neo neo"],
    [", Version: Solvay 0.1.0", "Solvay 0.1.0"],
    [", Version: ComfyUI", "ComfyUI"],
    [", App: SD.Next, Version: 1234abc", "SD.Next 1234abc"],
    [", App: SD.Next", "SD.Next"],
    [", Civitai resources: []", "Civitai"],
    ["", "unknown (it wrote A1111's format)"],
  ] as const) {
    assert.equal(settingsOfInfotext(`a\n${LINE}${entries}`)?.tool, tool);
  }
});

const text = (keyword: string, value: string) => ({ keyword, text: value });
const toolOf = (...texts: ReturnType<typeof text>[]) => readPicture({ texts })?.tool;
const INVOKE = JSON.stringify({ positive_prompt: "a", cfg_scale: 7 });

test("ours before all others, then A1111's, ComfyUI's, JSON, and an infotext under any name", () => {
  const ours = text("solvay", JSON.stringify({ version: "1", prompt: "a" }));
  const infotext = text("parameters", `a\n${LINE}, Version: v1.10.1`);
  const json = text("invokeai_metadata", INVOKE);
  const odd = text("Description", `a\n${LINE}, Version: v1.9.0`);
  assert.equal(toolOf(odd, json, infotext, ours), "Solvay 1");
  assert.equal(toolOf(odd, json, infotext), "A1111 v1.10.1");
  assert.equal(toolOf(odd, json), "InvokeAI");
  assert.equal(toolOf(odd), "A1111 v1.9.0");
  assert.equal(toolOf(text("Comment", "a picture of mine")), undefined);
  // Only under its own keyword.
  assert.equal(toolOf(text("other", ours.text)), undefined);
});

test("a program that names itself beside its JSON", () => {
  assert.equal(toolOf(text("x", INVOKE), text("Software", "Fork 2")), "Fork 2");
  assert.equal(toolOf(text("x", INVOKE), text("Software", "x".repeat(100))), "InvokeAI");
  const infotext = text("parameters", `a\n${LINE}, Version: v1.10.1`);
  assert.equal(toolOf(infotext, text("Software", "Fork 2")), "A1111 v1.10.1");
});

test("what has enlarged it is one more note, beside what was not understood", () => {
  const infotext = text("parameters", `a\n${LINE}, Tiling: True, Version: v1.10.1`);
  const before = readPicture({ texts: [infotext] })!.notes;
  assert.ok(before.some((note) => note.startsWith("Tiling: True")));
  const notes = readPicture({ texts: [infotext, text("Upscaler", "y".repeat(101))] })!.notes;
  assert.deepEqual(notes, [...before, `it was enlarged after it was made, by ${"y".repeat(100)}`]);
});
