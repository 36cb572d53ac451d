/** @file An engine behind a message port that is no worker of Node's: what its client asks arrives, and what it tells comes back. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { EngineClient } from "../../src/engine/client.ts";
import { type FromEngine, packError, type ToEngine } from "../../src/engine/messages.ts";
import { serveEngine } from "../../src/engine/serve-port.ts";
import type { EngineThread } from "../../src/engine/thread.ts";
import { BudgetError, DeviceError } from "../../src/errors.ts";
import type { CheckedEngine } from "../../src/job/checked.ts";
import type { EngineInfo, PlanReport, ResidencyEvent, UpscaleEvent } from "../../src/job/types.ts";

/** Messages go as a structured clone does it, each in a turn of its own. */
function serveInMemory(open: (request: object) => Promise<CheckedEngine>) {
  const log: string[] = [];
  let toClient: (message: FromEngine) => void = () => {};
  let toEngine: (message: ToEngine) => void = () => {};
  let end: () => void = () => {};
  const port = {
    post: (message: FromEngine) => setImmediate(() => toClient(structuredClone(message))),
    onMessage(handle: (message: ToEngine) => void) {
      toEngine = handle;
    },
    close: () => setImmediate(() => end()),
  };
  serveEngine(port, { open, afterImage: () => log.push("after image") });
  const thread: EngineThread = {
    post: (message) => setImmediate(() => toEngine(structuredClone(message))),
    listen(onMessage, onEnd) {
      toClient = onMessage;
      end = () =>
        onEnd({ kind: "solvay", name: "DeviceError", fields: { code: "E_ENDED", problem: "over", next: "-" } });
    },
    keepAlive: () => {},
    async terminate() {
      log.push("terminated");
    },
  };
  return { thread, log };
}

const INFO: EngineInfo = {
  ...{ model: "m", demo: false, precision: "fp32", defaultWidth: 64, defaultHeight: 64 },
  backend: "reference",
};

const MOMENT: ResidencyEvent = {
  ...{ atMs: 1, pass: "unet", segment: "mid", resident: ["unet/a"], loading: ["unet/b"], deviceBytes: 2, ramBytes: 3 },
  ...{ rssBytes: 4, readBytes: 5, loadedBytes: 6, waitMs: 7 },
};

function fakeEngine(log: string[]): CheckedEngine {
  return {
    info: INFO,
    async *generate({ prompt }, { signal, states } = {}) {
      yield { type: "note", text: `${prompt}, states ${states}` };
      if (prompt === "endless") {
        await new Promise((resolve) => signal!.addEventListener("abort", resolve));
        log.push("stopped");
        signal!.throwIfAborted();
      }
      if (prompt === "too large") throw new BudgetError({ code: "E_VRAM", problem: "no room", next: "shrink" });
    },
    async *generateMany(requests, { signal } = {}) {
      for (const [index, { job, signal: own }] of requests.entries()) {
        if (job.prompt === "bad")
          yield { index, failure: new BudgetError({ code: "E_RAM", problem: "no", next: "-" }) };
        else yield { index, event: { type: "note", text: job.prompt } };
        if (job.prompt !== "endless") continue;
        await new Promise((resolve) => {
          own!.addEventListener("abort", resolve);
          signal!.addEventListener("abort", resolve);
        });
        log.push(`stopped ${own!.aborted ? "one" : "all"}`);
        if (!own!.aborted) signal!.throwIfAborted();
        yield { index, failure: own!.reason };
      }
    },
    plan: async () => assert.fail("nobody plans"),
    async *watch({ everyMs, signal } = {}) {
      log.push(`watched every ${everyMs}`);
      yield MOMENT;
      await new Promise((resolve) => signal!.addEventListener("abort", resolve));
      log.push("watched no more");
    },
    async setBudgets({ vram }) {
      log.push(`vram ${JSON.stringify(vram)}`);
    },
    async upscale({ upscaler }, { signal, onEvent } = {}) {
      onEvent?.({ type: "tile", done: 0, tiles: 2 });
      if (upscaler === "endless") {
        await new Promise((resolve) => signal!.addEventListener("abort", resolve));
        signal!.throwIfAborted();
      }
      return { width: 2, height: 1, format: "png", bytes: Uint8Array.of(7) };
    },
    planUpscale: async () => ({ lanes: 1 }) as PlanReport,
    tokens: async (prompt) => ({ words: [prompt.length] }),
    cutText: async (text) => ({ words: { limit: 2, tokens: 1, text } }),
    async [Symbol.asyncDispose]() {
      log.push("closed");
    },
  };
}

test("jobs, errors of their own class, aborts, budgets and the end pass over any port", async () => {
  const { thread, log } = serveInMemory(async () => fakeEngine(log));
  const client = await EngineClient.open(thread, {});
  assert.deepEqual(client.info, INFO);
  const notes: string[] = [];
  for await (const event of client.generate({ prompt: "a lake" }, { states: true })) {
    if (event.type === "note") notes.push(event.text);
  }
  assert.deepEqual(notes, ["a lake, states true"]);
  await assert.rejects(Array.fromAsync(client.generate({ prompt: "too large" })), (error: unknown) => {
    return error instanceof BudgetError && error.code === "E_VRAM";
  });
  const reason = new Error("enough");
  const stop = new AbortController();
  const endless = client.generate({ prompt: "endless" }, { signal: stop.signal });
  await endless.next();
  stop.abort(reason);
  await assert.rejects(Array.fromAsync(endless), reason);
  const tiles: UpscaleEvent[] = [];
  const onEvent = (event: UpscaleEvent) => void tiles.push(event);
  const enlarged = await client.upscale({ image: "a.png", upscaler: "x2" }, { onEvent });
  assert.deepEqual(enlarged, { width: 2, height: 1, format: "png", bytes: Uint8Array.of(7) });
  assert.deepEqual(tiles, [{ type: "tile", done: 0, tiles: 2 }]);
  assert.deepEqual(await client.planUpscale({ image: "a.png", upscaler: "x2" }), { lanes: 1 });
  const halt = new AbortController();
  const unending = client.upscale({ image: "a.png", upscaler: "endless" }, { signal: halt.signal });
  setTimeout(() => halt.abort(reason), 10);
  await assert.rejects(unending, reason);
  await assert.rejects(client.upscale({ image: "a.png", upscaler: "x", scale: 99 }), /E_JOB scale: out of range/);
  await client.setBudgets({ vram: "1G" });
  assert.deepEqual(await client.tokens("abc"), { words: [3] });
  assert.deepEqual(await client.cutText("abc"), { words: { limit: 2, tokens: 1, text: "abc" } });
  await client[Symbol.asyncDispose]();
  assert.deepEqual(log, [
    "after image",
    "after image",
    "stopped",
    "after image",
    "after image",
    "after image",
    'vram {"bytes":1073741824}',
    "closed",
  ]);
});

test("who watches gets moments until the loop is left or the signal, and holds nothing up", async () => {
  const { thread, log } = serveInMemory(async () => fakeEngine(log));
  const client = await EngineClient.open(thread, {});
  for await (const moment of client.watch({ everyMs: 500 })) {
    assert.deepEqual(moment, MOMENT);
    break;
  }
  const stop = new AbortController();
  const watching = client.watch({ signal: stop.signal });
  await watching.next();
  stop.abort();
  assert.deepEqual(await watching.next(), { done: true, value: undefined });
  await client.watch().next();
  await client[Symbol.asyncDispose]();
  assert.deepEqual(log.filter((line) => line !== "closed").length, 6);
  assert.deepEqual(log.slice(0, 1), ["watched every 500"]);
  assert.equal(log.at(-1), "closed");
});

test("a series passes any port: events and failures by place, and what stops one or all of it", async () => {
  const { thread, log } = serveInMemory(async () => fakeEngine(log));
  const client = await EngineClient.open(thread, {});
  const job = (prompt: string) => ({ job: { prompt } });
  const told: unknown[] = [];
  const mine = new AbortController();
  const requests = [job("a"), job("bad"), { ...job("endless"), signal: mine.signal }, job("z")];
  for await (const one of client.generateMany(requests)) {
    told.push([one.index, "failure" in one ? one.failure : one.event.type]);
    if (one.index === 2) mine.abort("mine");
  }
  const [first, bad, ...others] = told as [unknown, [number, BudgetError], ...unknown[]];
  assert.deepEqual(
    [first, others],
    [
      [0, "note"],
      [
        [2, "note"],
        [2, "mine"],
        [3, "note"],
      ],
    ],
  );
  assert.ok(bad[0] === 1 && bad[1] instanceof BudgetError && bad[1].code === "E_RAM");
  const all = new AbortController();
  const endless = client.generateMany([job("endless")], { signal: all.signal });
  await endless.next();
  all.abort("all");
  await assert.rejects(Array.fromAsync(endless), (reason) => reason === "all");
  assert.throws(() => mine.signal.throwIfAborted());
  await client[Symbol.asyncDispose]();
  assert.deepEqual(log, ["after image", "stopped one", "after image", "stopped all", "closed"]);
});

test("an engine that can't be opened ends its thread and says why", async () => {
  const { thread, log } = serveInMemory(async () => {
    throw new BudgetError({ code: "E_RAM", problem: "no room", next: "shrink" });
  });
  await assert.rejects(EngineClient.open(thread, {}), (error: unknown) => error instanceof BudgetError);
  assert.deepEqual(log, ["terminated"]);
});

for (const [word, last] of [
  ["E_VRAM", { type: "failed", id: 1, error: packError(new BudgetError({ code: "E_VRAM", problem: "-", next: "-" })) }],
  ["done", { type: "done", id: 1 }],
] as const) {
  test(`a job's own end stands although its thread ends in the same moment: ${word}`, async () => {
    let tell: (message: FromEngine) => void = () => {};
    let end: () => void = () => {};
    const thread: EngineThread = {
      post(message) {
        if (message.type === "open") return setImmediate(() => tell({ type: "opened", info: INFO }));
        setImmediate(() => {
          tell(last);
          end();
        });
      },
      listen(onMessage, onEnd) {
        tell = onMessage;
        end = () => onEnd(packError(new DeviceError({ code: "E_ENDED", problem: "over", next: "-" })));
      },
      keepAlive: () => {},
      terminate: async () => {},
    };
    const client = await EngineClient.open(thread, {});
    const events = Array.fromAsync(client.generate({ prompt: "a lake" }));
    if (word === "done") assert.deepEqual(await events, []);
    else await assert.rejects(events, { code: word });
  });
}
