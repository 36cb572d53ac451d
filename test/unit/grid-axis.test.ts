/** @file The axes of grids: A1111's ranges by a table, quoting, words for words, and what is refused. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { contactSheet, sheetLayout } from "../../src/image/contact-sheet.ts";
import { drawLettering, hasBoxes, letteringWidth } from "../../src/image/lettering.ts";
import { parseAxis, requireApart } from "../../src/job/grid-axis.ts";

const JOB = { prompt: "a cat and a cat", negativePrompt: "dog" };

for (const [text, values] of [
  ["steps=10,20-40:10", [10, 20, 30, 40]],
  ["steps=1-5", [1, 2, 3, 4, 5]],
  ["steps = 1-10 (+3)", [1, 4, 7, 10]],
  ["steps=10-1 (-3)", [10, 7, 4, 1]],
  ["steps=5-3", [5, 4, 3]],
  ["steps=40-20:10", [40, 30, 20]],
  ["guidance=2-1:0.5", [2, 1.5, 1]],
  ["steps=1-10 [5]", [1, 3, 5, 7, 10]],
  ["guidance=5-7 (+0.5)", [5, 5.5, 6, 6.5, 7]],
  ["cfg=0.1-0.3 (+0.1), 9", [0.1, 0.2, 0.3, 9]],
  ["CFG scale=1-2 [3]", [1, 1.5, 2]],
  ["guidance=0-1 [1]", [0]],
  ["seed=18446744073709551615,7", ["18446744073709551615", 7]],
  ["width=64-128:32", [64, 96, 128]],
  ["sampler=euler", ["euler"]],
  ["Schedule type=Karras,sgm_uniform", ["karras", "sgm-uniform"]],
  ["Var. seed=3-4", [3, 4]],
  ["Var. strength=0-1 [3]", [0, 0.5, 1]],
  ["Denoising=0.4", [0.4]],
] as const) {
  test(`${text} is ${values.join(", ")}`, () => {
    const axis = parseAxis("--x", text);
    const field = axis.field as "steps";
    assert.deepEqual(
      axis.texts.map((_, i) => axis.apply(JOB, i)[field]),
      values,
    );
  });
}

test("a setting of one of the job's ControlNets, by our name and A1111's extension's", () => {
  const job = { ...JOB, controls: [{ file: "a", weight: 0.5 }, { file: "b" }] };
  const made = (text: string) => {
    const axis = parseAxis("--x", text);
    return axis.texts.map((_, i) => axis.apply(job, i).controls);
  };
  const [, second] = job.controls;
  assert.deepEqual(
    made("control-weight=0-1:0.5"),
    [0, 0.5, 1].map((weight) => [{ file: "a", weight }, second]),
  );
  assert.deepEqual(made("[ControlNet] Guidance End=0.4"), [[{ file: "a", weight: 0.5, end: 0.4 }, second]]);
  assert.deepEqual(made("control-mode 2=depth"), [[job.controls[0], { file: "b", mode: "depth" }]]);
  assert.throws(() => parseAxis("--x", "control-weight=11"), /--x control-weight must be a number from 0 to 10/);
  assert.throws(
    () => parseAxis("--x", "control-weight=1").apply(JOB, 0),
    /E_GRID --x: it is of number 1 of the job's controls \(found 0\)/,
  );
  const adapters = parseAxis("--x", "ip-weight=0.6").apply({ ...JOB, ipAdapters: [{ file: "a" }] }, 0).ipAdapters;
  assert.deepEqual(adapters, [{ file: "a", weight: 0.6 }]);
  const [x, y] = ["control-weight=1", "ControlNet weight=2"].map((text) => parseAxis("--x", text));
  assert.throws(() => requireApart({ "--x": x!, "--y": y! }), /E_GRID --y: --x is over controls\.0\.weight already/);
});

test("Size says width and height", () => {
  const axis = parseAxis("--x", "Size=512x768, 64x16");
  assert.deepEqual(axis.texts, ["512x768", "64x16"]);
  assert.deepEqual(axis.apply(JOB, 0), { ...JOB, width: 512, height: 768 });
  assert.throws(() => parseAxis("--x", "size=512"), /E_GRID --x: size can't be "512"/);
  assert.throws(() => parseAxis("--x", "size=511x512"), /a multiple of 8 from 16/);
});

test("values in quotes hold commas and quotes; words are replaced everywhere, as they are", () => {
  assert.equal(parseAxis("--x", "Prompt S/R=cat,ox").apply(JOB, 1).prompt, JOB.prompt.replaceAll("cat", "ox"));
  const axis = parseAxis("--y", 'prompt-sr=cat,"dog, ""big""", $& ,');
  assert.deepEqual(axis.texts, ["cat", 'dog, "big"', "$&", ""]);
  assert.deepEqual(
    axis.texts.map((_, i) => axis.apply(JOB, i).prompt),
    ["a cat and a cat", 'a dog, "big" and a dog, "big"', "a $& and a $&", "a  and a "],
  );
  const both = { prompt: "a cat", negativePrompt: "cat, no cat", steps: 3 };
  assert.deepEqual(parseAxis("--x", "sr=cat,ox").apply(both, 1), {
    prompt: "a ox",
    negativePrompt: "ox, no ox",
    steps: 3,
  });
  const negative = { prompt: "a dog", negativePrompt: "cat" };
  assert.deepEqual(parseAxis("--x", "sr=cat,ox").apply(negative, 1), { prompt: "a dog", negativePrompt: "ox" });
  assert.throws(() => parseAxis("--y", "sr=bird,cow").apply(JOB, 1), /E_GRID --y: the prompt does not have "bird"/);
});

test("a seed of chance is drawn once for its whole column", () => {
  const axis = parseAxis("--x", "seed=-1,-1");
  for (const i of [0, 1]) {
    const { seed } = axis.apply(JOB, i);
    assert.equal(typeof seed, "number");
    assert.deepEqual([axis.apply({ prompt: "y" }, i).seed, axis.texts[i]], [seed, String(seed)]);
  }
});

test("Clip skip by A1111's name counts as A1111, by ours as diffusers", () => {
  const skips = (text: string) => {
    const axis = parseAxis("--x", text);
    return [axis.texts.join(), axis.texts.map((_, i) => axis.apply(JOB, i).clipSkip).join()];
  };
  assert.deepEqual(skips("Clip skip=1-4"), ["1,2,3,4", "0,0,1,2"]);
  assert.deepEqual(skips("clip-skip=0-2"), ["0,1,2", "0,1,2"]);
});

test("what is refused, by name", () => {
  for (const [text, wanted] of [
    ["nothing=1", /E_GRID --x: there is no field "nothing" \(allowed .*steps.*prompt-sr\)/],
    ["steps", /an axis is a name and values/],
    ["steps=", /an axis is a name and values/],
    ["steps=1-10 (-1)", /leads nowhere/],
    ["steps=1-10 (+0)", /leads nowhere|too many/],
    ["steps=1-100000", /too many values on one axis \(found 100000, allowed 200\)/],
    ["steps=1-2 [99999999]", /too many values/],
    ["steps=0-3", /--x steps must be a whole number from 1 to 1000 \(found "0"\)/],
    ["sampler=nosuch", /--x sampler must be/],
    ["prompt-sr=cat", /wants the words to replace/],
  ] as const) {
    assert.throws(() => parseAxis("--x", text), wanted, text);
  }
});

test("a sheet: every picture at its place, legends in black on white, nothing over a picture", () => {
  const legends = { columns: ["A", "a very long legend that is cut"], rows: ["r1", "r2"], blocks: ["z: 1", "z: 2"] };
  const cell = { width: 40, height: 24 };
  const layout = sheetLayout(legends, cell);
  const solid = (value: number) => ({ ...cell, rgb: new Uint8Array(3 * 40 * 24).fill(value) });
  const pictures = Array.from({ length: 8 }, (_, i) => (i === 5 ? undefined : solid(100 + i)));
  const { width, height, rgb } = contactSheet(layout, pictures);
  assert.deepEqual([rgb.length, width], [3 * width * height, layout.leftPixels + 2 * 44 - 4]);
  for (let i = 0; i < 8; i++) {
    const left = layout.leftPixels + (i % 2) * 44;
    const top = Math.floor(i / 4) * layout.blockHeight + layout.topPixels + (Math.floor(i / 2) % 2) * 28;
    for (const [x, y] of [
      [0, 0],
      [39, 0],
      [0, 23],
      [39, 23],
      [20, 12],
    ] as const) {
      assert.equal(rgb[3 * ((top + y) * width + left + x)], i === 5 ? 255 : 100 + i, `${i} ${x} ${y}`);
    }
  }
  // The long one goes on below.
  assert.ok(layout.columnLines > 2, `${layout.columnLines} lines`);
  assert.equal(sheetLayout({ ...legends, columns: ["A", "B"] }, cell).columnLines, 1);
  const dark = rgb.filter((value) => value < 64).length;
  assert.ok(dark > 300, `${dark} dark values`);
});

test("letters differ, widths add up, and what the font has not is a box", () => {
  const drawn = (text: string) => {
    const picture = { width: 24, height: 20, rgb: new Uint8Array(3 * 24 * 20).fill(255) };
    drawLettering(picture, text, 2, 0);
    return Buffer.from(picture.rgb).toString("latin1");
  };
  const all = Array.from({ length: 94 }, (_, i) => drawn(String.fromCharCode(0x21 + i)));
  assert.ok(new Set(all).size >= 93);
  assert.equal(letteringWidth("ab"), letteringWidth("a") + letteringWidth("b"));
  assert.ok(!hasBoxes("steps: 10 ~"));
  assert.ok(hasBoxes("山") && drawn("山") !== drawn(" "));
});

test("letters that hang over an edge are cut there: what is seen of them is a part of the same on a larger picture", () => {
  const [side, margin] = [14, 20];
  const drawn = (size: number, left: number, top: number) => {
    const picture = { width: size, height: size, rgb: new Uint8Array(3 * size * size).fill(255) };
    drawLettering(picture, "W山#", left, top);
    return picture;
  };
  for (const [left, top] of [
    [-5, 2],
    [3, -6],
    [9, 1],
    [2, 8],
    [-8, -3],
    [13, 13],
  ] as const) {
    const whole = drawn(side + 2 * margin, margin + left, margin + top);
    const rows = Array.from({ length: side }, (_, y) => {
      const at = 3 * ((margin + y) * whole.width + margin);
      return [...whole.rgb.subarray(at, at + 3 * side)];
    });
    assert.deepEqual([...drawn(side, left, top).rgb], rows.flat(), `${left}, ${top}`);
  }
});

test("two axes over one field are refused, two over the prompt's words are not", () => {
  const axes = (x: string, z: string) => ({ "--x": parseAxis("--x", x), "--z": parseAxis("--z", z) });
  assert.throws(
    () => requireApart(axes("steps=1,2", "Steps=3")),
    /E_GRID --z: --x is over steps already\. Next: name another field\./,
  );
  assert.throws(() => requireApart(axes("model=a", "checkpoint=b")), /E_GRID --z: --x is over model already/);
  requireApart(axes("sr=a,b", "sr=c,d"));
  requireApart(axes("steps=1", "seed=1"));
});
