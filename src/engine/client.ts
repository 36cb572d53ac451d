/** @file The Engine that a caller holds: passes jobs to the engine's worker thread and hands its events on. */
import type { Worker } from "node:worker_threads";
import {
  type ErrorMessage,
  type FromEngine,
  OPEN_ID,
  type ToEngine,
  type TokenIds,
  unpackError,
} from "./engine-messages.ts";
import type {
  BudgetOptions,
  Engine,
  EngineInfo,
  GenerateEvent,
  GenerateJob,
  OpenEngineOptions,
  PlanJob,
  PlanReport,
} from "./engine-types.ts";
import type { DeviceError } from "./errors.ts";

interface Listener {
  readonly onMessage: (message: FromEngine) => void;
  readonly onFailure: (error: ErrorMessage) => void;
}

export class EngineClient implements Engine {
  readonly #worker: Worker;
  readonly #listeners = new Map<number, Listener>();
  #info: EngineInfo | undefined;
  #nextId = OPEN_ID + 1;
  #ended: ErrorMessage | undefined;
  #closing = false;

  private constructor(worker: Worker, options: OpenEngineOptions) {
    this.#worker = worker;
    worker.on("message", (message: FromEngine) => {
      if (message.type === "load") options.onEvent?.(message.event);
      else if (message.type === "failed") this.#listeners.get(message.id)?.onFailure(message.error);
      else if (message.type === "opened") this.#listeners.get(OPEN_ID)?.onMessage(message);
      else if (message.type !== "closed") this.#listeners.get(message.id)?.onMessage(message);
    });
    worker.on("error", (error) => this.#end({ kind: "other", message: error.message, stack: error.stack ?? "" }));
    worker.on("exit", (code) => this.#end({ kind: "solvay", name: "DeviceError", fields: threadEnded(code) }));
  }

  static async open(worker: Worker, options: OpenEngineOptions): Promise<EngineClient> {
    const client = new EngineClient(worker, options);
    const { signal, model, artifact, store, backend, adapter, precision, compat, budgets } = options;
    const request = {
      ...(model === undefined ? {} : { model }),
      ...(artifact === undefined ? {} : { artifact }),
      ...(store === undefined ? {} : { store }),
      ...(backend === undefined ? {} : { backend }),
      ...(adapter === undefined ? {} : { adapter }),
      ...(precision === undefined ? {} : { precision }),
      ...(compat === undefined ? {} : { compat }),
      ...(budgets === undefined ? {} : { budgets }),
    };
    try {
      client.#info = await client.#ask(OPEN_ID, { type: "open", options: request }, signal, (message) =>
        message.type === "opened" ? message.info : undefined,
      );
    } catch (error) {
      await worker.terminate();
      throw error;
    }
    worker.unref();
    return client;
  }

  get info(): EngineInfo {
    return this.#info!;
  }

  async *generate(job: GenerateJob): AsyncGenerator<GenerateEvent, void, undefined> {
    const { signal, ...rest } = job;
    signal?.throwIfAborted();
    const id = this.#nextId++;
    const queue: GenerateEvent[] = [];
    let done = false;
    let failure: ErrorMessage | undefined;
    let wake = () => {};
    const stop = () => this.#send({ type: "abort", id });
    this.#listen(id, {
      onMessage: (message) => {
        if (message.type === "event") queue.push(message.event);
        else done = true;
        wake();
      },
      onFailure: (error) => {
        failure = error;
        wake();
      },
    });
    signal?.addEventListener("abort", stop, { once: true });
    this.#worker.ref();
    try {
      this.#send({ type: "generate", id, job: rest });
      while (true) {
        const event = queue.shift();
        if (event) yield event;
        else if (failure) throw unpackError(failure, signal?.reason);
        else if (done) return;
        else {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
      }
    } finally {
      signal?.removeEventListener("abort", stop);
      if (!done && !failure) stop();
      this.#unlisten(id);
    }
  }

  async tokens(prompt: string): Promise<TokenIds> {
    const id = this.#nextId++;
    return await this.#ask(id, { type: "tokens", id, prompt }, undefined, (message) =>
      message.type === "tokens" ? message.ids : undefined,
    );
  }

  async plan(job: PlanJob, options: Parameters<Engine["plan"]>[1] = {}): Promise<PlanReport> {
    const id = this.#nextId++;
    return await this.#ask(id, { type: "plan", id, job, options }, undefined, (message) =>
      message.type === "plan" ? message.plan : undefined,
    );
  }

  async setBudgets(budgets: BudgetOptions): Promise<void> {
    const id = this.#nextId++;
    await this.#ask(id, { type: "budgets", id, budgets }, undefined, (message) => message.type === "done" || undefined);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#ended) return;
    this.#closing = true;
    const exited = new Promise<void>((resolve) => this.#worker.once("exit", () => resolve()));
    this.#worker.ref();
    this.#send({ type: "close" });
    await exited;
  }

  async #ask<Answer>(
    id: number,
    request: ToEngine,
    signal: AbortSignal | undefined,
    pick: (message: FromEngine) => Answer | undefined,
  ): Promise<Answer> {
    const stop = () => this.#send({ type: "abort", id });
    signal?.addEventListener("abort", stop, { once: true });
    try {
      return await new Promise<Answer>((resolve, reject) => {
        this.#listen(id, {
          onMessage: (message) => {
            const answer = pick(message);
            if (answer !== undefined) resolve(answer);
          },
          onFailure: (error) => reject(unpackError(error, signal?.reason)),
        });
        this.#worker.ref();
        this.#send(request);
      });
    } finally {
      signal?.removeEventListener("abort", stop);
      this.#unlisten(id);
    }
  }

  #listen(id: number, listener: Listener): void {
    this.#listeners.set(id, listener);
    if (this.#ended) listener.onFailure(this.#ended);
  }

  /** An idle engine doesn't keep the process alive. */
  #unlisten(id: number): void {
    this.#listeners.delete(id);
    if (this.#listeners.size === 0 && this.#info && !this.#closing) this.#worker.unref();
  }

  #send(message: ToEngine): void {
    if (!this.#ended) this.#worker.postMessage(message);
  }

  #end(error: ErrorMessage): void {
    this.#ended ??= error;
    for (const listener of this.#listeners.values()) listener.onFailure(error);
  }
}

function threadEnded(code: number): ConstructorParameters<typeof DeviceError>[0] {
  return {
    code: "E_ENGINE_ENDED",
    problem: `the engine's thread has ended (exit code ${code})`,
    next: "open the engine again; if memory ran out, choose a smaller size",
  };
}
