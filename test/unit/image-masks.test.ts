/** @file Masks of image prompts on a step's grids, and jobs of one adapter as they were written before there were several. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { bicubic } from "../../src/image/bicubic.ts";
import { settingsOfInfotext } from "../../src/job/infotext-settings.ts";
import { checkJob } from "../../src/job/schema.ts";
import { settingsOfSolvayJson } from "../../src/job/solvay-record.ts";
import { valueFromText } from "../../src/job/text.ts";
import { pictureMask } from "../../src/pipeline/job-image-prompt.ts";

// torch.nn.functional.interpolate(mask, size=..., mode="bicubic"), torch 2.15.
const MASK = [
  ...[0, 1, 0, 0, 0, 1, 0, 1, 0, 1, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 1],
  ...[1, 0, 1, 0, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0],
];
const SMALLER = [
  ...[0.484547, 0.252948, -0.058784, 0.256538, 0.360352, 1.010254],
  ...[0.104492, 0.639648, 0.192473, 0.376953, 0.400689, 0.097927],
];
const LARGER_ROW = [-0.170903, 0.851309, 0.688344, -0.193976, 0, -0.107509, 0.727058, 0.87022, -0.071956];

test("bicubic values are PyTorch's: fewer, as many, more", () => {
  const from = { width: 7, height: 5 };
  const near = (found: Float32Array, wanted: readonly number[]) => {
    for (const [i, value] of wanted.entries()) assert.ok(Math.abs(found[i]! - value) < 2e-6, `${i}: ${found[i]}`);
  };
  near(bicubic(MASK, from, { width: 4, height: 3 }), SMALLER);
  assert.deepEqual([...bicubic(MASK, from, from)], MASK);
  near(bicubic(MASK, from, { width: 9, height: 8 }), LARGER_ROW);
});

test("a mask is white from the middle grey on, at the size of the pass", () => {
  const rgb = Uint8Array.from([127, 128, 0, 255].flatMap((grey) => [grey, grey, grey]));
  assert.deepEqual([...pictureMask({ width: 2, height: 2, rgb }, { width: 2, height: 2 }).bytes], [0, 1, 0, 1]);
  assert.equal(pictureMask({ width: 2, height: 2, rgb }, { width: 16, height: 8 }).bytes.length, 128);
});

test("text of several adapters, pictures and masks by the name of one; a job and records of one adapter as before", () => {
  const uses = valueFromText(
    { type: "ipAdapters" },
    ":ip-adapter",
    "plus.bin:encoder=vit-h:image=a.png:mask=left.png:image=b.png:mask=right.png:weight=0.5, base.bin:image=c.png",
  );
  assert.deepEqual(uses, [
    {
      ...{ file: "plus.bin", weight: 0.5, masks: ["left.png", "right.png"], images: ["a.png", "b.png"] },
      encoder: "vit-h",
    },
    { file: "base.bin", images: ["c.png"] },
  ]);
  const single = {
    ...{ prompt: "a mill", ipAdapter: "plus.bin", imageEncoder: "vit-h", ipImages: ["a.png", "b, c.png"] },
    ...{ ipWeight: 0.5, ipEnd: 0.75 },
  };
  const listed = [{ file: "plus.bin", encoder: "vit-h", images: ["a.png", "b, c.png"], weight: 0.5, end: 0.75 }];
  assert.deepEqual(checkJob(single), { prompt: "a mill", ipAdapters: listed });
  const record = settingsOfSolvayJson(JSON.stringify({ version: "0.1.0", ...single, pictureHashes: "ipImages.0: 00" }));
  assert.deepEqual([record?.job.ipAdapters, record?.facts.pictureHashes], [listed, "ipAdapters.0.images.0: 00"]);
  const infotext =
    'a mill\nSteps: 4, IP-Adapter: plus.bin, Image encoder: vit-h, IP-Adapter images: "a.png, \\"b, c.png\\"", ' +
    "IP-Adapter weight: 0.5, IP-Adapter end: 0.75, Version: Solvay 0.1.0";
  const told = settingsOfInfotext(infotext);
  assert.deepEqual([told?.job.ipAdapters, told?.notes], [listed, []]);
});
