/** @file The studio's state without a browser: what the form asks for, what a page knows of jobs by what the server tells, and what comes back after a reload. */
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { openStudioPage } from "../support/studio-page.ts";

interface Signal<T> {
  value: T;
}
type Fields = Record<string, unknown>;
interface Job {
  readonly id: string;
  readonly state: string;
  readonly number: number;
  readonly priority: number;
  readonly [name: string]: unknown;
}

const page = openStudioPage({
  "solvay.form": JSON.stringify({ prompt: "kept", steps: 9, bad: { a: 1 }, none: null, loras: [] }),
  "solvay.count": "-3",
  "solvay.prompts": JSON.stringify(["a", 7, "b"]),
  "solvay.grid": JSON.stringify({ axes: [], cells: ["../x"], prompt: "p" }),
});
const form = await page.load<{
  form: Signal<Fields>;
  count: Signal<number>;
  prompts: Signal<readonly string[]>;
  partPrompt: Signal<string>;
  schema: Signal<object | undefined>;
  setField: (name: string, value: unknown) => void;
  fill: (fields: Fields) => void;
  withoutSeed: (job: Fields) => Fields;
  jobOfForm: () => Fields;
  rememberPrompt: (text: string) => void;
  standingOf: (field: object) => unknown;
}>("state/form.ts");
const client = await page.load<{
  ask: (path: string, asking?: object) => Promise<unknown>;
  api: {
    submit: (job: Fields, count?: number, priority?: number, model?: string) => Promise<unknown>;
    move: (id: string, before: string | null) => Promise<unknown>;
  };
  online: Signal<boolean>;
  plainWords: (text: string) => string;
}>("api/client.ts");
const jobs = await page.load<{
  jobs: Signal<ReadonlyMap<string, Job>>;
  jobsKnown: Signal<boolean>;
  waiting: Signal<readonly Job[]>;
  running: Signal<readonly Job[]>;
  over: Signal<readonly Job[]>;
  learnJobs: (found: readonly object[]) => void;
  followJobs: (onFailure: (error: unknown) => void) => () => void;
}>("state/jobs.ts");
const grids = await page.load<{
  grid: Signal<{ readonly cells: readonly (string | null)[]; readonly rest?: { readonly from: number } } | undefined>;
  axisForms: Signal<readonly { readonly field: string; readonly values: string }[]>;
  askGrid: (job: Fields) => Promise<void>;
  endGrid: () => void;
}>("state/grids.ts");
const estimates = await page.load<{ readyMs: Signal<ReadonlyMap<string, number>> }>("state/estimates.ts");
const NAMES = [
  "prompt",
  "negativePrompt",
  "steps",
  "guidance",
  "width",
  "height",
  "seed",
  "template",
  "detail",
  "initImage",
  "strength",
];
const kindOf = (name: string) => ({
  type: /prompt|template/i.test(name) ? "text" : name === "initImage" ? "picture" : "whole",
});
const SCHEMA = {
  fields: NAMES.map((name) => ({
    name,
    kind: kindOf(name),
    shapesPlan: ["steps", "width", "height", "prompt"].includes(name),
  })),
  model: {
    advice: { steps: 30, guidance: 5 },
    sizes: [
      { width: 1024, height: 1024 },
      { width: 832, height: 1216 },
      { width: 1216, height: 832 },
    ],
  },
};
const turns = async () => {
  for (let i = 0; i < 30; i++) await turn();
};
const job = (id: string, changes: object = {}) => ({
  ...{ id, number: 1, priority: 0, state: "queued", step: 0, job: { prompt: id }, createdAt: "2026-11-26T10:00:00Z" },
  ...changes,
});
const ids = (all: readonly Job[]) => all.map(({ id }) => id);

const atFirst = [form.form.value, form.count.value, form.prompts.value, grids.grid.value];

test("what was kept is made sound: of a form the values that a field may have, of the rest what it should be or nothing", () => {
  assert.deepEqual(atFirst, [{ prompt: "kept", steps: 9, loras: [] }, 1, ["a", "b"], undefined]);
});

test("what changed is written when the page is left at the latest", () => {
  form.form.value = { prompt: "new" };
  assert.notEqual(JSON.parse(page.kept.get("solvay.form")!).prompt, "new");
  page.leave();
  assert.deepEqual(JSON.parse(page.kept.get("solvay.form")!), { prompt: "new" });
});

beforeEach(() => {
  form.form.value = {};
  form.partPrompt.value = "";
  form.schema.value = SCHEMA;
  page.requests.length = 0;
  page.told.length = 0;
  page.answer = () => 404;
});

test("the form asks for what was given, else what the model advises, in the fields that the server knows", () => {
  form.form.value = { steps: 12, unknown: 1, negativePrompt: "fog" };
  assert.deepEqual(form.jobOfForm(), { prompt: "", steps: 12, guidance: 5, negativePrompt: "fog" });
  form.form.value = { prompt: "a red lake", template: "a {lake}", detail: "1,2,3,4" };
  assert.deepEqual(form.jobOfForm(), {
    prompt: "a red lake",
    template: "a {lake}",
    steps: 30,
    guidance: 5,
    detail: "1,2,3,4",
  });
  form.partPrompt.value = " an eye ";
  assert.deepEqual(form.jobOfForm(), { prompt: "an eye", steps: 30, guidance: 5, detail: "1,2,3,4" });
  // Of a whole picture the part's words say nothing.
  form.form.value = { prompt: "a red lake" };
  assert.equal(form.jobOfForm().prompt, "a red lake");
});

test("a prompt that is written anew has no template; settings without their seed have their templates again", () => {
  form.form.value = { prompt: "a red lake", template: "a {lake}", negativePrompt: "fog", negativeTemplate: "{fog}" };
  form.setField("prompt", "b");
  assert.deepEqual(form.form.value, { prompt: "b", negativePrompt: "fog", negativeTemplate: "{fog}" });
  form.setField("negativePrompt", undefined);
  assert.deepEqual(form.form.value, { prompt: "b" });
  const drawn = {
    prompt: "a red lake",
    template: "a {lake}",
    negativePrompt: "fog",
    steps: 3,
    seed: 1,
    subseed: 2,
    subseedStrength: 0.2,
  };
  assert.deepEqual(form.withoutSeed(drawn), { prompt: "a {lake}", negativePrompt: "fog", steps: 3 });
  form.fill({ steps: 4 });
  assert.deepEqual(form.form.value, { steps: 4 });
  page.told[0]!.undo!();
  assert.deepEqual(form.form.value, { prompt: "b" });
});

test("prompts are remembered once each, the latest first, 200 of them", () => {
  form.prompts.value = [];
  for (let at = 0; at < 205; at++) form.rememberPrompt(` p${at} `);
  for (const text of ["p150", "  ", ""]) form.rememberPrompt(text);
  const { value } = form.prompts;
  assert.deepEqual(
    [value.length, value[0], value[1], value.at(-1), new Set(value).size],
    [200, "p150", "p204", "p5", 200],
  );
});

test("how much of a picture is drawn anew by itself, as the engine has it; advice comes before a field's own words", () => {
  const strength = { name: "strength" };
  for (const [given, standing] of [
    [{}, 0.3],
    [{ maskImage: "m" }, 1],
    [{ outpaint: "0,0,8,0" }, 1],
    [{ detail: "1,2,3,4", maskImage: "m" }, 0.4],
  ] as const) {
    form.form.value = given;
    assert.equal(form.standingOf(strength), standing, JSON.stringify(given));
  }
  assert.equal(form.standingOf({ name: "steps", default: 50 }), 30);
  assert.equal(form.standingOf({ name: "x", default: 50, absent: "0.7" }), 50);
  assert.equal(form.standingOf({ name: "x", absent: "0.7" }), 0.7);
  assert.equal(form.standingOf({ name: "x", absent: "the model's own" }), undefined);
});

test("the server is asked as it takes it; its words for a failure come without their code, and no answer is told apart", async () => {
  page.answer = ({ path }) => (path === "/away" ? new TypeError("no") : { jobs: [] });
  await client.api.submit({ prompt: "x" }, 3, 2, "lake");
  await client.api.submit({ prompt: "x" });
  await client.api.move("1", null);
  assert.deepEqual(page.requests, [
    { method: "POST", path: "/api/jobs", body: { job: { prompt: "x" }, count: 3, priority: 2, model: "lake" } },
    { method: "POST", path: "/api/jobs", body: { job: { prompt: "x" }, count: 1, priority: 0 } },
    { method: "POST", path: "/api/jobs/1/move", body: { before: null } },
  ]);
  await assert.rejects(client.ask("/away"), { status: 0, code: "E_OFFLINE" });
  assert.equal(client.online.value, false);
  page.answer = () => 503;
  await assert.rejects(client.ask("/x"), { status: 503, code: "E_ANSWER" });
  assert.equal(client.online.value, true);
  assert.equal(client.plainWords("E_JOB steps: too many. Next: less."), "Steps: too many. Next: less.");
  assert.equal(client.plainWords("E_QUEUE_FULL: the queue is full."), "The queue is full.");
});

test("jobs stand in the order in which they will be drawn, were begun, and ended; open ones are never forgotten", () => {
  const ended = (id: string, minute: number, number: number) =>
    job(id, { state: "done", number, finishedAt: `2026-11-26T10:${minute}:00Z` });
  jobs.jobs.value = new Map();
  jobs.learnJobs([
    ...[job("w1", { number: 5 }), job("w2", { number: 3 }), job("w3", { number: 9, priority: 2 })],
    ...[job("r2", { state: "running", number: 8 }), job("r1", { state: "running", number: 2 })],
    ...[ended("e1", 10, 1), ended("e3", 30, 4), ended("e2", 20, 6), ended("e4", 30, 7)],
  ]);
  assert.deepEqual(ids(jobs.waiting.value), ["w3", "w2", "w1"]);
  assert.deepEqual(ids(jobs.running.value), ["r1", "r2"]);
  assert.deepEqual(ids(jobs.over.value), ["e4", "e3", "e2", "e1"]);
  // 200 at most: the oldest of those that are over go.
  jobs.learnJobs(Array.from({ length: 196 }, (_, at) => ended(`m${at}`, 40, 100 + at)));
  assert.deepEqual([jobs.jobs.value.size, jobs.waiting.value.length, jobs.running.value.length], [200, 3, 2]);
  assert.deepEqual(
    [jobs.jobs.value.has("e4"), jobs.jobs.value.has("m0"), jobs.jobs.value.has("m1")],
    [false, false, true],
  );
});

test("events say what becomes of jobs, unknown ones are asked for, and one that comes while the list is on its way counts more", async () => {
  const there = new Map<string, object>([
    ["a", job("a")],
    ["b", job("b", { number: 2 })],
  ]);
  page.answer = ({ path }) =>
    path.startsWith("/api/jobs?") ? { jobs: [...there.values()] } : (there.get(path.replace("/api/jobs/", "")) ?? 404);
  const failures: unknown[] = [];
  jobs.jobs.value = new Map();
  const end = jobs.followJobs((error) => failures.push(error));
  await turns();
  assert.deepEqual([jobs.jobsKnown.value, ids(jobs.waiting.value)], [true, ["a", "b"]]);
  page.happens("started", { job: "a", claim: 1 });
  page.happens("step", { job: "a", step: 2, steps: 4, etaMs: 900 });
  page.happens("queued", { job: "b", priority: 7 });
  const now = (id: string) => {
    const { state, step, steps, etaMs, priority } = jobs.jobs.value.get(id)!;
    return [state, step, steps, etaMs, priority];
  };
  assert.deepEqual(
    [now("a"), now("b")],
    [
      ["running", 2, 4, 900, 0],
      ["queued", 0, undefined, undefined, 7],
    ],
  );
  page.requests.length = 0;
  page.happens("note", { job: "a", text: "slow" });
  there.set("c", job("c", { number: 3 }));
  page.happens("queued", { job: "c", priority: 0 });
  there.set("a", job("a", { state: "done", asset: "x" }));
  page.happens("done", { job: "a" });
  await turns();
  assert.deepEqual(
    page.requests.map(({ path }) => path),
    ["/api/jobs/c", "/api/jobs/a"],
  );
  assert.deepEqual([ids(jobs.over.value), ids(jobs.waiting.value), now("a")[3]], [["a"], ["b", "c"], undefined]);
  // Given back, it waits again.
  there.set("b", job("b", { number: 2, priority: 7 }));
  page.happens("step", { job: "b", step: 1, steps: 4 });
  assert.equal(now("b")[0], "running");
  page.happens("returned", { job: "b", why: "x" });
  await turns();
  assert.equal(now("b")[0], "queued");
  // The connection is there again: a list is asked for, and is older than what happens until it comes.
  const list = Promise.withResolvers<object>();
  page.answer = ({ path }) => (path.startsWith("/api/jobs?") ? list.promise : job("b", { state: "done" }));
  page.happens("open", {});
  await turns();
  page.happens("done", { job: "b" });
  list.resolve({ jobs: [job("b"), job("c", { number: 3 })] });
  await turns();
  assert.deepEqual([now("b")[0], now("c")[0], jobs.jobs.value.size], ["done", "queued", 2]);
  assert.deepEqual(failures, []);
  page.answer = () => 404;
  page.happens("done", { job: "gone" });
  await turns();
  assert.equal(failures.length, 1);
  end();
  page.requests.length = 0;
  page.happens("done", { job: "a" });
  assert.deepEqual(page.requests, []);
});

test("what waits is ready after what is drawn beside each other, and those before it, by one plan for each shape", async () => {
  const plans: Readonly<Record<number, number>> = { 10: 1000, 20: 3000 };
  page.answer = ({ body }) => ({ predictedMs: plans[(body as { job: { steps: number } }).job.steps] });
  const wanted = (id: string, number: number, steps: number, more: object = {}) =>
    job(id, { number, job: { prompt: id, steps, seed: number }, ...more });
  jobs.jobs.value = new Map();
  jobs.learnJobs([
    ...[wanted("r1", 1, 10, { state: "running", etaMs: 400 }), wanted("r2", 2, 10, { state: "running" })],
    wanted("w1", 3, 20),
  ]);
  // While a plan is on its way more is asked for.
  jobs.learnJobs([wanted("w2", 4, 10), wanted("w3", 5, 20)]);
  await turns();
  assert.deepEqual(
    page.requests.map(({ path, body }) => [path, body]),
    [
      ["/api/plan", { job: { prompt: "r1", steps: 10 } }],
      ["/api/plan", { job: { prompt: "w1", steps: 20 } }],
    ],
  );
  // The later of both that run, by its plan; then 3, 1 and 3 s.
  assert.deepEqual(
    [...estimates.readyMs.value],
    [
      ["w1", 4000],
      ["w2", 5000],
      ["w3", 8000],
    ],
  );
  // Behind one that nobody can tell of there is nothing to tell.
  page.answer = () => 400;
  jobs.learnJobs([wanted("x", 4, 99)]);
  await turns();
  assert.deepEqual(
    [...estimates.readyMs.value].map(([id]) => id),
    ["w1", "w2"],
  );
  jobs.jobs.value = new Map();
});

test("a grid is asked for with one seed, its axes in their order, in parts that follow each other; a refusal ends it, told once", async () => {
  const uuid = (at: number) => `${at}0000000-0000-0000-0000-000000000000`;
  const part = (from: number, next: number | null) => ({
    axes: [{ name: "steps", texts: ["1", "2", "3"] }],
    jobs: [0, 1, 2].map((at) => (at === from ? job(uuid(at), { state: "done" }) : null)),
    next,
  });
  page.answer = ({ body }) => part((body as { from: number }).from, (body as { from: number }).from < 1 ? 1 : null);
  grids.axisForms.value = [
    { field: "", values: "7" },
    { field: "steps", values: "1,2,3" },
    { field: "guidance", values: " " },
  ];
  jobs.jobsKnown.value = true;
  await grids.askGrid({ prompt: "x" });
  await turns();
  const bodies = page.requests.map(({ body }) => body as { job: { seed: number }; x: string; from: number });
  assert.deepEqual(
    bodies.map(({ x, from }) => [x, from]),
    [
      ["steps=1,2,3", 0],
      ["steps=1,2,3", 1],
    ],
  );
  assert.ok(Number.isInteger(bodies[0]!.job.seed));
  assert.deepEqual(bodies[1]!.job, bodies[0]!.job);
  assert.ok(!("y" in bodies[0]!) && !("model" in bodies[0]!));
  assert.deepEqual([grids.grid.value?.cells, grids.grid.value?.rest], [[uuid(0), uuid(1), null], undefined]);
  await grids.askGrid({ prompt: "x", seed: 5 });
  grids.endGrid();
  assert.equal((page.requests.at(-1)!.body as { job: { seed: number } }).job.seed, 5);
  assert.deepEqual([grids.grid.value?.cells[0], grids.grid.value?.rest], [uuid(0), undefined]);
});
