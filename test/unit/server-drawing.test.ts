/** @file A claim that is drawn, without a database or an engine: what is saved, told and given back when, and how its picture gets into the store. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { type TestContext, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { DeviceError } from "../../src/errors.ts";
import { encodePng } from "../../src/image/png.ts";
import { Drawing, type DrawingParts } from "../../src/server/work/drawing.ts";
import { handIn } from "../../src/server/work/hand-in.ts";

const turns = async () => {
  for (let i = 0; i < 20; i++) await turn();
};

/** Said: what is done to the job, its state and its picture, in its order. */
async function drawing({ mock }: TestContext, suspect = false) {
  let nowMs = 0;
  mock.timers.enable({ apis: ["setInterval"] });
  mock.method(performance, "now", () => nowMs);
  const said: string[] = [];
  const closing = new AbortController();
  const cancelled = Promise.withResolvers<void>();
  const there = { isHis: true };
  const says =
    (text: string, ...of: readonly number[]) =>
    async (...given: readonly unknown[]) => {
      said.push([text, ...of.map((at) => given[at])].join(" "));
    };
  const claims = {
    touch: async () => there.isHis,
    ...{ started: says("started", 1), progress: says("step", 1, 2), note: says("note", 1) },
    ...{ giveBack: says("back", 2), fail: says("failed"), refuse: says("refused") },
    finish: async (_: unknown, { name, ...picture }: { name: string }) =>
      void said.push(`finished ${JSON.stringify(picture)}`),
  };
  const log = {
    last: 0,
    async *since(_: number, signal: AbortSignal) {
      const stopped = new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
      yield { job: "other", type: "cancelled" };
      yield { job: "1", type: "step" };
      await Promise.race([cancelled.promise, stopped]);
      if (!signal.aborted) yield { job: "1", type: "cancelled" };
      await stopped;
    },
  };
  const parts = {
    ...{ claims, log, assets: {}, store: { put: says("put", 0) }, stateStore: { remove: says("removed") } },
    previews: { set: says("preview"), step() {}, end: says("over", 1) },
    ...{ live: { take() {}, end() {} }, touchMs: 1000, worker: "w", onImage: says("image", 1), onTrouble() {} },
  };
  const record = { id: "1", job: { prompt: "a lake" }, hash: "h".repeat(64), createdAt: "2026-11-26T10:00:00.000Z" };
  const drawn = new Drawing(parts as unknown as DrawingParts, { record, suspect, fence: 1 } as never, closing.signal);
  const states = {
    read: async () => undefined,
    save: async (...[, , state, steps]: readonly [string, object, { step: number }, number]) =>
      void said.push(`saved ${state.step} of ${steps}`),
  };
  const { signal } = await drawn.request(states as never);
  const step = async (step: number, atMs: number, steps = 9) => {
    nowMs = atMs;
    await drawn.take({ type: "step", step, steps, state: { step }, etaMs: 1, stepMs: 1 } as never);
  };
  const end = async (error: unknown = new Error("stopped")) => {
    drawn.fail(error);
    return await drawn.over;
  };
  return {
    ...{ drawn, said, closing, signal: signal!, there, step, end },
    async cancel() {
      cancelled.resolve();
      await turns();
    },
    async beat() {
      mock.timers.tick(1000);
      await turns();
    },
  };
}

test("a job whose worker closes is saved and given back; one that is cancelled or somebody else's by now is neither", async (t) => {
  const closes = await drawing(t);
  await closes.step(1, 0);
  closes.closing.abort();
  assert.ok(closes.signal.aborted);
  assert.equal(await closes.end(), false);
  assert.deepEqual(closes.said, ["started w", "step 1 9", "saved 1 of 9", "back true", "over false"]);
  t.mock.reset();

  const cancelled = await drawing(t);
  await cancelled.step(1, 0);
  assert.equal(cancelled.signal.aborted, false);
  await cancelled.cancel();
  assert.ok(cancelled.signal.aborted);
  // What the engine still tells is heard no more.
  await cancelled.step(9, 9000);
  assert.equal(await cancelled.end(new DeviceError({ code: "E_X", problem: "stopped", next: "none" })), false);
  assert.deepEqual(cancelled.said, ["started w", "step 1 9", "removed", "over false"]);
  t.mock.reset();

  const lost = await drawing(t);
  await lost.step(1, 0);
  await lost.beat();
  assert.equal(lost.signal.aborted, false);
  lost.there.isHis = false;
  await lost.beat();
  assert.ok(lost.signal.aborted);
  assert.equal(await lost.end(), false);
  assert.deepEqual(lost.said, ["started w", "step 1 9", "over false"]);
});

test("an engine that breaks leaves the latest state to the next claim", async (t) => {
  const broken = await drawing(t);
  await broken.step(1, 0);
  assert.equal(await broken.end(new DeviceError({ code: "E_X", problem: "broken", next: "none" })), true);
  assert.deepEqual(broken.said, ["started w", "step 1 9", "saved 1 of 9", "back false", "over false"]);
});

test("steps are told four times a second and at the end; states are saved every 5 s, of a job that ended claims every half a second", async (t) => {
  for (const [suspect, savedAtMs] of [
    [false, 5000],
    [true, 500],
  ] as const) {
    const { said, step, closing, end } = await drawing(t, suspect);
    await step(1, 0);
    await step(2, 249);
    await step(3, 250);
    await step(4, savedAtMs - 1);
    await step(5, savedAtMs);
    await step(6, savedAtMs + 1);
    await step(9, savedAtMs + 2);
    const saves = [...said];
    closing.abort();
    await end();
    const steps = suspect ? [1, 3, 5, 9] : [1, 3, 4, 9];
    assert.deepEqual(
      saves.filter((each) => each.startsWith("step")),
      steps.map((each) => `step ${each} 9`),
    );
    assert.equal(saves.filter((each) => each === "saved 5 of 9").length, 1);
    // Before the step is told of, which is lost where it is not.
    if (suspect) assert.ok(saves.indexOf("saved 5 of 9") < saves.indexOf("step 5 9"));
    t.mock.reset();
  }
});

test("a picture is put into the store, then its claim is finished, then its state removed; what it shared its passes with is told", async (t) => {
  const { drawn, said } = await drawing(t);
  const bytes = await encodePng({ width: 2, height: 1, rgb: new Uint8Array(6) });
  await drawn.take({ type: "plan", plan: { lanes: 3 } } as never);
  await drawn.take({ type: "note", text: "slow" } as never);
  await drawn.take({ type: "preview" } as never);
  await drawn.take({ type: "image", bytes, format: "png", width: 2, height: 1, passes: [] } as never);
  assert.equal(await drawn.over, false);
  const sha256 = createHash("sha256").update(bytes).digest("hex");
  const picture = { sha256, mediaType: "image/png", bytes: bytes.length, width: 2, height: 1, infotext: "a lake" };
  // By its day, what draws the same, and what it holds.
  const put = `put 2026-11-26/${"h".repeat(16)}-${sha256.slice(0, 16)}.png`;
  const finished = `finished ${JSON.stringify(picture)}`;
  assert.deepEqual(said, ["started w", "note slow", "preview", put, finished, "image 3", "removed", "over true"]);
});

test("a picture that can't be written is told of and not finished; it is given up where its claim is lost", async () => {
  const said: string[] = [];
  const store = { put: () => Promise.reject(Object.assign(new Error("full"), { code: "ENOSPC" })) };
  const claims = {
    note: async (_: unknown, text: string) => void said.push(text),
    finish: async () => void said.push("finished"),
  };
  const parts = { claims, store, onTrouble: (what: string) => void said.push(what) };
  const bytes = await encodePng({ width: 2, height: 1, rgb: new Uint8Array(6) });
  const claim = { record: { job: { prompt: "a lake" }, hash: "h", createdAt: "2026-11-26T10:00:00.000Z" } };
  const lost = new AbortController();
  const image = { bytes, format: "png", width: 2, height: 1 };
  const over = assert.rejects(handIn(image as never, claim as never, parts as never, lost.signal));
  await turns();
  lost.abort(new Error("lost"));
  await over;
  assert.equal(said.shift(), "a picture can't be written yet");
  assert.match(said.join(), /^the picture can't be written yet \(.*\): it is kept, and tried again$/);
});
