/** @file The file of a series: each picture's own job comes back from it, in any order of ends; what anybody may have changed in it is refused. */
import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import type { GenerateJob } from "../../src/job/types.ts";
import { KeptSeries, readSeries } from "../../src/terminal/kept-series.ts";

const folder = () => mkdtempSync(path.join(tmpdir(), "solvay-series-"));
const contextIn = (cwd: string) => ({ cwd, env: { SOLVAY_STATE: path.join(cwd, "state") } });

const JOBS: readonly GenerateJob[] = [
  { prompt: "a", seed: 1, steps: 3, loras: [{ file: "fur", weight: 1 }] },
  { prompt: "b", seed: 2, steps: 3, loras: [{ file: "fur", weight: 0.5 }] },
  { prompt: "a", seed: 3, steps: 3, negativePrompt: "" },
  { prompt: "a", seed: 2, steps: 3 },
];

async function begun(cwd: string, target?: string): Promise<KeptSeries> {
  const targets = JOBS.map((_, i) => {
    if (target === undefined) return undefined;
    return { shown: `${target}${i}.png`, file: path.join(cwd, `${target}${i}.png`) };
  });
  const series = await KeptSeries.begin(contextIn(cwd), {
    request: { backend: "cpu", store: "s" },
    jobs: JOBS,
    targets,
  });
  assert.ok(series);
  return series;
}

test("what is alike stands once, and each job comes back as it was, as long as it is not done", async () => {
  const cwd = folder();
  const series = await begun(cwd);
  assert.equal(series.file, path.join(cwd, "output.series"));
  const left = async () => (await readSeries(series.file)).left;
  assert.deepEqual(
    await left(),
    JOBS.map((job, index) => ({ index, output: null, job })),
  );
  assert.equal(readFileSync(series.file, "utf8").match(/"steps"/g)!.length, 1);
  const { id, cwd: where, request } = await readSeries(series.file);
  assert.deepEqual([id, where, request], [series.id, cwd, { backend: "cpu", store: path.join(cwd, "s") }]);
  for (const [done, others] of [
    [2, [0, 1, 3]],
    [0, [1, 3]],
    [3, [1]],
  ] as const) {
    await series.done(done);
    assert.deepEqual(
      await left(),
      others.map((index) => ({ index, output: null, job: JOBS[index]! })),
    );
  }
  await series.done(1);
  assert.deepEqual(readdirSync(cwd), []);
});

test("its name is the first picture's, with a number where that is taken; in the folder for state where its own takes none", async () => {
  const cwd = folder();
  const names = ["a0.series", "a0.2.series"];
  for (const name of names) assert.equal(path.basename((await begun(cwd, "a")).file), name);
  const [first, second] = await Promise.all(names.map((name) => readSeries(path.join(cwd, name))));
  assert.notEqual(first!.id, second!.id);
  assert.deepEqual(
    first!.left.map(({ output }) => output),
    ["a0.png", "a1.png", "a2.png", "a3.png"],
  );
  const gone = path.join(cwd, "gone");
  const targets = JOBS.map(() => ({ shown: "gone/x.png", file: path.join(gone, "x.png") }));
  const elsewhere = await KeptSeries.begin(contextIn(cwd), { request: {}, jobs: JOBS, targets });
  assert.equal(elsewhere?.file, path.join(cwd, "state/unfinished/x.series"));
  // Where no folder takes it, that stops nothing.
  const nowhere = { cwd, env: { SOLVAY_STATE: path.join(cwd, "a0.series") } };
  assert.equal(await KeptSeries.begin(nowhere, { request: {}, jobs: JOBS, targets }), undefined);
});

test("files that anybody may have changed: one line each, before they are read where they are too long", async () => {
  const cwd = folder();
  const file = path.join(cwd, "x.series");
  const picture = { index: 0, output: "a.png", job: {} };
  const whole = { format: "solvay series 1", id: "x", cwd, request: {}, job: { prompt: "x" }, pictures: [picture] };
  const told = (content: object | string) => {
    writeFileSync(file, typeof content === "string" ? content : JSON.stringify(content));
    return readSeries(file);
  };
  assert.deepEqual((await told(whole)).left, [{ index: 0, output: "a.png", job: { prompt: "x" } }]);
  for (const [content, problem] of [
    ["{", "it is no file of a series"],
    ["[]", "it is no file of a series"],
    [{ ...whole, format: "solvay series 2" }, "it is no file of a series"],
    ...(["id", "cwd", "request", "job", "pictures"] as const).map(
      (name) => [{ ...whole, [name]: 1 }, "it lacks something"] as const,
    ),
    ...[{ index: 0.5 }, { index: "0" }, { job: [] }, { output: 1 }, { output: "../a.png" }, { output: undefined }].map(
      (changes) => [{ ...whole, pictures: [picture, { ...picture, ...changes }] }, "it lacks something"] as const,
    ),
    [{ ...whole, pictures: ["x"] }, "it lacks something"],
  ] as const) {
    await assert.rejects(told(content), { code: "E_RESUME_FILE", problem }, JSON.stringify(content));
  }
  truncateSync(file, 256 * 2 ** 20 + 1);
  const problem = "it is too long (found 268435457 bytes, allowed 268435456)";
  await assert.rejects(readSeries(file), { code: "E_RESUME_FILE", problem });
  await assert.rejects(readSeries(cwd), { code: "E_RESUME_FILE", problem: "there is no such file of a series" });
});
