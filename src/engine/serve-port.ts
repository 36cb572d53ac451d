/** @file The engine's thread on Node: opens folder, artifact and backend, runs jobs, posts events. */
import { resolve } from "node:path";
import { parentPort } from "node:worker_threads";
import { composeEngine } from "./engine.ts";
import { type FromEngine, OPEN_ID, type OpenRequest, packError, type ToEngine } from "./engine-messages.ts";
import { openNodeParts } from "./engine-parts.ts";
import type { Engine } from "./engine-types.ts";
import { createLeavings } from "./leavings.ts";

const port = parentPort;
if (!port) throw new Error("engine-worker.ts runs as a worker thread");
const post = (message: FromEngine) => port.postMessage(message);
const aborts = new Map<number, AbortController>();
const running = new Set<Promise<void>>();
const collectLeavings = createLeavings();
let engine: Engine | undefined;
let closing = false;

port.on("message", (message: ToEngine) => {
  if (message.type === "abort") aborts.get(message.id)?.abort();
  else if (message.type === "open") start(OPEN_ID, (signal) => open(message.options, signal));
  else if (message.type === "generate") {
    const { id, job } = message;
    start(id, async (signal) => {
      try {
        for await (const event of opened().generate({ ...job, signal })) post({ type: "event", id, event });
      } finally {
        collectLeavings();
      }
      post({ type: "done", id });
    });
  } else if (message.type === "tokens") {
    const { id, prompt } = message;
    start(id, async () => post({ type: "tokens", id, ids: await opened().tokens(prompt) }));
  } else if (message.type === "plan") {
    const { id, job, options: asked } = message;
    start(id, async () => post({ type: "plan", id, plan: await opened().plan(job, asked) }));
  } else if (message.type === "budgets") {
    const { id, budgets } = message;
    start(id, async () => {
      await opened().setBudgets(budgets);
      post({ type: "done", id });
    });
  } else void close();
});

async function open(options: OpenRequest, signal: AbortSignal): Promise<void> {
  const onEvent = (event: Parameters<NonNullable<Parameters<typeof composeEngine>[0]["onEvent"]>>[0]) =>
    post({ type: "load", event });
  engine = await composeEngine({ ...(await openNodeParts(options, resolve)), onEvent, signal });
  post({ type: "opened", info: engine.info });
}

/** After the work that is under way, which holds memory of the engine's. */
async function close(): Promise<void> {
  closing = true;
  for (const abort of aborts.values()) abort.abort();
  await Promise.allSettled(running);
  await engine?.[Symbol.asyncDispose]();
  port?.close();
}

function opened(): Engine {
  if (!engine) throw new Error("the engine is not open");
  return engine;
}

function start(id: number, work: (signal: AbortSignal) => Promise<void>): void {
  const attempted = attempt(id, work).finally(() => running.delete(attempted));
  running.add(attempted);
}

async function attempt(id: number, work: (signal: AbortSignal) => Promise<void>): Promise<void> {
  const abort = new AbortController();
  aborts.set(id, abort);
  if (closing) abort.abort();
  try {
    abort.signal.throwIfAborted();
    await work(abort.signal);
  } catch (error) {
    post({ type: "failed", id, error: packError(error) });
  } finally {
    aborts.delete(id);
  }
}
