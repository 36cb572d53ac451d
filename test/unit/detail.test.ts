/** @file Parts of pictures that are drawn by themselves: where they lie (as diffusers' get_crop_region), how they are laid back, what of it is planned and refused. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { resampleBytes } from "../../src/image/resample.ts";
import type { JobShape } from "../../src/models/job-shape.ts";
import { boxMask, cutOut, detailPlace, withDetail } from "../../src/pipeline/detail.ts";
import { requireJobFits } from "../../src/pipeline/job-settings.ts";
import { openSdxlFolder } from "../sdxl-folder.ts";

const grey = (width: number, height: number, value = 9) => {
  return { width, height, rgb: new Uint8Array(3 * width * height).fill(value) };
};

test("where a part lies: the box with its padding, grown to the job's shape, within the picture (numbers of diffusers 0.42)", () => {
  const cases = [
    [[100, 80], "10,20,30,10", [64, 64], 5, [5, 5, 45, 45]],
    [[100, 80], "80,60,20,20", [64, 64], 16, [64, 44, 100, 80]],
    [[100, 80], "0,0,8,70", [128, 64], 4, [0, 0, 100, 74]],
    [[100, 80], "40,30,10,10", [64, 128], 32, [8, 0, 82, 80]],
    [[60, 90], "5,80,50,6", [48, 96], 0, [5, 0, 55, 90]],
    // One more at its end where it grows by 21; wider than the picture, and still within it.
    [[100, 80], "10,20,31,10", [64, 64], 5, [5, 5, 46, 46]],
    [[40, 80], "5,10,10,60", [128, 64], 4, [0, 6, 40, 74]],
  ] as const;
  for (const [[wide, high], box, [width, height], detailPadding, [x1, y1, x2, y2]] of cases) {
    const whole = grey(wide, high);
    const { area } = detailPlace(whole, boxMask(box, whole), { detailPadding, width, height });
    assert.deepEqual(area, { left: x1, top: y1, width: x2 - x1, height: y2 - y1 }, box);
  }
});

test("a softened edge is part of what is drawn, and so is what is around it, 32 pixels where nothing else is said", () => {
  const whole = grey(200, 160);
  const mask = boxMask("80,60,20,20", whole);
  const soft = detailPlace(whole, mask, { maskBlur: 4, detailPadding: 0, width: 64, height: 64 });
  let [least, most] = [200, 0];
  soft.mask.forEach((value, at) => {
    if (value > 0) [least, most] = [Math.min(least, at % 200), Math.max(most, at % 200)];
  });
  assert.ok(least < 80 && most > 99, "softened on both sides");
  const { left, width } = soft.area;
  assert.deepEqual([left, left + width], [least, most + 1]);
  const usual = detailPlace(whole, mask, { width: 64, height: 64 });
  assert.deepEqual(usual.area, { left: 48, top: 28, width: 84, height: 84 });
});

test("what is cut out are the rows of the picture, with all channels", () => {
  // 4 x 3 pixels of two channels, each byte its own place.
  const bytes = Uint8Array.from({ length: 24 }, (_, i) => i);
  assert.deepEqual(
    [...cutOut(bytes, 4, 2, { left: 1, top: 1, width: 2, height: 2 })],
    [10, 11, 12, 13, 18, 19, 20, 21],
  );
  assert.deepEqual(
    [...cutOut(bytes.subarray(0, 12), 4, 1, { left: 2, top: 0, width: 2, height: 3 })],
    [2, 3, 6, 7, 10, 11],
  );
});

test("laid back by its mask: white shows the part, black the picture, grey both", () => {
  const whole = grey(20, 16, 0);
  const mask = boxMask("6,4,8,8", whole);
  mask[4 * 20 + 6] = 51;
  const place = detailPlace(whole, mask, { detailPadding: 2, width: 24, height: 24 });
  assert.deepEqual(place.area, { left: 4, top: 2, width: 12, height: 12 });
  const { rgb } = withDetail(place, grey(24, 24, 255));
  for (let y = 0; y < 16; y++) {
    for (let x = 0; x < 20; x++) {
      const inside = x >= 6 && x < 14 && y >= 4 && y < 12;
      // A fifth of the way in the corner.
      assert.equal(rgb[3 * (20 * y + x)], x === 6 && y === 4 ? 51 : inside ? 255 : 0, `${x},${y}`);
    }
  }
});

test("the plan counts the whole picture and its mask in each phase, and what lays the part back where it is decoded", async () => {
  const checkpoint = await openSdxlFolder(fileURLToPath(new URL("../../fixtures/golden/flat", import.meta.url)));
  const shape: JobShape = { batch: 2, width: 16, height: 16, modelCalls: 1, historyLength: 0, fp32: false };
  const bytes = (detail?: NonNullable<JobShape["pictures"]>["detail"]) => {
    const described = checkpoint.describe({
      ...shape,
      pictures: { encoded: 1, masked: true, ...(detail && { detail }) },
    });
    return new Map(described.phases.map(({ id, hostBytes }) => [id, hostBytes]));
  };
  const [plain, part] = [bytes(), bytes({ whole: { width: 100, height: 80 }, part: { width: 24, height: 24 } })];
  const always = 4 * 100 * 80;
  for (const id of ["encode", "look", "denoise"]) assert.equal(part.get(id)! - plain.get(id)!, always, id);
  const resized = resampleBytes({ width: 16, height: 16, channels: 3 }, { width: 24, height: 24 });
  // As pixels, and PNG's nine bytes each.
  assert.equal(part.get("decode")! - plain.get("decode")!, always + 100 * 80 * (3 + 9) + resized);
});

test("boxes beyond the picture, black masks, and fields that don't go with it are refused", () => {
  const whole = grey(20, 16);
  for (const box of ["1,2,3", "0,0,21,4", "17,0,4,4", "4,15,4,2", "0,0,4,17", "0,0,0,4", "mask", "-1,0,4,4"]) {
    assert.throws(() => boxMask(box, whole), /E_JOB detail: left,top,width,height within the picture of 20x16/, box);
  }
  const black = new Uint8Array(20 * 16);
  assert.throws(() => detailPlace(whole, black, { width: 16, height: 16 }), /E_JOB detail: the mask is black/);
  const model = { inpaints: false, name: "m" } as never;
  for (const [job, words] of [
    [{ detail: "1,1,4,4" }, /E_JOB detail: there is no picture to begin with/],
    [{ initImage: "a.png", detail: "mask" }, /E_JOB detail: there is no mask/],
    [{ initImage: "a.png", maskImage: "b.png", detail: "1,1,4,4" }, /E_JOB detail: there is a mask beside the box/],
    [{ initImage: "a.png", outpaint: "0,0,8,0", detail: "1,1,4,4" }, /E_JOB detail: a picture that grows/],
    [{ initImage: "a.png", detailPadding: 8 }, /E_JOB detailPadding: there is no detail/],
  ] as const) {
    assert.throws(() => requireJobFits(model, { prompt: "x", ...job }), words);
  }
});
