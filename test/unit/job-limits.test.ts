/** @file Small parts of jobs, each with its limits: seeds of several pictures, a picture as one string, a file's format, an enlarged size. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { MAX_PICTURE_BYTES } from "../../src/image/picture-header.ts";
import { namedPictures, withNamedPictures } from "../../src/job/named-pictures.ts";
import { requireEncodingFits } from "../../src/job/output-fields.ts";
import { pictureReference } from "../../src/job/picture.ts";
import { seedAfter, seedFromDigits } from "../../src/job/seed.ts";
import { seriesOf } from "../../src/job/series.ts";
import type { GenerateJob } from "../../src/job/types.ts";
import { requireOneSize } from "../../src/job/upscale.ts";

const LAST = "18446744073709551615";

test("several pictures: their seeds count up; of a variation the subseeds do, and the seed stays", () => {
  const seeds = (job: Omit<GenerateJob, "prompt">, count: number) =>
    seriesOf(job, count).map(({ seed, subseed }) => [seed, subseed]);
  assert.deepEqual(
    seeds({ seed: 5 }, 3),
    [5, 6, 7].map((seed) => [seed, undefined]),
  );
  assert.deepEqual(seeds({ seed: 5, subseed: 9 }, 2), [
    [5, 9],
    [6, 9],
  ]);
  assert.deepEqual(seeds({ seed: 5, subseed: 9, subseedStrength: 0 }, 2), [
    [5, 9],
    [6, 9],
  ]);
  assert.deepEqual(seeds({ seed: 5, subseed: 9, subseedStrength: 0.1 }, 3), [
    [5, 9],
    [5, 10],
    [5, 11],
  ]);
  const drawn = seeds({ seed: 5, subseedStrength: 1 }, 2) as [number, number][];
  assert.deepEqual([drawn[0]![0], drawn[1]![0], drawn[1]![1] - drawn[0]![1]], [5, 5, 1]);
  const [first, second] = seeds({}, 2) as [number, undefined][];
  assert.equal(second![0] - first![0], 1);
  assert.deepEqual(seriesOf({ seed: 1, steps: 3 }, 1), [{ seed: 1, steps: 3 }]);
});

test("seeds up to 2^64 - 1: those that JavaScript holds exactly are numbers; past the last there is none", () => {
  assert.deepEqual(
    seriesOf({ seed: 9007199254740990 }, 3).map(({ seed }) => seed),
    [9007199254740990, 9007199254740991, "9007199254740992"],
  );
  assert.equal(seedAfter("18446744073709551614", 1), LAST);
  assert.equal(seedAfter(LAST, 1), undefined);
  for (const [digits, seed] of [
    ["0", 0],
    ["007", 7],
    ["9007199254740991", 9007199254740991],
    ["9007199254740993", "9007199254740993"],
    [LAST, LAST],
    ["18446744073709551616", undefined],
    ["-1", undefined],
    ["1.0", undefined],
    ["", undefined],
  ] as const) {
    assert.equal(seedFromDigits(digits), seed, digits);
  }
  assert.throws(() => seriesOf({ seed: LAST }, 2), { code: "E_USAGE" });
  assert.throws(() => seriesOf({ subseed: LAST, subseedStrength: 1, seed: 0 }, 2), { code: "E_USAGE" });
  assert.equal(seriesOf({ seed: LAST, subseed: 1, subseedStrength: 1 }, 2).length, 2);
});

const data = (bytes: Uint8Array, kind = "png") => `data:image/${kind};base64,${Buffer.from(bytes).toString("base64")}`;

test("a picture is a file, its own bytes, or an asset's hash", () => {
  assert.deepEqual(pictureReference("x", "a b/c.png"), { kind: "file", path: "a b/c.png" });
  assert.deepEqual(pictureReference("x", "p".repeat(32_767)), { kind: "file", path: "p".repeat(32_767) });
  const digits = `${"a1".repeat(31)}fF`;
  assert.deepEqual(pictureReference("x", `SHA256:${digits}`), { kind: "asset", sha256: digits.toLowerCase() });
  // Lengths around each padding, and around the pieces that are decoded at once (65,536 characters are 49,152 bytes).
  for (const length of [1, 2, 3, 4, 49_151, 49_152, 49_153, 98_305]) {
    const bytes = Uint8Array.from({ length }, (_, at) => (at * 7) % 256);
    for (const kind of ["png", "jpeg", "WEBP"]) {
      const found = pictureReference("x", data(bytes, kind));
      assert.ok(found.kind === "data" && Buffer.from(found.bytes).equals(bytes), `${length} ${kind}`);
    }
  }
});

test("what is no picture is refused in the name of who named it", () => {
  const whole = data(new Uint8Array(98_304));
  for (const text of [
    ...["", "a\0b", "p".repeat(32_768), "https://x/a.png", "HTTP://x/a.png", "sha256:12", `sha256:${"g".repeat(64)}`],
    ...["data:image/gif;base64,AAAA", "data:image/png,AAAA", "data:image/png;base64,", "data:text/html;base64,AAAA"],
    ...["data:image/png;base64,AAA", "data:image/png;base64,AAAAA", "data:image/png;base64,AA*A"],
    ...[
      "data:image/png;base64,A===",
      "data:image/png;base64,AA==AAAA",
      `${whole.slice(0, 70_000)}*${whole.slice(70_001)}`,
    ],
  ]) {
    assert.throws(() => pictureReference("--mask", text), { code: "E_PICTURE", subject: "--mask" }, text.slice(0, 40));
  }
  const chars = 4 * Math.ceil((MAX_PICTURE_BYTES + 1) / 3);
  const huge = `data:image/png;base64,${"A".repeat(chars)}`;
  assert.throws(() => pictureReference("--mask", huge), { code: "E_IMAGE_SIZE", subject: "--mask" });
});

test("every picture of a job has a name of its own, and another can be put in its place", () => {
  const job: GenerateJob = {
    ...{ prompt: "x", initImage: "i", maskImage: "m" },
    controls: [{ file: "n" }, { file: "n", image: "c1" }],
    ipAdapters: [
      { file: "a", images: ["a00", "a01"], masks: ["m00", "m01"] },
      { file: "a", images: ["a10"] },
    ],
  };
  const names: Readonly<Record<string, string>> = {
    ...{ initImage: "i", maskImage: "m", "controls.1.image": "c1", "ipAdapters.0.images.0": "a00" },
    ...{ "ipAdapters.0.images.1": "a01", "ipAdapters.0.masks.0": "m00", "ipAdapters.0.masks.1": "m01" },
    ...{ "ipAdapters.1.images.0": "a10" },
  };
  const pairs = (of: GenerateJob) =>
    Object.fromEntries(namedPictures(of).map(({ name, reference }) => [name, reference]));
  assert.deepEqual(pairs(job), names);
  for (const name of Object.keys(names)) {
    assert.deepEqual(pairs(withNamedPictures(job, new Map([[name, "new"]]))), { ...names, [name]: "new" });
  }
  assert.equal(withNamedPictures(job, new Map()), job);
  assert.deepEqual(withNamedPictures(job, new Map([["controls.0.image", "x"]])).ipAdapters, job.ipAdapters);
});

test("quality and lossless mean something in some formats alone", () => {
  const refused = (choice: Parameters<typeof requireEncodingFits>[0]) => {
    try {
      requireEncodingFits(choice);
    } catch (error) {
      return (error as { readonly subject: string }).subject;
    }
    return undefined;
  };
  for (const [choice, subject] of [
    [{}, undefined],
    [{ format: "jpeg", quality: 50 }, undefined],
    [{ format: "webp", quality: 50, lossless: false }, undefined],
    [{ format: "webp", lossless: true }, undefined],
    [{ format: "png", lossless: false }, undefined],
    [{ quality: 50 }, "quality"],
    [{ format: "png", quality: 50 }, "quality"],
    [{ format: "webp", quality: 50, lossless: true }, "quality"],
    [{ lossless: true }, "lossless"],
    [{ format: "jpeg", lossless: true }, "lossless"],
  ] as const) {
    assert.equal(refused(choice), subject, JSON.stringify(choice));
  }
});

test("an enlarged picture has one size: a scale, both sides, or the network's own", () => {
  const job = { image: "a", upscaler: "u" };
  for (const size of [{}, { scale: 2 }, { width: 8, height: 9 }]) requireOneSize({ ...job, ...size });
  const wrong = [{ width: 8 }, { height: 8 }, { width: 8, scale: 2 }, { height: 8, scale: 2 }];
  for (const size of [...wrong, { width: 8, height: 8, scale: 2 }]) {
    assert.throws(() => requireOneSize({ ...job, ...size }), { code: "E_JOB" }, JSON.stringify(size));
  }
});
