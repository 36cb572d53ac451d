/** @file The file of an unfinished picture: every field and value comes back; what is not whole, or says what can't be, is refused. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { encodeUnfinished, isPlainPngName, readUnfinished, type UnfinishedPicture } from "../../src/job/resume-file.ts";
import type { DrawnState } from "../../src/job/types.ts";
import { memorySource } from "../../src/source/memory.ts";

const PICTURE: UnfinishedPicture = {
  ...{
    version: "1",
    job: { prompt: "山", seed: 7 },
    request: { model: "/m" },
    cwd: "/home",
    output: "a.png",
    steps: 9,
  },
  computed: { model: "m", backend: "webgpu", adapter: "a card", precision: "fp16" },
  ...{ modelContent: "content", pictures: { initImage: "0123" }, place: { series: "s", index: 0 } },
};
const STATE: DrawnState = {
  ...{ step: 4, x: Float32Array.of(1.5, -2, 3e-38, 0), retry: "E_NAN: no." },
  history: [Float32Array.of(1, 2, 3, 4), Float32Array.of(5, 6, 7, 8)],
};

const fileOf = (picture: object = {}, state: object = {}) =>
  new Uint8Array(Buffer.concat(encodeUnfinished({ ...PICTURE, ...picture }, { ...STATE, ...state })));
const read = (bytes: Uint8Array) => readUnfinished(memorySource("a.resume", new Uint8Array(bytes)));

test("all of it comes back, with what may be absent and without", async () => {
  assert.deepEqual(await read(fileOf()), { ...PICTURE, state: STATE });
  const { modelContent: _, place: __, ...least } = PICTURE;
  const { retry: ___, ...plain } = { ...STATE, history: [] };
  const bare = {
    modelContent: undefined,
    place: undefined,
    computed: { model: "m", backend: "cpu", precision: "fp32" },
  };
  const found = await read(fileOf(bare, { history: [], retry: undefined }));
  assert.deepEqual(found, { ...least, computed: bare.computed, state: plain });
  assert.deepEqual((await read(fileOf({ place: { series: "s", index: 12 } }))).place, { series: "s", index: 12 });
});

test("the first and the last step that there can be, and none beside them", async () => {
  for (const step of [1, 9]) assert.equal((await read(fileOf({}, { step }))).state.step, step);
  for (const step of [0, 10, 1.5, -1]) {
    await assert.rejects(read(fileOf({}, { step })), { code: "E_RESUME_FILE", problem: "its header lacks something" });
  }
});

test("a header that lacks something, or says it otherwise, is refused; what only helps is left out", async () => {
  for (const wrong of [
    ...[{ version: 1 }, { job: [] }, { job: undefined }, { request: "x" }, { cwd: undefined }, { output: 1 }],
    ...[{ steps: 0 }, { steps: 1e7 }, { pictures: { a: 1 } }, { pictures: undefined }, { modelContent: 1 }],
    ...[{ computed: { model: "m", backend: "cpu" } }, { computed: { ...PICTURE.computed, adapter: 1 } }],
    ...[{ output: "" }, { output: "a/b.png" }, { output: ".." }, { output: "C:x.png" }, { output: "a\nb" }],
  ]) {
    const problem = "its header lacks something";
    await assert.rejects(read(fileOf(wrong)), { code: "E_RESUME_FILE", problem }, JSON.stringify(wrong));
  }
  for (const place of [{ series: "s" }, { series: 1, index: 1 }, { series: "s", index: -1 }, "x"]) {
    assert.equal((await read(fileOf({ place }))).place, undefined);
  }
});

test("a byte more, a byte less or another byte anywhere is no file of ours", async () => {
  const good = fileOf();
  for (let at = 0; at < good.length; at++) {
    const broken = good.slice();
    broken[at]! ^= 1;
    await assert.rejects(read(broken), { code: "E_RESUME_FILE" }, `byte ${at}`);
  }
  for (const bytes of [good.subarray(0, -1), Buffer.concat([good, Buffer.of(0)]), good.subarray(0, 43)]) {
    await assert.rejects(read(bytes), { code: "E_RESUME_FILE" });
  }
  // As many latents as there may be, and one more.
  const history = (count: number) => Array.from({ length: count }, () => Float32Array.of(1, 2, 3, 4));
  assert.equal((await read(fileOf({}, { history: history(7) }))).state.history.length, 7);
  await assert.rejects(read(fileOf({}, { history: history(8) })), { code: "E_RESUME_FILE" });
});

test("names that a picture may have: plain ones, of up to 251 letters", () => {
  for (const name of ["a", "a b.png", "山.png", "x".repeat(251)]) assert.ok(isPlainPngName(name), name);
  const wrong = ["", ".", "..", ".a", "a/b", "a\\b", "a:b", "/a", "x".repeat(252), "a\u0000", "a\u202eb", "a\n"];
  for (const name of wrong) assert.ok(!isPlainPngName(name), JSON.stringify(name));
});
