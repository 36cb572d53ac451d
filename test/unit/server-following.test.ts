/** @file What a server follows and holds: jobs until they are over, grids in parts, what the engine does for who looks, one model at a time. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { gridRoutes } from "../../src/server/http/api/grids.ts";
import { jobRoutes } from "../../src/server/http/api/jobs.ts";
import { allOver, ask } from "../../src/server/services.ts";
import { LiveView } from "../../src/server/work/live-view.ts";
import { ModelHolder } from "../../src/server/work/model-holder.ts";
import { SharedPreviews } from "../../src/server/work/shared-previews.ts";
import { asJson, pretendingServices, routed } from "../support/pretending-services.ts";

const turns = async () => {
  for (let i = 0; i < 60; i++) await turn();
};
const asking = { owner: "ann" };
const never = new AbortController().signal;

test("jobs are waited for until all are over, those that were so before as well, in the order in which they were asked for", async () => {
  const { services, cancelled } = pretendingServices([
    [1, "done"],
    [0, "step", 1, 2],
    [0, "failed"],
  ]);
  const jobs = await ask(services, { prompt: "x" }, 2, asking);
  const steps: unknown[] = [];
  const over = await allOver(services, jobs, never, ({ id }, step, of) => void steps.push([id, step, of]));
  assert.deepEqual(
    [over.map(({ id, state }) => [id, state]), steps, cancelled],
    [
      [
        ["job0", "failed"],
        ["job1", "done"],
      ],
      [["job0", 1, 2]],
      [],
    ],
  );
  const again = await allOver(services, jobs, never);
  assert.deepEqual(
    again.map(({ id }) => id),
    ["job0", "job1"],
  );
});

test("a client that goes takes along what is not over; a server that closes takes nothing", async () => {
  for (const closes of [false, true]) {
    const { services, cancelled, close } = pretendingServices([[0, "done"]]);
    const jobs = await ask(services, { prompt: "x" }, 2, asking);
    const gone = new AbortController();
    const waiting = allOver(services, jobs, gone.signal);
    await turns();
    if (closes) close();
    gone.abort();
    assert.deepEqual(
      (await waiting).map(({ id, state }) => [id, state]),
      closes
        ? [["job0", "done"]]
        : [
            ["job0", "done"],
            ["job1", "cancelled"],
          ],
    );
    assert.deepEqual(cancelled, closes ? [] : ["job1"]);
  }
});

test("events go on after the one that a reader had last, of one job where one is named, each with its number", async () => {
  const { services } = pretendingServices([
    [0, "started"],
    [1, "started"],
    [0, "step", 1, 2],
    [0, "done"],
  ]);
  await ask(services, { prompt: "x" }, 2, asking);
  for await (const { type } of services.log.since(0, AbortSignal.timeout(5000))) if (type === "done") break;
  const app = routed(jobRoutes(services));
  const read = async (query: string, last?: string) => {
    const answer = await app.request(`/api/events${query}`, {
      headers: last === undefined ? {} : { "last-event-id": last },
    });
    const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    while (!text.includes("event: done")) text += (await reader.read()).value;
    await reader.cancel();
    return [...text.matchAll(/id: (\d+)\nevent: (\w+)\ndata: \{"job":"(\w+)"/g)].map(([, ...found]) => found.join(" "));
  };
  const all = ["1 started job0", "2 started job1", "3 step job0", "4 done job0"];
  assert.deepEqual(await read("", "0"), all);
  assert.deepEqual(await read("", "2"), all.slice(2));
  assert.deepEqual(await read("?job=job0", "0"), [all[0], ...all.slice(2)]);
});

test("a grid's cells share a seed and stand where their values say; in parts it leaves room for others and says where to go on", async () => {
  const { services, asked } = pretendingServices();
  const app = routed(gridRoutes(services));
  const grid = async (body: object, room = 100) => {
    services.queue.room = async () => room;
    const answer = await app.request(
      "/api/grids",
      asJson({ job: { prompt: "x" }, x: "steps=1,2,3", y: "guidance=2,3", ...body }),
    );
    return (await answer.json()) as {
      jobs: ({ job: Record<string, number> } | null)[];
      next?: number | null;
      error?: { code: string };
    };
  };
  const placed = ({ jobs }: Awaited<ReturnType<typeof grid>>) =>
    jobs.map((each) => each && [each.job.steps, each.job.guidance]);
  const cells = [2, 3].flatMap((guidance) => [1, 2, 3].map((steps) => [steps, guidance]));
  const whole = await grid({});
  assert.deepEqual([placed(whole), whole.next], [cells, undefined]);
  assert.equal(new Set(whole.jobs.map((each) => each!.job.seed)).size, 1);
  // 4 of 6 fit: an eighth of the room, rounded down, is left to others.
  const first = await grid({ from: 0, job: { prompt: "x", seed: 7 } }, 4);
  const second = await grid({ from: first.next, job: { prompt: "x", seed: 7 } }, 4);
  assert.deepEqual([first.next, second.next], [4, null]);
  const both = placed(first).map((each, at) => each ?? placed(second)[at]);
  assert.deepEqual(both, cells);
  assert.deepEqual(
    [placed(first), placed(second)].map((part) => part.filter(Boolean).length),
    [4, 2],
  );
  assert.equal((await grid({ from: 0, x: "steps=1-20" }, 16)).next, 14);
  const before = asked.length;
  for (const from of [-1, 1.5, "0", 401]) assert.equal((await grid({ from })).error?.code, "E_GRID", String(from));
  assert.equal((await grid({ x: "steps=1-21", y: "guidance=1-20" })).error?.code, "E_GRID");
  assert.equal(asked.length, before);
});

test("one model is open at a time, the same is opened once, and one that is gone is opened no more", async () => {
  const said: string[] = [];
  const open = async (model: string) => {
    said.push(`open ${model}`);
    return {
      engine: { info: { model }, [Symbol.asyncDispose]: async () => void said.push(`close ${model}`) },
      states: {},
    };
  };
  const parts = {
    models: ["a", "b"],
    assets: {},
    open,
    onOpened: (_: unknown, model: string) => void said.push(`opened ${model}`),
  };
  const holder = new ModelHolder(parts as never);
  for (const model of ["a", "a", "b"]) await holder.hold(model);
  await holder.close();
  await holder.hold("b");
  assert.deepEqual(said, ["open a", "opened a", "close a", "open b", "opened b", "close b", "open b", "opened b"]);
  holder.forget("a", new Error("x"));
  assert.deepEqual([holder.models, holder.model], [["b"], "b"]);
  assert.throws(() => holder.forget("b", new Error("none is left")), /none is left/);
});

test("previews are shared once a second, small; what is removed stays so, and a fault ends none of what comes", async () => {
  let nowMs = 0;
  const said: string[] = [];
  let isAway = false;
  const database = {
    query: async (text: string, values: readonly unknown[]) => {
      if (isAway) throw new Error("away");
      said.push([text.split(" ")[0], ...values.slice(0, 5)].join(" "));
      return [];
    },
  };
  const shared = new SharedPreviews({
    database: database as never,
    now: () => nowMs,
    onTrouble: (what) => said.push(what),
  });
  const put = async (atMs: number, step: number, width = 8, height = 4) => {
    nowMs = atMs;
    shared.put("1", { step, steps: 9, width, height, rgb: new Uint8Array(3 * width * height) });
    await turns();
  };
  await put(0, 1);
  await put(999, 2);
  await put(1000, 3, 320, 80);
  isAway = true;
  await put(2000, 4);
  isAway = false;
  await put(3000, 5);
  shared.remove("1");
  shared.remove("1");
  shared.remove("never told");
  await turns();
  assert.deepEqual(said, [
    "insert 1 1 9 8 4",
    "insert 1 3 9 160 40",
    "a preview can't be told",
    "insert 1 5 9 8 4",
    "delete 1",
  ]);
});

test("the engine is watched while somebody looks: each gets the latest of all, and of blocks what changed since he looked last", async () => {
  const signals: AbortSignal[] = [];
  let tell: (moment: object) => void = () => {};
  const engine = {
    async *watch({ signal }: { signal: AbortSignal }) {
      signals.push(signal);
      while (!signal.aborted) {
        const { promise, resolve } = Promise.withResolvers<object>();
        tell = resolve;
        yield await promise;
      }
    },
  };
  const live = new LiveView(() => engine as never);
  live.take("1", { type: "phase", title: "Denoise" } as never);
  live.take("1", { type: "step", step: 2, steps: 4 } as never);
  const listener = () => {
    const stop = new AbortController();
    const heard: string[] = [];
    const over = (async () => {
      for await (const { type, data } of live.listen(stop.signal)) heard.push(`${type} ${JSON.stringify(data)}`);
    })();
    return { stop, heard, over };
  };
  const first = listener();
  await turns();
  tell({ resident: ["a", "b"] });
  await turns();
  const second = listener();
  await turns();
  tell({ resident: ["b", "c"] });
  await turns();
  live.end("other");
  live.end("1");
  await turns();
  const progress = 'progress {"job":"1","title":"Denoise","step":2,"steps":4}';
  const over = 'progress {"job":"1","title":"","over":true}';
  const changed = 'moment {"arrived":["c"],"left":["a"]}';
  assert.deepEqual(first.heard, [progress, 'moment {"arrived":["a","b"],"left":[]}', changed, over]);
  assert.deepEqual(second.heard, first.heard);
  first.stop.abort();
  await first.over;
  assert.deepEqual(
    signals.map(({ aborted }) => aborted),
    [false],
  );
  second.stop.abort();
  await second.over;
  assert.deepEqual(
    signals.map(({ aborted }) => aborted),
    [true],
  );
  tell({ resident: [] });
});
