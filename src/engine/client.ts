/** @file The Engine that a caller holds: passes jobs to the engine's thread and hands its events on. */
import type {
  BudgetOptions,
  CutTexts,
  Engine,
  EngineInfo,
  GenerateEvent,
  GenerateJob,
  GenerateOptions,
  GenerateRequest,
  OpenEngineOptions,
  PlanJob,
  PlanOptions,
  PlanReport,
  ResidencyEvent,
  SeriesEvent,
  SeriesOptions,
  TokenIds,
  UpscaledPicture,
  UpscaleJob,
  UpscaleOptions,
  WatchOptions,
} from "../job/types.ts";
import type { PromptSyntax } from "../prompt/syntax.ts";
import { type ErrorMessage, type FromEngine, OPEN_ID, type ToEngine, unpackError } from "./messages.ts";
import type { EngineThread } from "./thread.ts";

interface Listener {
  readonly onMessage: (message: FromEngine) => void;
  readonly onFailure: (error: ErrorMessage) => void;
}

export class EngineClient implements Engine {
  readonly #thread: EngineThread;
  readonly #listeners = new Map<number, Listener>();
  /** Takes 80 ms to load, while the thread starts. */
  readonly #checks = import("../job/schema.ts");
  #info: EngineInfo | undefined;
  #nextId = OPEN_ID + 1;
  #ended: ErrorMessage | undefined;
  readonly #over = Promise.withResolvers<void>();
  #closing = false;

  private constructor(thread: EngineThread, options: OpenEngineOptions) {
    this.#thread = thread;
    thread.listen(
      (message) => {
        if (message.type === "load") options.onEvent?.(message.event);
        else if (message.type === "failed") this.#listeners.get(message.id)?.onFailure(message.error);
        else if (message.type === "opened") this.#listeners.get(OPEN_ID)?.onMessage(message);
        else this.#listeners.get(message.id)?.onMessage(message);
      },
      (why) => this.#end(why),
    );
  }

  static async open(thread: EngineThread, options: OpenEngineOptions): Promise<EngineClient> {
    const client = new EngineClient(thread, options);
    try {
      const { checkOpen } = await client.#checks;
      const request = checkOpen(options);
      const { signal } = options;
      signal?.throwIfAborted();
      client.#info = await client.#ask(OPEN_ID, { type: "open", options: request }, signal, (message) =>
        message.type === "opened" ? message.info : undefined,
      );
    } catch (error) {
      await thread.terminate();
      throw error;
    }
    thread.keepAlive(false);
    return client;
  }

  get info(): EngineInfo {
    return this.#info!;
  }

  async *generate(job: GenerateJob, options: GenerateOptions = {}): AsyncGenerator<GenerateEvent, void, undefined> {
    const { checkJob, checkGenerateOptions } = await this.#checks;
    const checked = checkJob(job);
    const { signal, ...asked } = checkGenerateOptions(options);
    signal?.throwIfAborted();
    const id = this.#nextId++;
    for await (const message of this.#answers({ type: "generate", id, job: checked, asked }, signal)) {
      if (message.type === "event") yield message.event;
    }
  }

  async *generateMany(
    requests: readonly GenerateRequest[],
    options: SeriesOptions = {},
  ): AsyncGenerator<SeriesEvent, void, undefined> {
    const { checkSeries } = await this.#checks;
    const { checked, signal } = checkSeries(requests, options);
    signal?.throwIfAborted();
    const id = this.#nextId++;
    using listening = new DisposableStack();
    for (const [index, { signal: own }] of checked.entries()) {
      const stop = () => this.#send({ type: "abort", id, index });
      own?.addEventListener("abort", stop, { once: true });
      listening.defer(() => own?.removeEventListener("abort", stop));
    }
    const asked = checked.map(({ job, signal: _, ...beside }) => ({ job, asked: beside }));
    // Those that were stopped before there was anyone to tell.
    const sent = () => {
      for (const [index, { signal: own }] of checked.entries())
        if (own?.aborted) this.#send({ type: "abort", id, index });
    };
    for await (const message of this.#answers({ type: "series", id, requests: asked }, signal, sent)) {
      if (message.type === "of-series") yield { index: message.index, event: message.event };
      if (message.type !== "ended-in-series") continue;
      const { index, error } = message;
      yield { index, failure: unpackError(error, checked[index]!.signal?.reason ?? signal?.reason) };
    }
  }

  /** Posts a request of many answers and gives these; leaving them stops the work, and so does the signal. */
  async *#answers(
    request: Extract<ToEngine, { type: "generate" | "series" | "watch" }>,
    signal: AbortSignal | undefined,
    sent = () => {},
  ): AsyncGenerator<FromEngine, void, undefined> {
    const { id } = request;
    const queue: FromEngine[] = [];
    let done = false;
    let failure: ErrorMessage | undefined;
    let wake = () => {};
    const stop = () => this.#send({ type: "abort", id });
    this.#listen(id, {
      onMessage: (message) => {
        if (message.type === "done") done = true;
        else queue.push(message);
        wake();
      },
      // The first word counts: a thread that ends at once after it says so before this has woken.
      onFailure: (error) => {
        if (!done) failure ??= error;
        wake();
      },
    });
    signal?.addEventListener("abort", stop, { once: true });
    this.#thread.keepAlive(true);
    try {
      this.#send(request);
      sent();
      while (true) {
        const message = queue.shift();
        if (message) yield message;
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

  async tokens(prompt: string, syntax?: PromptSyntax): Promise<TokenIds> {
    const { checkJob } = await this.#checks;
    checkJob({ prompt, ...(syntax !== undefined && { promptSyntax: syntax }) });
    const id = this.#nextId++;
    const request = { type: "tokens", id, prompt, ...(syntax !== undefined && { syntax }) } as const;
    return await this.#ask(id, request, undefined, (message) => (message.type === "tokens" ? message.ids : undefined));
  }

  async cutText(prompt: string): Promise<CutTexts> {
    const { checkJob } = await this.#checks;
    checkJob({ prompt });
    const id = this.#nextId++;
    return await this.#ask(id, { type: "cut", id, prompt }, undefined, (message) =>
      message.type === "cut" ? message.cut : undefined,
    );
  }

  async plan(job: PlanJob, options: PlanOptions = {}): Promise<PlanReport> {
    const { checkPlanJob, checkPlanOptions } = await this.#checks;
    const id = this.#nextId++;
    const request = { type: "plan", id, job: checkPlanJob(job), options: checkPlanOptions(options) } as const;
    return await this.#ask(id, request, undefined, (message) => (message.type === "plan" ? message.plan : undefined));
  }

  async upscale(job: UpscaleJob, { signal, onEvent }: UpscaleOptions = {}): Promise<UpscaledPicture> {
    const { checkUpscale } = await this.#checks;
    const request = { type: "upscale", id: this.#nextId++, job: checkUpscale(job) } as const;
    signal?.throwIfAborted();
    return await this.#ask(request.id, request, signal, (message) => {
      if (message.type === "upscaling") onEvent?.(message.event);
      return message.type === "upscaled" ? message.picture : undefined;
    });
  }

  async planUpscale(job: UpscaleJob): Promise<PlanReport> {
    const { checkUpscale } = await this.#checks;
    const request = { type: "plan-upscale", id: this.#nextId++, job: checkUpscale(job) } as const;
    return await this.#ask(request.id, request, undefined, (message) =>
      message.type === "plan" ? message.plan : undefined,
    );
  }

  async *watch({ everyMs, signal }: WatchOptions = {}): AsyncGenerator<ResidencyEvent, void, undefined> {
    if (signal?.aborted) return;
    const id = this.#nextId++;
    const request = { type: "watch", id, ...(everyMs !== undefined && { everyMs }) } as const;
    for await (const message of this.#answers(request, signal)) {
      if (message.type === "residency") yield message.event;
    }
  }

  async setBudgets(budgets: BudgetOptions): Promise<void> {
    const { checkBudgets } = await this.#checks;
    const checked = checkBudgets(budgets);
    const id = this.#nextId++;
    await this.#ask(
      id,
      { type: "budgets", id, budgets: checked },
      undefined,
      (message) => message.type === "done" || undefined,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#ended) return;
    this.#closing = true;
    this.#thread.keepAlive(true);
    this.#send({ type: "close" });
    await this.#over.promise;
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
        this.#thread.keepAlive(true);
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
    if (this.#listeners.size === 0 && this.#info && !this.#closing) this.#thread.keepAlive(false);
  }

  #send(message: ToEngine): void {
    if (!this.#ended) this.#thread.post(message);
  }

  #end(error: ErrorMessage): void {
    this.#ended ??= error;
    this.#over.resolve();
    for (const listener of this.#listeners.values()) listener.onFailure(error);
  }
}
