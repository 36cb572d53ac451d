/** @file What people read while something goes on: lines of a picture, of a model, of an import, and the numbers in them. */
import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import { test } from "node:test";
import type { GenerateEvent, LoadEvent } from "../../src/job/types.ts";
import { clock } from "../../src/terminal/format.ts";
import { Progress } from "../../src/terminal/progress.ts";
import { StatusLine, Throttle, transferLine } from "../../src/terminal/status-line.ts";

function watchedStream(isTTY: boolean) {
  const stderr = Object.assign(new PassThrough(), { isTTY, columns: 200 });
  const shown: string[] = [];
  stderr.on("data", (chunk: Buffer) => shown.push(String(chunk)));
  return { stderr, take: () => shown.splice(0).join("") };
}

const times = { elapsedMs: 99_000, readBytes: 0, waitMs: 0 };
const step: GenerateEvent = {
  ...{ type: "step", step: 3, steps: 10, stepMs: 1500, etaMs: 7000, bytesPerSecond: 800e6 },
  ...times,
};

test("a picture's lines: what it will be, where it is, and how long the rest takes", () => {
  const { stderr, take } = watchedStream(true);
  const progress = new Progress({ stderr, env: {} });
  const job = { prompt: "x", negativePrompt: "", seed: 8, steps: 10, guidance: 5, width: 64, height: 32 };
  progress.generate({ type: "start", ...job, backend: "reference" } as GenerateEvent);
  assert.equal(take(), "64x32, 10 steps, guidance 5, seed 8\n");
  progress.generate(step);
  assert.equal(take(), "\r\u001b[KStep  3/10  1.50 s/it  ETA 0:07  800 MB/s");
  progress.generate({ type: "note", text: "a\u001b[31mb" });
  // The line that rewrites itself makes room first.
  assert.equal(take(), "\r\u001b[KNote: a [31mb\n");
  progress.generate({ ...step, bytesPerSecond: 0 });
  assert.equal(take(), "\r\u001b[KStep  3/10  1.50 s/it  ETA 0:07");
  progress.clear();
  progress.clear();
  assert.equal(take(), "\r\u001b[K");
});

test("several pictures side by side have one line, of the one that is behind, and are told once what all of them meet", () => {
  const { stderr, take } = watchedStream(true);
  const progress = new Progress({ stderr, env: {} });
  const job = { prompt: "x", negativePrompt: "", seed: 8, steps: 10, guidance: 5, width: 64, height: 32 };
  for (const image of [1, 2, 4])
    progress.generate({ type: "start", ...job, backend: "reference" } as GenerateEvent, image);
  for (const image of [1, 2, 4]) progress.generate({ type: "note", text: "the card was lost" }, image);
  assert.equal(take().match(/Note: the card was lost/g)?.length, 1);
  progress.generate({ ...step, step: 4 }, 1);
  progress.generate(step, 2);
  take();
  progress.generate({ ...step, step: 4 }, 4);
  assert.equal(take(), "\r\u001b[KImages 2, 3, 5, step  3/10  1.50 s/it  ETA 0:07  800 MB/s");
  progress.leave(4);
  progress.generate({ ...step, step: 4 }, 2);
  assert.equal(take(), "\r\u001b[KImages 2-3, step  4/10  1.50 s/it  ETA 0:07  800 MB/s");
  progress.generate({ type: "phase", phase: "decode", title: "decode" }, 2);
  assert.equal(take(), "\r\u001b[KDecoding (image 3) ...");
});

test("previews: as large as the terminal has room beside its text, side by side where several are drawn, none where there is none", () => {
  const shownIn = (columns: number, rows: number, images: readonly number[] = [0]) => {
    const { stderr, take } = watchedStream(true);
    Object.assign(stderr, { columns, rows });
    const progress = new Progress({ stderr, env: { TERM: "xterm" } }, "auto");
    assert.deepEqual(progress.asked, { previews: true });
    const rgb = new Uint8Array(192).fill(128);
    for (const image of images)
      progress.generate({ type: "preview", step: 1, steps: 2, width: 8, height: 8, rgb }, image);
    const drawn = take().split("\u001b[?2026h").at(-1)!;
    const lines = drawn.split("\r\n").slice(0, -1);
    return [lines[0]?.match(/\u2580/g)?.length ?? 0, lines.length];
  };
  assert.deepEqual(shownIn(80, 40), [40, 20]);
  // Four rows are left for text, and a column.
  assert.deepEqual(shownIn(80, 12), [16, 8]);
  assert.deepEqual(shownIn(10, 40), [9, 5]);
  assert.deepEqual(shownIn(80, 8), [8, 4]);
  assert.deepEqual(shownIn(80, 7), [0, 0]);
  assert.deepEqual(shownIn(80, 40, [0, 1]), [64, 16]);
  assert.deepEqual(new Progress({ stderr: watchedStream(false).stderr, env: { TERM: "xterm" } }, "auto").asked, {});
});

test("where nobody watches only lasting lines are written", () => {
  const { stderr, take } = watchedStream(false);
  const progress = new Progress({ stderr, env: {} });
  progress.generate(step);
  progress.clear();
  assert.equal(take(), "");
  new StatusLine({ stderr }).say("one line");
  assert.equal(take(), "one line\n");
});

test("a model's lines: its name, or that it is the demo; an artifact's way and what of it was used", () => {
  const { stderr, take } = watchedStream(false);
  const progress = new Progress({ stderr, env: {} });
  const load = (event: LoadEvent) => {
    progress.load(event);
    return take();
  };
  assert.equal(load({ type: "model", path: "/m", demo: false, backend: "cpu" }), "Model: /m (cpu)\n");
  assert.match(load({ type: "model", path: "/m", demo: true, backend: "cpu" }), /^Model: the embedded demo .* pull /);
  assert.equal(load({ type: "note", text: "a\u0007b" }), "Note: a b\n");
  const record = {
    type: "module",
    key: "k",
    rssBytes: 3 * 2 ** 30,
    readBytes: 1,
    totalBytes: 2,
    elapsedMs: 1,
  } as const;
  assert.equal(load({ ...record, count: 20 }), "[STREAM] Module 0020 | RAM: 3.0GB\n");
  assert.equal(load({ ...record, count: 21 }), "");
  const done = { type: "artifact", applied: 5, elapsedMs: 61_000 } as const;
  assert.equal(load({ ...done, untouched: 0, missing: 0, skippedOverlayRows: 0 }), "Artifact: 5 modules in 1:01\n");
  assert.equal(
    load({ ...done, untouched: 2, missing: 0, skippedOverlayRows: 3 }),
    "Artifact: 5 modules in 1:01, 2 left as the model has them, 3 overlay rows out of range skipped\n",
  );
});

test("times and shares: rounded, never below zero, with what is left", () => {
  const cases = [
    [0, "0:00"],
    [-5, "0:00"],
    [6_600, "0:07"],
    [59_600, "1:00"],
    [750_000, "12:30"],
    [3_723_000, "1:02:03"],
  ];
  for (const [ms, text] of cases as [number, string][]) assert.equal(clock(ms), text);
  assert.equal(clock(3_600_000), "1:00:00");
  // 250 of 1000 MB in 2 s: 6 s for the rest.
  assert.equal(transferLine("Store", 250e6, 1000e6, 2000), "Store 25%  125 MB/s  ETA 0:06");
  assert.match(transferLine("Store", 0, 0, 0), /^Store 0% /);
});

test("what happens often is shown once an interval, counted from what was shown last", (t) => {
  let nowMs = 0;
  t.mock.method(performance, "now", () => nowMs);
  const thin = new Throttle(100);
  const passed = [0, 1, 99, 100, 150, 199, 200, 350, 449, 450].filter((at) => {
    nowMs = at;
    return thin.passes();
  });
  assert.deepEqual(passed, [0, 100, 200, 350, 450]);
});
