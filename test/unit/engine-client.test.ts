/** @file An engine's client and the thread's side, each alone: who stops what, what is told last, what keeps a program alive. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { EngineClient } from "../../src/engine/client.ts";
import { type FromEngine, packError, type ToEngine, unpackError } from "../../src/engine/messages.ts";
import { serveEngine } from "../../src/engine/serve-port.ts";
import type { EngineThread } from "../../src/engine/thread.ts";
import { BudgetError, DeviceError, SolvayError, UsageError } from "../../src/errors.ts";
import type { CheckedEngine } from "../../src/job/checked.ts";
import type { EngineInfo, GenerateEvent, GenerateOptions } from "../../src/job/types.ts";

const INFO: EngineInfo = {
  ...{ model: "m", demo: false, precision: "fp32", defaultWidth: 64, defaultHeight: 64 },
  backend: "reference",
};
const failure = (code: string) => packError(new BudgetError({ code, problem: "-", next: "-" }));
const note = (text: string): GenerateEvent => ({ type: "note", text });
const turn = () => new Promise((resolve) => setImmediate(resolve));

/** A thread whose answers the test gives. */
class ScriptedThread implements EngineThread {
  readonly posted: ToEngine[] = [];
  /** keepAlive and terminate, in their order. */
  readonly log: string[] = [];
  tell: (message: FromEngine) => void = () => {};
  end: (code: string) => void = () => {};
  ended = false;

  post(message: ToEngine): void {
    assert.ok(!this.ended, `${message.type} to a thread that has ended`);
    this.posted.push(message);
  }

  listen(onMessage: (message: FromEngine) => void, onEnd: (why: ReturnType<typeof failure>) => void): void {
    this.tell = onMessage;
    this.end = (code) => {
      this.ended = true;
      onEnd(failure(code));
    };
  }

  keepAlive(on: boolean): void {
    this.log.push(on ? "alive" : "idle");
  }

  async terminate(): Promise<void> {
    await turn();
    this.log.push("terminated");
  }

  /** The next message of a type, once it is there. */
  async next<Type extends ToEngine["type"]>(type: Type): Promise<Extract<ToEngine, { type: Type }>> {
    for (let i = 0; i < 1000; i++) {
      const at = this.posted.findIndex((message) => message.type === type);
      if (at >= 0) return this.posted.splice(at, 1)[0] as Extract<ToEngine, { type: Type }>;
      await turn();
    }
    throw new Error(`nobody asked for ${type}`);
  }
}

async function opened(signal?: AbortSignal) {
  const thread = new ScriptedThread();
  const opening = EngineClient.open(thread, { signal });
  await thread.next("open");
  thread.tell({ type: "opened", info: INFO });
  return { thread, client: await opening };
}

test("an opening that was stopped before it began asks nothing, and ends the thread", async () => {
  const thread = new ScriptedThread();
  const reason = new Error("enough");
  await assert.rejects(EngineClient.open(thread, { signal: AbortSignal.abort(reason) }), reason);
  assert.deepEqual([thread.posted, thread.log], [[], ["terminated"]]);
  const unchecked = new ScriptedThread();
  await assert.rejects(EngineClient.open(unchecked, { backend: "gpu" as "cpu" }), UsageError);
  assert.deepEqual([unchecked.posted, unchecked.log], [[], ["terminated"]]);
});

test("an opening is stopped by its signal, with the signal's reason; an engine that is open is not", async () => {
  const stop = new AbortController();
  const thread = new ScriptedThread();
  const events: object[] = [];
  const opening = EngineClient.open(thread, { signal: stop.signal, onEvent: (event) => events.push(event) });
  await thread.next("open");
  thread.tell({ type: "load", event: { type: "note", text: "loading" } });
  assert.deepEqual(events, [{ type: "note", text: "loading" }]);
  const reason = new Error("enough");
  stop.abort(reason);
  assert.deepEqual(thread.posted, [{ type: "abort", id: 0 }]);
  thread.tell({ type: "failed", id: 0, error: { kind: "abort" } });
  await assert.rejects(opening, reason);
  assert.deepEqual(thread.log, ["alive", "terminated"]);
  const later = new AbortController();
  const open = await opened(later.signal);
  later.abort();
  assert.deepEqual(open.thread.posted, []);
});

test("a program lives as long as something is under way, and until an engine that is closed has ended", async () => {
  const { thread, client } = await opened();
  assert.deepEqual(thread.log.splice(0).at(-1), "idle");
  const [one, two] = [client.tokens("a"), client.cutText("b")];
  thread.tell({ type: "tokens", id: (await thread.next("tokens")).id, ids: {} });
  await one;
  assert.ok(thread.log.includes("alive") && !thread.log.includes("idle"), thread.log.join());
  thread.tell({ type: "cut", id: (await thread.next("cut")).id, cut: {} });
  await two;
  assert.equal(thread.log.splice(0).at(-1), "idle");
  const events = Array.fromAsync(client.generate({ prompt: "x" }));
  const { id } = await thread.next("generate");
  assert.deepEqual(thread.log.splice(0), ["alive"]);
  thread.tell({ type: "done", id });
  await events;
  assert.deepEqual(thread.log.splice(0), ["idle"]);
  const idle = await opened();
  const closing = idle.client[Symbol.asyncDispose]();
  assert.equal(idle.thread.log.at(-1), "alive");
  idle.thread.end("E_ENDED");
  await closing;
  const asked = client.tokens("a");
  const closed = client[Symbol.asyncDispose]().then(() => "closed");
  thread.tell({ type: "tokens", id: (await thread.next("tokens")).id, ids: {} });
  await asked;
  assert.equal(thread.log.at(-1), "alive");
  await thread.next("close");
  assert.equal(await Promise.race([closed, turn()]), undefined);
  thread.end("E_ENDED");
  assert.equal(await closed, "closed");
});

test("each job hears of itself alone, all that came before its failure first, and nothing after its end", async () => {
  const { thread, client } = await opened();
  const [one, two] = ["a", "b"].map((prompt) => client.generate({ prompt }));
  const firsts = [one!.next(), two!.next()];
  const ids = [(await thread.next("generate")).id, (await thread.next("generate")).id];
  assert.notEqual(ids[0], ids[1]);
  thread.tell({ type: "event", id: ids[1]!, event: note("of b") });
  for (const text of ["1 of a", "2 of a"]) thread.tell({ type: "event", id: ids[0]!, event: note(text) });
  thread.tell({ type: "failed", id: ids[0]!, error: failure("E_FIRST") });
  thread.tell({ type: "failed", id: ids[0]!, error: failure("E_SECOND") });
  assert.deepEqual(
    (await Promise.all(firsts)).map(({ value }) => value),
    [note("1 of a"), note("of b")],
  );
  assert.deepEqual((await one!.next()).value, note("2 of a"));
  await assert.rejects(one!.next(), { code: "E_FIRST" });
  thread.tell({ type: "event", id: ids[0]!, event: note("too late") });
  thread.tell({ type: "done", id: ids[1]! });
  assert.deepEqual(await two!.next(), { value: undefined, done: true });
  // Neither has anything left that could be stopped.
  assert.deepEqual(thread.posted, []);
});

test("a job is stopped by its signal or by leaving it, once; not before it is sent, nor after its end", async () => {
  const { thread, client } = await opened();
  const reason = new Error("enough");
  await assert.rejects(
    Array.fromAsync(client.generate({ prompt: "x" }, { signal: AbortSignal.abort(reason) })),
    reason,
  );
  await assert.rejects(Array.fromAsync(client.generate({ prompt: "x", steps: 0 })), UsageError);
  for (const ask of ["tokens", "cutText"] as const) await assert.rejects(client[ask](5 as never), UsageError);
  assert.deepEqual(thread.posted, []);
  for (const way of ["signal", "leave", "end"]) {
    const stop = new AbortController();
    const job = client.generate({ prompt: "x" }, { signal: stop.signal, states: true });
    const first = job.next();
    const { id, asked } = await thread.next("generate");
    assert.deepEqual(asked, { states: true });
    thread.tell({ type: "event", id, event: note("begun") });
    await first;
    if (way === "leave") await job.return();
    if (way === "end") {
      thread.tell({ type: "done", id });
      await job.next();
    }
    stop.abort(reason);
    stop.abort(new Error("again"));
    assert.deepEqual(thread.posted.splice(0), way === "end" ? [] : [{ type: "abort", id }], way);
    if (way !== "signal") continue;
    const rest = job.next();
    thread.tell({ type: "failed", id, error: { kind: "abort" } });
    await assert.rejects(rest, reason);
    assert.deepEqual(thread.posted, []);
  }
});

test("a thread that ends tells all who wait, the first reason stays, and nobody writes to it any more", async () => {
  const { thread, client } = await opened();
  const waiting = [client.tokens("x"), client.plan({}), Array.fromAsync(client.generate({ prompt: "x" }))];
  await thread.next("generate");
  thread.end("E_FIRST");
  thread.end("E_SECOND");
  for (const each of waiting)
    await assert.rejects(each, (error) => error instanceof BudgetError && error.code === "E_FIRST");
  await assert.rejects(client.setBudgets({ vram: "1G" }), { code: "E_FIRST" });
  await assert.rejects(Array.fromAsync(client.generate({ prompt: "y" })), { code: "E_FIRST" });
  await client[Symbol.asyncDispose]();
  await client[Symbol.asyncDispose]();
});

test("what crosses as an error keeps its subject, its stack, and an abort its own name", () => {
  const arrived = unpackError(packError(new DeviceError({ code: "E_X", subject: "card", problem: "p", next: "n" })), 0);
  assert.ok(arrived instanceof DeviceError);
  assert.deepEqual([arrived.code, arrived.subject, arrived.problem, arrived.next], ["E_X", "card", "p", "n"]);
  const unknown = unpackError({ kind: "solvay", name: "Newer", fields: { code: "E_X", problem: "p", next: "n" } }, 0);
  assert.equal((unknown as object).constructor, SolvayError);
  const odd = new Error("odd");
  assert.equal((unpackError(packError(odd), undefined) as Error).stack, odd.stack);
  const aborted = unpackError(packError(new DOMException("stop", "AbortError")), undefined);
  assert.equal((aborted as Error).name, "AbortError");
  assert.equal(packError(new DOMException("late", "TimeoutError")).kind, "other");
  assert.equal(packError("text").kind, "other");
});

/** The thread's side, with an engine whose jobs end when the test says so. */
function served(behaviour: { readonly openFails?: Error; readonly dispose?: () => Promise<void> } = {}) {
  const posted: FromEngine[] = [];
  const log: string[] = [];
  const jobs = new Map<
    string,
    { readonly signal: AbortSignal; readonly options: GenerateOptions; end: (error?: Error) => void }
  >();
  let post: (message: ToEngine) => void = () => {};
  const openSignal = Promise.withResolvers<AbortSignal>();
  const engine: CheckedEngine = {
    info: INFO,
    async *generate({ prompt }, options = {}) {
      const end = Promise.withResolvers<void>();
      const settle = (error?: Error) => (error ? end.reject(error) : end.resolve());
      jobs.set(prompt, { signal: options.signal!, options, end: settle });
      yield note(prompt);
      await end.promise;
    },
    generateMany: () => assert.fail("nobody wants many"),
    plan: async () => assert.fail("nobody plans"),
    async *watch() {},
    setBudgets: async () => {},
    upscale: () => assert.fail("not asked for"),
    planUpscale: () => assert.fail("not asked for"),
    tokens: async () => ({}),
    cutText: async () => ({}),
    async [Symbol.asyncDispose]() {
      log.push("engine closes");
      await behaviour.dispose?.();
      log.push("engine closed");
    },
  };
  serveEngine(
    {
      post: (message) => posted.push(message),
      onMessage: (handle) => (post = handle),
      close: () => log.push("port closed"),
    },
    {
      open: async (_, { signal, onEvent }) => {
        openSignal.resolve(signal);
        onEvent({ type: "note", text: "loading" });
        if (behaviour.openFails) throw behaviour.openFails;
        return engine;
      },
      afterImage: () => log.push("after image"),
    },
  );
  return { post: (message: ToEngine) => post(message), posted, log, jobs, openSignal: openSignal.promise };
}

async function turns(): Promise<void> {
  for (let i = 0; i < 10; i++) await turn();
}

test("the thread's side stops the one job that is meant, and the opening under its own id", async () => {
  const { post, posted, jobs, log, openSignal } = served();
  post({ type: "open", options: {} });
  const opening = await openSignal;
  await turns();
  assert.deepEqual(posted.splice(0), [
    { type: "load", event: { type: "note", text: "loading" } },
    { type: "opened", info: INFO },
  ]);
  for (const [id, prompt] of [
    [1, "one"],
    [2, "two"],
  ] as const) {
    post({ type: "generate", id, job: { prompt }, asked: { states: true, telemetry: true } });
  }
  await turns();
  const [one, two] = [jobs.get("one")!, jobs.get("two")!];
  assert.deepEqual([one.options.states, one.options.telemetry], [true, true]);
  post({ type: "abort", id: 2 });
  post({ type: "abort", id: 2 });
  post({ type: "abort", id: 77 });
  assert.deepEqual([opening.aborted, one.signal.aborted, two.signal.aborted], [false, false, true]);
  two.end(new DOMException("stop", "AbortError"));
  await turns();
  one.end();
  await turns();
  assert.deepEqual(posted.slice(-2), [
    { type: "failed", id: 2, error: { kind: "abort" } },
    { type: "done", id: 1 },
  ]);
  // Whichever way an image ended, what it left is collected.
  assert.deepEqual(log, ["after image", "after image"]);
  // An id that is over means nothing any more.
  post({ type: "abort", id: 1 });
  assert.ok(!one.signal.aborted);
});

test("an opening that is stopped or fails is told as such", async () => {
  const fields = { code: "E_RAM", problem: "no room", next: "shrink" };
  const { post, posted, openSignal } = served({ openFails: new BudgetError(fields) });
  post({ type: "open", options: {} });
  const signal = await openSignal;
  post({ type: "abort", id: 0 });
  assert.ok(signal.aborted);
  await turns();
  assert.deepEqual(posted.at(-1), { type: "failed", id: 0, error: packError(new BudgetError(fields)) });
  post({ type: "tokens", id: 1, prompt: "x" });
  await turns();
  assert.match(JSON.stringify(posted.at(-1)), /"id":1,.*the engine is not open/);
});

test("closing stops all work, waits for all of it, then for the engine, then lets the port go; and takes no more", async () => {
  const disposed = Promise.withResolvers<void>();
  const { post, posted, jobs, log } = served({ dispose: () => disposed.promise });
  post({ type: "open", options: {} });
  await turns();
  for (const [id, prompt] of [
    [1, "one"],
    [2, "two"],
  ] as const)
    post({ type: "generate", id, job: { prompt }, asked: {} });
  await turns();
  post({ type: "close" });
  post({ type: "generate", id: 3, job: { prompt: "three" }, asked: {} });
  await turns();
  assert.deepEqual(
    [...jobs.values()].map(({ signal }) => signal.aborted),
    [true, true],
  );
  assert.deepEqual(posted.at(-1), { type: "failed", id: 3, error: { kind: "abort" } });
  jobs.get("one")!.end();
  await turns();
  assert.deepEqual(log, ["after image"]);
  jobs.get("two")!.end();
  await turns();
  assert.deepEqual(log, ["after image", "after image", "engine closes"]);
  disposed.resolve();
  await turns();
  assert.deepEqual(log.slice(3), ["engine closed", "port closed"]);
});

test("a series: each picture is stopped by its own signal, before it is sent or after, and ends with its own reason", async () => {
  const { thread, client } = await opened();
  const [early, late] = [new AbortController(), new AbortController()];
  early.abort(new Error("never mind"));
  const requests = [
    { job: { prompt: "a" } },
    { job: { prompt: "b" }, signal: early.signal },
    { job: { prompt: "c" }, signal: late.signal },
  ];
  const told: unknown[] = [];
  const series = (async () => {
    for await (const event of client.generateMany(requests)) {
      told.push("failure" in event ? [event.index, (event.failure as Error).message] : [event.index, event.event]);
    }
  })();
  const { id, requests: sent } = await thread.next("series");
  assert.deepEqual(
    sent.map(({ job }) => job.prompt),
    ["a", "b", "c"],
  );
  assert.deepEqual(thread.posted, [{ type: "abort", id, index: 1 }]);
  thread.posted.length = 0;
  const stopped = packError(new DOMException("stopped", "AbortError"));
  thread.tell({ type: "ended-in-series", id, index: 1, error: stopped });
  late.abort(new Error("enough"));
  assert.deepEqual(thread.posted, [{ type: "abort", id, index: 2 }]);
  thread.tell({ type: "of-series", id, index: 0, event: note("drawn") });
  thread.tell({ type: "ended-in-series", id, index: 2, error: stopped });
  thread.tell({ type: "done", id });
  await series;
  assert.deepEqual(told, [
    [1, "never mind"],
    [0, note("drawn")],
    [2, "enough"],
  ]);
  // What is over is stopped no more.
  thread.posted.length = 0;
  assert.deepEqual(thread.log.at(-1), "idle");
});
