/** @file `solvay resume` with an engine that only pretends: what is asked of it, where pictures go, and what is listed, refused and told. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { runCli } from "../../src/cli/program.ts";
import type { OpenRequest } from "../../src/job/checked.ts";
import { readUnfinished } from "../../src/job/resume-file.ts";
import type { EngineInfo, GenerateEvent, GenerateJob } from "../../src/job/types.ts";
import { openFileSource } from "../../src/node/files/file.ts";
import { KeptSeries } from "../../src/terminal/kept-series.ts";
import { KeptState, type KeptStateOptions } from "../../src/terminal/kept-state.ts";
import { SOLVAY_VERSION } from "../../src/version.ts";
import { fakeContext } from "./fake-context.ts";

/** What the fake engine says of itself. */
const INFO: EngineInfo = {
  ...{ model: "fake", demo: false, backend: "reference", precision: "fp32", defaultWidth: 128, defaultHeight: 128 },
};
const PACE = { elapsedMs: 1, stepMs: 1, etaMs: 1, readBytes: 0, bytesPerSecond: 0, waitMs: 0 };

/** A folder with a model's file. */
function folder(): string {
  const cwd = mkdtempSync(path.join(tmpdir(), "solvay-resume-"));
  writeFileSync(path.join(cwd, "m.safetensors"), "");
  return cwd;
}
const envOf = (cwd: string) => ({ SOLVAY_STATE: path.join(cwd, "state") });
const targetIn = (cwd: string, shown: string) => ({ shown, file: path.join(cwd, shown) });

interface Begun extends Partial<Omit<KeptStateOptions, "job" | "request">> {
  readonly job?: Partial<GenerateJob>;
  readonly request?: OpenRequest;
}

/** Leaves a picture in `cwd` that was stopped at step 1 of 3. */
async function begin(cwd: string, name: string, { job, request, info = INFO, place }: Begun = {}): Promise<void> {
  const whole = { prompt: name, seed: 3, steps: 3, guidance: 5, width: 16, height: 16, ...job };
  const kept = new KeptState(
    { cwd, env: envOf(cwd) },
    {
      ...{ info, request: request ?? { model: "m.safetensors" }, job: whole, target: targetIn(cwd, `${name}.png`) },
      ...(place && { place }),
    },
  );
  await kept.observe({ type: "start", negativePrompt: "", ...whole } as unknown as GenerateEvent);
  const state = { step: 1, x: new Float32Array(4).fill(1), history: [] };
  await kept.observe({ type: "step", step: 1, steps: 3, ...PACE, state });
  await kept.keep();
}

async function resume(cwd: string, ...line: string[]) {
  const fake = fakeContext({ cwd });
  const rc = await runCli(["resume", ...line], { ...fake.context, env: envOf(cwd) });
  const out = fake.out();
  const json = () =>
    out
      .trimEnd()
      .split("\n")
      .map((text) => JSON.parse(text) as Record<string, unknown>);
  const files = readdirSync(cwd).filter((name) => !["m.safetensors", "state"].includes(name));
  return { ...fake, rc, out, json, err: fake.err(), files: files.toSorted() };
}

test("what it was opened with, on what computed it; the user's budgets beside the recorded; the job from its state", async () => {
  const cwd = folder();
  await begin(cwd, "a", {
    request: { model: "m.safetensors", backend: "auto", budgets: { vram: { bytes: 2 ** 31 }, ram: { bytes: 3e9 } } },
  });
  const { rc, out, err, opened, jobs, beside, files } = await resume(cwd, "--ram", "1G");
  assert.deepEqual([rc, out, files], [0, "Saved: a.png\n", ["a.png"]]);
  const { signal: _, onEvent: __, ...request } = opened[0]!;
  const model = path.join(cwd, "m.safetensors");
  assert.deepEqual(request, {
    model,
    backend: "reference",
    budgets: { vram: { bytes: 2 ** 31 }, ram: { bytes: 2 ** 30 } },
  });
  const { negativePrompt, ...job } = jobs[0]! as GenerateJob & { negativePrompt?: string };
  assert.deepEqual([job.prompt, job.seed, job.steps, negativePrompt], ["a", 3, 3, undefined]);
  assert.deepEqual([beside[0]?.from?.step, [...beside[0]!.from!.x]], [1, [1, 1, 1, 1]]);
  assert.match(err, /^Going on after step 1 of 3: a\n/);
});

test("other choices are the user's, and every difference from what computed it is told, in words or as JSON", async () => {
  const info: EngineInfo = { ...INFO, backend: "webgpu", adapter: "A", precision: "fp16" };
  const texts = [
    "the backend was webgpu, now it is reference: the rest may come out otherwise",
    "the adapter was A, now it is none: the rest may come out otherwise",
    "the precision was fp16, now it is fp32: the rest may come out otherwise",
  ];
  const cwd = folder();
  await begin(cwd, "a", { info });
  const words = await resume(cwd, "--backend", "reference");
  for (const text of texts) assert.ok(words.err.includes(`Note: ${text}\n`), words.err);
  assert.equal(words.opened[0]?.backend, "reference");
  await begin(cwd, "a", { info, request: { model: "gone" } });
  const { json, opened, err } = await resume(cwd, "--json");
  const notes = json().flatMap(({ type, text }) => (type === "note" ? [text] : []));
  assert.deepEqual(notes, ["whether the model is still the same was not noted", ...texts]);
  assert.deepEqual([opened[0]?.backend, opened[0]?.model, err], ["webgpu", "gone", ""]);
});

test("another name takes the format that it asks for, with nothing left of the other's quality", async () => {
  const cwd = folder();
  const webp = { format: "webp", quality: 70 } as const;
  for (const [name, expected] of [
    ["b.webp", ["webp", 70]],
    ["b.jpg", ["jpeg", undefined]],
    ["b.png", ["png", undefined]],
  ] as const) {
    await begin(cwd, "a", { job: webp });
    const { out, jobs, err } = await resume(cwd, "a.resume", "--output", name);
    assert.equal(out, `Saved: ${name}\n`, err);
    assert.deepEqual([jobs[0]?.format, jobs[0]?.quality], expected);
  }
  await begin(cwd, "a", { job: webp });
  assert.equal((await resume(cwd)).jobs[0]?.format, "webp");
});

test("a picture or a model that is another is refused before anything opens", async () => {
  const cwd = folder();
  writeFileSync(path.join(cwd, "i.png"), "a picture");
  await begin(cwd, "a", { job: { initImage: "i.png" } });
  for (const [name, what] of [
    ["i.png", "the picture initImage"],
    ["m.safetensors", "the model fake"],
  ] as const) {
    const before = readFileSync(path.join(cwd, name));
    writeFileSync(path.join(cwd, name), "something else");
    const { rc, err, opened } = await resume(cwd, "a.resume");
    assert.deepEqual([rc, opened.length], [3, 0]);
    assert.match(
      err,
      new RegExp(`^E_RESUME_CHANGED a\\.resume: ${what} is not what it was when the picture was begun`),
    );
    writeFileSync(path.join(cwd, name), before);
  }
  // From another folder it finds what it names, and lies beside its file.
  const elsewhere = path.join(cwd, "elsewhere");
  mkdirSync(elsewhere);
  const moved = await resume(elsewhere, "../a.resume");
  assert.equal(moved.rc, 0, moved.err);
  assert.equal(moved.jobs[0]?.initImage, path.join(cwd, "i.png"));
  assert.equal(moved.out, `Saved: ${path.join(cwd, "a.png")}\n`);
  assert.ok(existsSync(path.join(cwd, "a.png")));
});

test("in another folder networks are known by what they held, whatever they are called there", async () => {
  const cwd = folder();
  const elsewhere = path.join(cwd, "elsewhere");
  mkdirSync(elsewhere);
  writeFileSync(path.join(cwd, "net"), "a network");
  await begin(cwd, "a", { job: { controls: [{ file: "net" }] } });
  writeFileSync(path.join(cwd, "net"), "another");
  const { rc, err } = await resume(elsewhere, "../a.resume");
  assert.equal(rc, 3);
  assert.match(
    err,
    /^E_RESUME_CHANGED .*a\.resume: the picture control .*net is not what it was when the picture was begun/,
  );
});

test("--save-every is the user's, for a new picture and for one that goes on", async () => {
  const cwd = folder();
  /** The step that is kept when the engine has told of step 2. */
  const keptAt2 = async (...line: string[]) => {
    const fake = fakeContext({ cwd });
    let kept: number | undefined;
    await runCli(line, {
      ...fake.context,
      env: envOf(cwd),
      openEngine: async (options) => ({
        ...(await fake.context.openEngine(options)),
        async *generateMany(requests) {
          const { job } = requests[0]!;
          yield { index: 0, event: { type: "start", negativePrompt: "", ...job } as unknown as GenerateEvent };
          const state = { step: 2, x: new Float32Array(4), history: [] };
          yield { index: 0, event: { type: "step", step: 2, steps: 3, ...PACE, state } };
          const [file] = readdirSync(cwd).filter((name) => name.endsWith(".resume"));
          if (file === undefined) return;
          await using source = await openFileSource(path.join(cwd, file));
          kept = (await readUnfinished(source)).state.step;
        },
      }),
    });
    return kept;
  };
  assert.equal(await keptAt2("generate", "x"), undefined);
  for (const name of readdirSync(cwd)) if (name.endsWith(".resume")) rmSync(path.join(cwd, name));
  assert.equal(await keptAt2("generate", "x", "--save-every", "2"), 2);
  for (const name of readdirSync(cwd)) if (name.endsWith(".resume")) rmSync(path.join(cwd, name));
  await begin(cwd, "a");
  assert.equal(await keptAt2("resume"), 1);
  await begin(cwd, "b");
  assert.equal(await keptAt2("resume", "b.resume", "--save-every", "2"), 2);
});

test("a series: pictures that were begun in their order, then the others; what lies there meanwhile is not replaced", async () => {
  const cwd = folder();
  const jobs: GenerateJob[] = ["p0", "p1", "p2", "p3"].map((prompt) => ({ prompt, seed: 5, steps: 3 }));
  const targets = jobs.map((_, i) => targetIn(cwd, `p${i}.png`));
  const series = (await KeptSeries.begin(
    { cwd, env: envOf(cwd) },
    { request: { model: "m.safetensors", budgets: { vram: { bytes: 2 ** 31 } } }, jobs, targets },
  ))!;
  await begin(cwd, "z", { place: { series: series.id, index: 0 } });
  await begin(cwd, "b", { place: { series: series.id, index: 1 } });
  writeFileSync(path.join(cwd, "p2.png"), "mine");
  // They are the series', and no pictures of their own.
  const output = await resume(cwd, "--output", "x.png");
  assert.match(output.err, /^E_USAGE --output: the pictures of a series have names of their own/);
  const { rc, out, jobs: drawn, opened, files, err } = await resume(cwd);
  assert.equal(rc, 0, err);
  assert.deepEqual(
    drawn.map(({ prompt }) => prompt),
    ["z", "b", "p2", "p3"],
  );
  assert.equal(out, "Saved: z.png\nSaved: b.png\nSaved: output_001.png\nSaved: p3.png\n");
  assert.deepEqual(opened.at(-1)?.budgets, { vram: { bytes: 2 ** 31 } });
  assert.equal(readFileSync(path.join(cwd, "p2.png"), "utf8"), "mine");
  assert.deepEqual(files, ["b.png", "output_001.png", "p2.png", "p3.png", "z.png"]);
});

test("one of a series, gone on with by its own name, is no more left of it", async () => {
  const cwd = folder();
  const jobs: GenerateJob[] = [{ prompt: "p0" }, { prompt: "p1" }];
  const series = async () =>
    (await KeptSeries.begin({ cwd, env: envOf(cwd) }, { request: {}, jobs, targets: [undefined, undefined] }))!;
  const [mine, other] = [await series(), await series()];
  await begin(cwd, "a", { place: { series: mine.id, index: 1 } });
  assert.equal((await resume(cwd, "a.resume")).rc, 0);
  const listed = (await resume(cwd, "--list", "--json")).json();
  assert.deepEqual(listed, [
    { file: other.file, pictures: 2 },
    { file: mine.file, pictures: 1 },
  ]);
});

test("--list: each with how far it is, or what is wrong with it; nothing is drawn", async () => {
  const cwd = folder();
  assert.equal((await resume(cwd, "--list")).out, "No unfinished picture is here.\n");
  assert.equal((await resume(cwd, "--list", "--json")).out, "");
  await begin(cwd, "a");
  writeFileSync(path.join(cwd, "b.resume"), "x");
  writeFileSync(path.join(cwd, "c.series"), "x");
  mkdirSync(path.join(cwd, "state/unfinished"), { recursive: true });
  writeFileSync(path.join(cwd, "state/unfinished/d.resume"), "x");
  const { rc, out, opened } = await resume(cwd, "--list");
  const lines = out.trimEnd().split("\n");
  assert.deepEqual([rc, opened.length, lines.length], [0, 0, 4]);
  assert.equal(lines[0], "a.resume: step 1 of 3, fake (reference): a");
  assert.match(lines[1]!, /^b\.resume: E_RESUME_FILE b\.resume: it ends too soon/);
  assert.match(lines[2]!, /^c\.series: E_RESUME_FILE c\.series: it is no file of a series/);
  assert.match(lines[3]!, /^\/.*\/state\/unfinished\/d\.resume: E_RESUME_FILE d\.resume: /);
  const [first, second, third] = (await resume(cwd, "--list", "--json")).json();
  const { file, step, steps, version, output } = first!;
  assert.deepEqual([file, step, steps, version, output], [path.join(cwd, "a.resume"), 1, 3, SOLVAY_VERSION, "a.png"]);
  assert.ok(!Object.hasOwn(first!, "state"));
  assert.match(String(second?.problem), /^E_RESUME_FILE b\.resume: it ends too soon/);
  assert.match(String(third?.problem), /^E_RESUME_FILE c\.series/);
  assert.equal((await resume(cwd, "a.resume", "--list")).out, "a.resume: step 1 of 3, fake (reference): a\n");
});

test("one in the folder for state comes to where the user stands", async () => {
  const cwd = folder();
  const unfinished = path.join(cwd, "state/unfinished");
  mkdirSync(unfinished, { recursive: true });
  await begin(unfinished, "a", { request: {} });
  const { out, files, err } = await resume(cwd);
  assert.deepEqual([out, files, readdirSync(unfinished)], ["Saved: a.png\n", ["a.png"], []], err);
});
