/** @file `solvay grid`: which jobs a grid is, in which order they are drawn, where each cell goes, and what is left of one that failed. */
import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { runCli } from "../../src/cli/program.ts";
import { UsageError } from "../../src/errors.ts";
import { decodePng, encodePng } from "../../src/image/png.ts";
import type { GenerateJob, OpenEngineOptions } from "../../src/job/types.ts";
import { openPictureWriter } from "../../src/node/picture-writer.ts";
import { readSettings } from "../../src/terminal/picture-settings.ts";
import { fakeContext } from "./fake-context.ts";

/** Each cell is of one grey: ten times the number of the order in which it was drawn. A prompt with "fail" fails. */
async function grid(line: readonly string[], cwd = mkdtempSync(path.join(tmpdir(), "solvay-grid-"))) {
  const fake = fakeContext({ cwd });
  const jobs: GenerateJob[] = [];
  const opened: OpenEngineOptions[] = [];
  const rc = await runCli(["grid", ...line], {
    ...fake.context,
    checkModel: async ({ vae }) => {
      if (vae === "gone") throw new UsageError({ code: "E_GONE", problem: "no such VAE", next: "-" });
    },
    openEngine: async (options) => {
      opened.push(options);
      return {
        ...(await fake.context.openEngine(options)),
        async *generateMany(requests) {
          for (const [index, { job }] of requests.entries()) {
            jobs.push(job);
            const start = { negativePrompt: "", sampler: "euler", backend: "reference", ...job } as never;
            yield { index, event: { ...(start as object), type: "start" } as never };
            if (job.prompt.includes("fail")) {
              const failure = new UsageError({ code: "E_X", problem: "it failed", next: "-" });
              yield { index, failure };
              return;
            }
            const { width = 16, height = 16 } = job;
            const rgb = new Uint8Array(3 * width * height).fill(10 * jobs.length);
            const text = [{ keyword: "parameters", text: `${job.prompt}\nSteps: ${job.steps}, Seed: 1, Size: 16x16` }];
            const writer = job.format === "jpeg" ? await openPictureWriter({ format: "jpeg" }) : undefined;
            const picture = { width, height, rgb, text };
            const bytes = new Uint8Array(writer ? await writer.write(picture) : await encodePng(picture));
            const peaks = { elapsedMs: 1, peakRssBytes: 1, peakDeviceBytes: 1, peakRamBytes: 1, passes: [] };
            const image = {
              type: "image",
              bytes,
              format: writer ? "jpeg" : "png",
              width,
              height,
              seed: 1,
              precision: "fp32",
            } as const;
            yield { index, event: { ...image, ...peaks } };
          }
        },
      };
    },
  });
  /** The greys of the grid's cells as they stand in the picture, by their first appearance from the top left. */
  const greys = async (name: string) => {
    const { pixels } = await decodePng(new Uint8Array(readFileSync(path.join(cwd, name))));
    return [...new Set(pixels)].filter((value) => value % 10 === 0 && value > 0 && value < 100);
  };
  const files = readdirSync(cwd).toSorted();
  return { cwd, rc, jobs, opened, greys, files, out: fake.out(), err: fake.err() };
}

const SMALL = ["--width", "16", "--height", "16"];
const names = (jobs: readonly GenerateJob[]) => jobs.map(({ prompt, steps }) => `${prompt} ${steps}`);

test("columns by rows by blocks; cells that share a plan and a prompt are drawn one after the other, and stand in their places", async () => {
  const axes = ["--x", "prompt-sr=a,b", "--y", "steps=2,3", "--z", "seed=5,6"];
  const { jobs, greys, out, files } = await grid(["a", ...axes, ...SMALL]);
  assert.deepEqual(
    jobs.map(({ prompt, steps, seed }) => `${prompt} ${steps} ${seed}`),
    ["a 2 5", "a 2 6", "b 2 5", "b 2 6", "a 3 5", "a 3 6", "b 3 5", "b 3 6"],
  );
  assert.deepEqual([out, files], ["Grid: output_001.png\n", ["output_001.png"]]);
  // By rows: (a 2 5) (b 2 5), (a 3 5) (b 3 5); then the same of seed 6.
  assert.deepEqual(await greys("output_001.png"), [10, 30, 50, 70, 20, 40, 60, 80]);
});

test("one seed for all that name none, and one subseed for those that vary", async () => {
  const { jobs } = await grid(["a", "--x", "subseed-strength=0,0.5,1", ...SMALL]);
  const seeds = new Set(jobs.map(({ seed }) => seed));
  assert.deepEqual([seeds.size, typeof jobs[0]!.seed], [1, "number"]);
  const [none, half, whole] = jobs.map(({ subseed }) => subseed);
  assert.deepEqual([none, half === whole, typeof half], [undefined, true, "number"]);
});

test("cells as files: named by their place, in the grid's format, and the grid says what it was drawn over", async () => {
  const line = ["a", "--x", "steps=2,3", "--y", "prompt-sr=a,b", ...SMALL, "--output", "g.png"];
  const { cwd, jobs, files, out } = await grid([...line, "--cells", "--json"]);
  assert.deepEqual(files, ["g.png", "g_001.png", "g_002.png", "g_003.png", "g_004.png"]);
  assert.deepEqual(names(jobs), ["a 2", "a 3", "b 2", "b 3"]);
  const cell = async (name: string) => {
    const { job } = await readSettings({ cwd, env: {} }, name, new AbortController().signal);
    return `${job.prompt} ${job.steps}`;
  };
  assert.deepEqual(await Promise.all([1, 2, 3, 4].map((n) => cell(`g_00${n}.png`))), ["a 2", "a 3", "b 2", "b 3"]);
  assert.deepEqual(JSON.parse(out.trimEnd().split("\n").at(-1)!), {
    ...{ type: "grid", file: path.join(cwd, "g.png"), images: 4 },
  });
  const { job, others } = await readSettings({ cwd, env: {} }, "g.png", new AbortController().signal);
  // The first cell's settings.
  assert.deepEqual([job.prompt, job.steps], ["a", 2]);
  assert.deepEqual(
    ["Script", "X Type", "X Values", "Y Type", "Y Values"].map((name) => others.get(name)),
    ["X/Y/Z plot", "steps", "2,3", "prompt-sr", "a,b"],
  );
});

test("cells of a grid in JPEG are JPEGs, and the grid has the settings of the first", async () => {
  const { cwd, jobs, files } = await grid(["a", "--x", "steps=2,3", ...SMALL, "--cells", "--output", "g.jpg"]);
  assert.deepEqual(files, ["g.jpg", "g_001.jpg", "g_002.jpg"]);
  assert.deepEqual(new Set(jobs.map(({ format }) => format)), new Set(["jpeg"]));
  const { job, tool } = await readSettings({ cwd, env: {} }, "g.jpg", new AbortController().signal);
  assert.deepEqual([job.prompt, job.steps, tool.startsWith("unknown")], ["a", 2, true]);
});

test("one cell fails: the grid of those that were made is kept, and the failure is told", async () => {
  const { rc, out, err, greys } = await grid(["a", "--x", "prompt-sr=a,b,fail,c", ...SMALL]);
  assert.equal(rc, 2);
  assert.equal(out, "Grid of the 2 that were made: output_001.png\n");
  assert.match(err, /E_X: it failed\. Next: -\.\n$/);
  assert.deepEqual(await greys("output_001.png"), [10, 20]);
  const none = await grid(["fail", "--x", "steps=2,3", ...SMALL]);
  assert.deepEqual([none.rc, none.out, none.files], [2, "", []]);
});

test("what is opened for the cells, each once, and nothing of a grid that is too large", async () => {
  const { opened, jobs } = await grid(["a", "--x", "steps=2,3", "--y", "vae=v1,v2", "--model", "m", ...SMALL]);
  assert.deepEqual(
    opened.map(({ model, vae }) => [model, vae]),
    [
      ["m", "v1"],
      ["m", "v2"],
    ],
  );
  assert.deepEqual(names(jobs), ["a 2", "a 3", "a 2", "a 3"]);
  const below = await grid(["a", "--x", "steps=2,3", "--z", "vae=v1,v2", ...SMALL]);
  assert.deepEqual(
    below.opened.map(({ vae }) => vae),
    ["v1", "v2"],
  );
  // A name that is mistyped doesn't wait for its turn.
  const gone = await grid(["a", "--x", "vae=v1,gone", ...SMALL]);
  assert.deepEqual([gone.opened.length, gone.err], [0, "E_GONE: no such VAE. Next: -.\n"]);
  for (const [line, found] of [
    [["--x", "steps=1-34", "--y", "seed=1-30"], "found 1020 images, allowed 1000"],
    [["--x", "seed=1-7", "--width", "4096", "--height", "4096"], "million pixels"],
  ] as const) {
    const wrong = await grid(["a", ...line]);
    assert.deepEqual([wrong.rc, wrong.opened.length, wrong.files], [2, 0, []]);
    assert.match(wrong.err, /^E_GRID: the grid is too large/);
    assert.ok(wrong.err.includes(found), wrong.err);
  }
  const boxes = await grid(["a", "--x", "prompt-sr=a,山", ...SMALL]);
  assert.match(boxes.err, /^Note: legends have letters of ASCII; others are boxes: prompt-sr: 山\n/);
});
