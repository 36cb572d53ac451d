/** @file The engine's side of the messages: opens it, runs jobs, posts events, over any port. */
import type { CheckedEngine, OpenRequest } from "../job/checked.ts";
import type { LoadEvent } from "../job/events.ts";
import type { UpscaleEvent } from "../job/upscale.ts";
import { type FromEngine, OPEN_ID, packError, type ToEngine } from "./messages.ts";

/** A way to the client. */
export interface EnginePort {
  post(message: FromEngine): void;
  onMessage(handle: (message: ToEngine) => void): void;
  /** No more messages come or go. */
  close(): void;
}

export interface ServeOptions {
  /** Opens the engine. */
  readonly open: (
    request: OpenRequest,
    options: { readonly onEvent: (event: LoadEvent) => void; readonly signal: AbortSignal },
  ) => Promise<CheckedEngine>;
  /** After each image, however it ended. */
  readonly afterImage?: () => void;
}

export function serveEngine(port: EnginePort, { open, afterImage }: ServeOptions): void {
  const aborts = new Map<number, AbortController>();
  /** Of the images of a series. */
  const stops = new Map<number, readonly AbortController[]>();
  const running = new Set<Promise<void>>();
  let engine: CheckedEngine | undefined;
  let closing = false;

  port.onMessage((message) => {
    if (message.type === "abort") {
      const { id, index } = message;
      (index === undefined ? aborts.get(id) : stops.get(id)?.[index])?.abort();
    } else if (message.type === "close") void close();
    else {
      const id = message.type === "open" ? OPEN_ID : message.id;
      const attempted = attempt(id, (signal) => answer(message, signal)).finally(() => running.delete(attempted));
      running.add(attempted);
    }
  });

  async function answer(message: Exclude<ToEngine, { type: "abort" | "close" }>, signal: AbortSignal): Promise<void> {
    if (message.type === "open") {
      const onEvent = (event: LoadEvent) => port.post({ type: "load", event });
      engine = await open(message.options, { onEvent, signal });
      port.post({ type: "opened", info: engine.info });
      return;
    }
    if (!engine) throw new Error("the engine is not open");
    const { id } = message;
    switch (message.type) {
      case "generate":
        try {
          const events = engine.generate(message.job, { ...message.asked, signal });
          for await (const event of events) port.post({ type: "event", id, event });
        } finally {
          afterImage?.();
        }
        return port.post({ type: "done", id });
      case "series":
        await series(engine, message, signal);
        return port.post({ type: "done", id });
      case "tokens":
        return port.post({ type: "tokens", id, ids: await engine.tokens(message.prompt, message.syntax) });
      case "cut":
        return port.post({ type: "cut", id, cut: await engine.cutText(message.prompt) });
      case "plan":
        return port.post({ type: "plan", id, plan: await engine.plan(message.job, message.options) });
      case "plan-upscale":
        return port.post({ type: "plan", id, plan: await engine.planUpscale(message.job) });
      case "upscale":
        try {
          const onEvent = (event: UpscaleEvent) => port.post({ type: "upscaling", id, event });
          port.post({ type: "upscaled", id, picture: await engine.upscale(message.job, { signal, onEvent }) });
        } finally {
          afterImage?.();
        }
        return;
      case "watch":
        for await (const event of engine.watch({ everyMs: message.everyMs, signal }))
          port.post({ type: "residency", id, event });
        return port.post({ type: "done", id });
      case "budgets":
        await engine.setBudgets(message.budgets);
        return port.post({ type: "done", id });
    }
  }

  async function series(
    computing: CheckedEngine,
    { id, requests }: Extract<ToEngine, { type: "series" }>,
    signal: AbortSignal,
  ): Promise<void> {
    const own = requests.map(() => new AbortController());
    stops.set(id, own);
    try {
      const asked = requests.map(({ job, asked: beside }, i) => ({ ...beside, job, signal: own[i]!.signal }));
      for await (const told of computing.generateMany(asked, { signal })) {
        const { index } = told;
        if ("failure" in told) port.post({ type: "ended-in-series", id, index, error: packError(told.failure) });
        else port.post({ type: "of-series", id, index, event: told.event });
        if ("failure" in told || told.event.type === "image") afterImage?.();
      }
    } finally {
      stops.delete(id);
    }
  }

  async function attempt(id: number, work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const abort = new AbortController();
    aborts.set(id, abort);
    if (closing) abort.abort();
    try {
      abort.signal.throwIfAborted();
      await work(abort.signal);
    } catch (error) {
      port.post({ type: "failed", id, error: packError(error) });
    } finally {
      aborts.delete(id);
    }
  }

  /** After the work that is under way, which holds memory of the engine's. */
  async function close(): Promise<void> {
    closing = true;
    for (const abort of aborts.values()) abort.abort();
    await Promise.allSettled(running);
    await engine?.[Symbol.asyncDispose]();
    port.close();
  }
}
