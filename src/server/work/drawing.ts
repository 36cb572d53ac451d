/** @file One claim, from its first step to its end: whatever ends it, the job is done, failed for a reason of its own, or back in the queue. */
import { BudgetError, DeviceError } from "../../errors.ts";
import type { DrawnState } from "../../job/events.ts";
import { checkJob } from "../../job/schema.ts";
import type {
  Engine,
  GenerateEvent,
  GenerateRequest,
  UpscaledPicture,
  UpscaleEvent,
  UpscaleJob,
} from "../../job/types.ts";
import { Away, patiently } from "../away.ts";
import { failureOf } from "../http/failures.ts";
import type { Assets } from "../pictures/assets.ts";
import type { PictureStore } from "../pictures/picture-store.ts";
import type { Claim, Claims } from "../queue/claims.ts";
import type { EventLog } from "../queue/event-log.ts";
import { handIn, type ImageEvent } from "./hand-in.ts";
import type { LiveView } from "./live-view.ts";
import type { Previews } from "./previews.ts";
import { removeState, type SavedStates } from "./saved-states.ts";
import { withPictures } from "./served-job.ts";
import { withPicture } from "./served-upscale.ts";

/** Steps are told at most so often, and their states saved. */
const TELL_MS = 250;
const SAVE_MS = 5_000;
/** Of a job whose claims have ended before: each claim of it should bring it further. */
const SAVE_AGAIN_MS = 500;
/** How long what a job needs is waited for where its store is away, and how long one tries to say how it ended. */
const PATIENCE_MS = 30_000;

/** Why a job is let go of in the middle. */
class LetGo extends Error {
  readonly because: "cancelled" | "lost" | "closing";

  constructor(because: LetGo["because"]) {
    super(because);
    this.because = because;
  }
}

/** What ended several jobs at once, by one of which nobody knows. */
class EndedTogether extends Error {}

/** The job's model can't be opened by this worker: the job is for others. */
export class ModelNotHere extends Error {}

export interface DrawingParts {
  readonly claims: Claims;
  readonly log: EventLog;
  readonly assets: Assets;
  readonly store: PictureStore;
  /** Of the states of unfinished pictures. */
  readonly stateStore: PictureStore;
  readonly previews: Previews;
  readonly live: LiveView;
  /** Between two signs of life. */
  readonly touchMs: number;
  /** The worker's number. */
  readonly worker: string;
  /** `sideBySide`: how many pictures shared its passes over the weights. */
  readonly onImage: (image: ImageEvent, sideBySide: number) => void;
  /** Of what concerns who runs the server. */
  readonly onTrouble: (what: string, error: unknown) => void;
}

/** A claim that is drawn. */
export class Drawing {
  readonly #parts: DrawingParts;
  readonly #claim: Claim;
  readonly #stop = new AbortController();
  readonly #drawn = Promise.withResolvers<ImageEvent | UpscaledPicture>();
  #latest: { readonly state: DrawnState; readonly steps: number } | undefined;
  #states: SavedStates | undefined;
  #sideBySide = 1;
  #toldMs = Number.NEGATIVE_INFINITY;
  #savedMs = performance.now();
  /** Resolves when nothing is left to do, to true where the engine is broken. */
  readonly over: Promise<boolean>;

  /** Shows signs of life from now on. */
  constructor(parts: DrawingParts, claim: Claim, closing: AbortSignal) {
    this.#parts = parts;
    this.#claim = claim;
    this.over = this.#run(closing);
    // It may reject before anybody waits for it.
    this.over.catch(() => {});
  }

  /** What the engine of its model is asked for: it is drawn from now on. Rejects where this job can't be asked for at all. */
  async request(states: SavedStates): Promise<GenerateRequest> {
    const { assets } = this.#parts;
    const { id, job } = this.#claim.record;
    this.#states = states;
    await this.#started();
    const full = checkJob(await patiently(() => withPictures(job, assets), this.#patience));
    const from = await states.read(id, job);
    return { job: full, signal: this.#stop.signal, states: true, previews: true, ...(from && { from }) };
  }

  /** Enlarges a picture in place of drawing one, with whichever model's engine is open. */
  async upscale(engine: Pick<Engine, "upscale">, upscale: UpscaleJob): Promise<void> {
    try {
      await this.#started();
      const job = await patiently(() => withPicture(upscale, this.#parts.assets), this.#patience);
      const onEvent = (event: UpscaleEvent) => void this.#takeUpscale(event);
      this.#drawn.resolve(await engine.upscale(job, { signal: this.#stop.signal, onEvent }));
    } catch (error) {
      this.fail(error);
    }
  }

  get #patience() {
    return { patienceMs: PATIENCE_MS, signal: this.#stop.signal };
  }

  async #started(): Promise<void> {
    const { claims, worker, onTrouble } = this.#parts;
    await claims.started(this.#claim, worker).catch((error: unknown) => onTrouble("a start can't be told", error));
  }

  /** Tiles are its steps. */
  async #takeUpscale(event: UpscaleEvent): Promise<void> {
    const { claims, live, onTrouble } = this.#parts;
    if (event.type === "tile") return await this.#progress(event.done, event.tiles, {});
    if (event.type === "plan") live.take(this.#claim.record.id, event);
    else await claims.note(this.#claim, event.text).catch((error: unknown) => onTrouble("a note can't be told", error));
  }

  /** What the engine tells of it. */
  async take(event: GenerateEvent): Promise<void> {
    const { claims, previews, live, onTrouble } = this.#parts;
    const { id } = this.#claim.record;
    if (this.#stop.signal.aborted) return;
    live.take(id, event);
    try {
      if (event.type === "note")
        await claims.note(this.#claim, event.text).catch((error: unknown) => onTrouble("a note can't be told", error));
      else if (event.type === "plan") this.#sideBySide = event.plan.lanes;
      else if (event.type === "preview") previews.set(id, event);
      else if (event.type === "step") {
        previews.step(id, event);
        await this.#step(event);
      } else if (event.type === "image") this.#drawn.resolve(event);
    } catch (error) {
      this.fail(error);
    }
  }

  /** There will be no picture, if there is none yet. `together`: others ended by the same, and it may be one of them that did it. */
  fail(error: unknown, together = false): void {
    const anybodys = together && !isEngines(error);
    this.#drawn.reject(anybodys ? new EndedTogether("several jobs ended at once", { cause: error }) : error);
  }

  async #run(closing: AbortSignal): Promise<boolean> {
    const { previews, live, stateStore, touchMs, onImage, onTrouble } = this.#parts;
    const { id } = this.#claim.record;
    const close = () => this.#stop.abort(new LetGo("closing"));
    closing.addEventListener("abort", close, { once: true });
    if (closing.aborted) close();
    const beat = setInterval(() => this.#touch(), touchMs);
    const watching = this.#watch();
    let drawn = false;
    try {
      const image = await this.#drawn.promise;
      await handIn(image, this.#claim, this.#parts, this.#stop.signal);
      drawn = true;
      if ("passes" in image) onImage(image, this.#sideBySide);
      await removeState(stateStore, id);
      return false;
    } catch (error) {
      return await patiently(() => this.#end(error), { patienceMs: PATIENCE_MS }).catch((failure: unknown) => {
        onTrouble(`job ${id} can't be given back: others get it when its signs of life are missed`, failure);
        return isEngines(error);
      });
    } finally {
      closing.removeEventListener("abort", close);
      clearInterval(beat);
      this.#stop.abort();
      await watching;
      previews.end(id, drawn);
      live.end(id);
    }
  }

  async #step({ step, steps, state, etaMs, stepMs }: Extract<GenerateEvent, { type: "step" }>): Promise<void> {
    const { onTrouble } = this.#parts;
    if (state) this.#latest = { state, steps };
    const nowMs = performance.now();
    if (nowMs - this.#savedMs >= (this.#claim.suspect ? SAVE_AGAIN_MS : SAVE_MS)) {
      await this.#save().catch((error: unknown) => onTrouble("a state can't be saved", error));
    }
    await this.#progress(step, steps, { etaMs: Math.round(etaMs), stepMs: Math.round(stepMs) });
  }

  async #progress(step: number, steps: number, times: Readonly<Record<string, number>>): Promise<void> {
    const { claims, onTrouble } = this.#parts;
    const nowMs = performance.now();
    if (nowMs - this.#toldMs < TELL_MS && step < steps) return;
    this.#toldMs = nowMs;
    await claims
      .progress(this.#claim, step, steps, times)
      .catch((error: unknown) => onTrouble("a step can't be told", error));
  }

  async #save(): Promise<void> {
    if (!this.#latest) return;
    const { state, steps } = this.#latest;
    const { id, job } = this.#claim.record;
    await this.#states?.save(id, job, state, steps);
    this.#savedMs = performance.now();
  }

  /** Resolves to true where the engine is broken. */
  async #end(error: unknown): Promise<boolean> {
    const { claims, stateStore, worker, onTrouble } = this.#parts;
    const { id } = this.#claim.record;
    const { reason } = this.#stop.signal;
    if (reason instanceof LetGo) {
      if (reason.because === "cancelled") await removeState(stateStore, id);
      if (reason.because !== "closing") return false;
      await this.#save().catch((cause: unknown) => onTrouble("a state can't be saved", cause));
      await claims.giveBack(this.#claim, "the worker closes", true);
      return false;
    }
    const { code, message } = failureOf(error);
    onTrouble(`job ${id} ended`, error);
    if (isEngines(error)) {
      await this.#save().catch((cause: unknown) => onTrouble("a state can't be saved", cause));
      await claims.giveBack(this.#claim, message, false);
      return true;
    }
    // Another worker may have more memory, or the upscaler's file.
    const isHere = !(error instanceof BudgetError) && code !== "E_UPSCALER";
    if (!isHere) await claims.refuse(this.#claim, worker, { code, message });
    else if (error instanceof Away || error instanceof ModelNotHere) await claims.giveBack(this.#claim, message, true);
    else if (error instanceof EndedTogether) await claims.giveBack(this.#claim, message, false);
    else {
      await claims.fail(this.#claim, { code, message });
      await removeState(stateStore, id);
    }
    return false;
  }

  async #touch(): Promise<void> {
    const { claims, onTrouble } = this.#parts;
    try {
      if (!(await claims.touch(this.#claim))) this.#stop.abort(new LetGo("lost"));
    } catch (error) {
      onTrouble("no sign of life can be given", error);
    }
  }

  /** Lets go of a job that is cancelled. */
  async #watch(): Promise<void> {
    const { log } = this.#parts;
    const { id } = this.#claim.record;
    for await (const { job, type } of log.since(log.last, this.#stop.signal)) {
      if (job === id && type === "cancelled") this.#stop.abort(new LetGo("cancelled"));
    }
  }
}

/** It is the engine that is broken. */
function isEngines(error: unknown): boolean {
  return error instanceof DeviceError && !(error instanceof Away);
}
