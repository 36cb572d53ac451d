/** @file Pictures for a command: what is asked of the engine, what is told of each, saved and left, in order; whatever stops one of several. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { UsageError } from "../../src/errors.ts";
import { readUnfinished } from "../../src/job/resume-file.ts";
import type { GenerateEvent, GenerateJob, GenerateRequest, SeriesEvent } from "../../src/job/types.ts";
import { openFileSource } from "../../src/node/files/file.ts";
import { KeptSeries } from "../../src/terminal/kept-series.ts";
import { type Painting, paint } from "../../src/terminal/painting.ts";
import { fakeContext } from "./fake-context.ts";

/** Bytes of a picture that lie in the midst of a larger buffer. */
const BYTES = new Uint8Array([9, 9, 1, 2, 3, 9]).subarray(2, 5);
const SHA256 = createHash("sha256")
  .update(Uint8Array.of(1, 2, 3))
  .digest("hex");
const PACE = { elapsedMs: 1, stepMs: 1, etaMs: 1, readBytes: 0, bytesPerSecond: 0, waitMs: 0 };

const events = {
  start: { type: "start", prompt: "x", negativePrompt: "", seed: 7, steps: 2, guidance: 5, width: 16, height: 16 },
  step: { type: "step", step: 1, steps: 2, ...PACE, state: { step: 1, x: new Float32Array(4), history: [] } },
  preview: { type: "preview", step: 1, steps: 2, width: 1, height: 1, rgb: new Uint8Array(3) },
  image: {
    ...{ type: "image", bytes: BYTES, format: "png", width: 16, height: 16, seed: 7, precision: "fp32", elapsedMs: 2 },
    ...{ peakRssBytes: 3, peakDeviceBytes: 1, peakRamBytes: 2, passes: [] },
  },
} as unknown as Readonly<Record<string, GenerateEvent>>;

type Told = readonly [index: number, what: string | Error];

/** What became of `painting` where the engine tells `script`; `requests`: what it was asked. */
async function painted(painting: Partial<Painting>, script: readonly Told[], cwd = newFolder()) {
  const fake = fakeContext({ cwd });
  const asked: GenerateRequest[] = [];
  /** Whether each of them was stopped at the moment of the last event. */
  let stopped: boolean[] = [];
  const context = { ...fake.context, env: { SOLVAY_STATE: path.join(cwd, "state") } };
  const openEngine: typeof context.openEngine = async (options) => ({
    ...(await fake.context.openEngine(options)),
    async *generateMany(requests: readonly GenerateRequest[]): AsyncGenerator<SeriesEvent, void, undefined> {
      asked.push(...requests);
      for (const [index, what] of script) {
        yield typeof what === "string" ? { index, event: events[what]! } : { index, failure: what };
        stopped = requests.map(({ signal }) => signal?.aborted === true);
      }
    },
  });
  const jobs: readonly GenerateJob[] = painting.jobs ?? [{ prompt: "x" }];
  const usual = { request: {}, jobs, targets: jobs.map(() => undefined), preview: "off", saveEvery: 1 } as const;
  const failure = await paint({ ...context, openEngine }, { ...usual, ...painting }).then(
    () => undefined,
    (error: Error) => error.message,
  );
  const lines = fake.out().trimEnd().split("\n");
  const json = () => lines.map((line) => JSON.parse(line) as Record<string, unknown>);
  return { cwd, asked, stopped, failure, lines, json, err: fake.err(), files: () => readdirSync(cwd).toSorted() };
}

const newFolder = () => mkdtempSync(path.join(tmpdir(), "solvay-painting-"));
const wrong = (name: string) => new UsageError({ code: "E_JOB", problem: name, next: "-" });
const TWO: readonly GenerateJob[] = [{ prompt: "a" }, { prompt: "b" }];

test("as JSON: steps without their state, and the picture's file, length and sha256 in place of its bytes", async () => {
  const { cwd, json, files, asked } = await painted({ json: true, beside: { telemetry: true } }, [
    ...[[0, "start"] as const, [0, "step"] as const, [0, "image"] as const],
  ]);
  const [, start, step, image] = json();
  assert.deepEqual(start, { ...events.start });
  assert.deepEqual(step, { type: "step", step: 1, steps: 2, ...PACE });
  const file = path.join(cwd, "output_001.png");
  assert.deepEqual(image, { ...events.image, file, bytes: 3, sha256: SHA256 });
  assert.deepEqual([...readFileSync(file)], [1, 2, 3]);
  // The unfinished picture is no more.
  assert.deepEqual(files(), ["output_001.png"]);
  assert.deepEqual([asked[0]?.telemetry, asked[0]?.states, asked[0]?.from], [true, true, undefined]);
});

test("of several each line of JSON says which; pictures that nobody saves are only handed on", async () => {
  const handed: number[] = [];
  const script = [0, 1].flatMap((i) => ["start", "step", "image"].map((what) => [i, what] as const));
  const onPicture = (_: unknown, i: number) => void handed.push(i);
  const { json, files, asked } = await painted({ jobs: TWO, json: true, saves: false, onPicture }, script);
  assert.deepEqual(
    json().map(({ image }) => image),
    [undefined, 1, 1, 1, 2, 2, 2],
  );
  assert.deepEqual([handed, files(), asked[0]?.states], [[0, 1], [], false]);
  assert.ok(!Object.hasOwn(json()[3]!, "file"));
});

test("one of several fails: those that have begun are finished, the others don't begin, and the first failure is told", async () => {
  const jobs = [...TWO, ...TWO];
  const script: Told[] = [
    ...[[0, "start"] as const, [0, "step"] as const, [1, "start"] as const, [1, "step"] as const],
    [0, wrong("the first")],
  ];
  const { stopped } = await painted({ jobs }, script);
  assert.deepEqual(stopped, [false, false, true, true]);
  const more: Told[] = [...script, [2, wrong("the second")], [1, "image"]];
  const { failure, files, lines, err } = await painted({ jobs }, more);
  assert.equal(failure, "E_JOB: the first. Next: -.");
  assert.deepEqual(files(), ["output.series", "output_001.resume", "output_002.png"]);
  assert.deepEqual(lines, ["Saved: output_002.png"]);
  assert.match(
    err,
    /The unfinished picture is kept, drawn up to step 1 of 2; to go on: solvay resume output_001\.resume\n/,
  );
  assert.match(err, /What is left of the series is kept, 3 of its pictures: solvay resume output\.series\n/);
});

test("as JSON: what is kept of a picture, and of its series; its last preview lies beside it", async () => {
  const told: Told[] = [...[[0, "start"] as const, [0, "step"] as const], [0, wrong("no")]];
  const { cwd, json, files } = await painted({ jobs: TWO, json: true }, told);
  const file = path.join(cwd, "output_001.resume");
  assert.deepEqual(json().slice(-2), [
    { type: "unfinished", file, shown: "output_001.resume", step: 1, steps: 2 },
    { type: "unfinished-series", file: "output.series", pictures: 2 },
  ]);
  assert.deepEqual(files(), ["output.series", "output_001.resume"]);
  const target = { shown: "a.png", file: path.join(cwd, "a.png") };
  const words: Told[] = [...[[0, "start"] as const, [0, "step"] as const, [0, "preview"] as const], [0, wrong("no")]];
  const shown = await painted({ targets: [target] }, words, cwd);
  assert.ok(shown.files().includes("a.preview.png"), shown.files().join());
});

test("a series of which nothing was drawn leaves nothing; one that goes on keeps its file in any case, and its pictures their places", async () => {
  const script: Told[] = [
    [0, "start"],
    [0, wrong("no")],
  ];
  const { cwd, files } = await painted({ jobs: TWO }, script);
  assert.deepEqual(files(), []);
  const targets = [undefined, undefined];
  const whole = await KeptSeries.begin({ cwd, env: {} }, { request: {}, jobs: [...TWO, ...TWO], targets });
  for (const done of [0, 1]) await whole!.done(done);
  const again = await painted({ jobs: TWO, series: whole! }, script, cwd);
  assert.deepEqual(again.files(), ["output.series"]);
  const begun: Told[] = [
    ...[
      [0, "start"] as const,
      [0, "step"] as const,
      [0, "image"] as const,
      [1, "start"] as const,
      [1, "step"] as const,
    ],
    [1, wrong("no")],
  ];
  await painted({ jobs: TWO, series: whole! }, begun, cwd);
  await using source = await openFileSource(path.join(cwd, "output_002.resume"));
  assert.deepEqual((await readUnfinished(source)).place, { series: whole!.id, index: 3 });
  assert.deepEqual(
    whole!.left.map(({ index }) => index),
    [3],
  );
});

test("one that goes on: from its state, into its own folder under its own name, and its file is gone at the end", async () => {
  const cwd = newFolder();
  const folder = path.join(cwd, "sub");
  mkdirSync(folder);
  const state = { step: 1, x: new Float32Array(4), history: [] };
  const resumed = { state, file: path.join(folder, "a.resume"), output: "output_005.png", folder, pictures: {} };
  const place = { series: "s", index: 2 };
  const stopped: Told[] = [...[[0, "start"] as const, [0, "step"] as const], [0, wrong("no")]];
  await painted({ resumed, place }, stopped, cwd);
  await using source = await openFileSource(resumed.file);
  assert.deepEqual((await readUnfinished(source)).place, place);
  const script = ["start", "step", "image"].map((what) => [0, what] as const);
  const { asked, lines } = await painted({ resumed, place }, script, cwd);
  assert.deepEqual([asked[0]?.from, lines], [state, [`Saved: ${path.join(folder, "output_005.png")}`]]);
  assert.deepEqual(readdirSync(folder), ["output_005.png"]);
});
