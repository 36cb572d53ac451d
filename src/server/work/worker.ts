/**
 * @file A worker: claims one job after another, draws it with an engine whose compute has a thread of its own, so that signs of life go on
 * from this one, and hands the picture in. Whatever ends it, the job is done, failed for a reason of its own, or back in the queue.
 */
import { setTimeout as delay } from "node:timers/promises";
import { sha256Hex } from "#hash";
import { DeviceError } from "../../errors.ts";
import { PICTURE_ENDINGS } from "../../image/picture-writer.ts";
import type { DrawnState } from "../../job/events.ts";
import type { Engine, GenerateEvent, GenerateJob } from "../../job/types.ts";
import { failureOf } from "../http/failures.ts";
import type { Assets } from "../pictures/assets.ts";
import { infotextOf } from "../pictures/infotexts.ts";
import type { PictureStore } from "../pictures/picture-store.ts";
import { type Claim, type Claims, TOUCH_MS } from "../queue/claims.ts";
import type { EventLog } from "../queue/event-log.ts";
import type { Previews } from "./previews.ts";
import type { SavedStates } from "./saved-states.ts";
import { withPictures } from "./served-job.ts";

type ImageEvent = Extract<GenerateEvent, { type: "image" }>;

/** A job that nobody told of is found after so long. */
const LOOK_MS = 5_000;
/** Steps are told at most so often, and their states saved. */
const TELL_MS = 250;
const SAVE_MS = 5_000;
/** Between tries to write a picture where the disk is full. */
const WRITE_AGAIN_MS = 5_000;

/** Why a job is let go of in the middle. */
class LetGo extends Error {
  readonly because: "cancelled" | "lost" | "closing";

  constructor(because: LetGo["because"]) {
    super(because);
    this.because = because;
  }
}

export interface WorkerParts {
  readonly claims: Claims;
  readonly log: EventLog;
  readonly assets: Assets;
  readonly store: PictureStore;
  readonly previews: Previews;
  /** An engine, and where its jobs' states lie. */
  readonly open: () => Promise<{ readonly engine: Engine; readonly states: SavedStates }>;
  readonly onOpened: (engine: Engine) => void;
  readonly onImage: (image: ImageEvent) => void;
  /** Of what concerns who runs the server. */
  readonly onTrouble: (what: string, error: unknown) => void;
}

/** Works until the signal, and gives back what it has then. Rejects where no engine can be opened. */
export async function work(parts: WorkerParts, signal: AbortSignal): Promise<void> {
  for (;;) {
    const { engine, states } = await parts.open();
    await using _ = engine;
    parts.onOpened(engine);
    const again = await drawAll(parts, engine, states, signal);
    if (!again) return;
  }
}

/** Resolves to true where the engine is broken. */
async function drawAll(parts: WorkerParts, engine: Engine, states: SavedStates, signal: AbortSignal): Promise<boolean> {
  const { claims, log, onTrouble } = parts;
  while (!signal.aborted) {
    const news = log.news;
    const claim = await claims.claim().catch((error: unknown) => onTrouble("no job can be claimed", error));
    if (!claim) {
      const waiting = new AbortController();
      const stop = AbortSignal.any([signal, waiting.signal]);
      await Promise.race([news, delay(LOOK_MS, undefined, { signal: stop }).catch(() => {})]);
      waiting.abort();
      continue;
    }
    if (await new Drawing(parts, engine, states, claim).draw(signal)) return true;
  }
  return false;
}

/** One claim, from its first step to its end. */
class Drawing {
  readonly #parts: WorkerParts;
  readonly #engine: Engine;
  readonly #states: SavedStates;
  readonly #claim: Claim;
  readonly #stop = new AbortController();
  #latest: { readonly state: DrawnState; readonly steps: number } | undefined;
  #full: GenerateJob;
  #toldMs = Number.NEGATIVE_INFINITY;
  #savedMs = performance.now();

  constructor(parts: WorkerParts, engine: Engine, states: SavedStates, claim: Claim) {
    this.#parts = parts;
    this.#engine = engine;
    this.#states = states;
    this.#claim = claim;
    this.#full = claim.record.job;
  }

  /** Resolves to true where the engine is broken. */
  async draw(closing: AbortSignal): Promise<boolean> {
    const { previews } = this.#parts;
    const { id } = this.#claim.record;
    const close = () => this.#stop.abort(new LetGo("closing"));
    closing.addEventListener("abort", close, { once: true });
    if (closing.aborted) close();
    const beat = setInterval(() => this.#touch(), TOUCH_MS);
    const watching = this.#watch();
    try {
      const image = await this.#image();
      await this.#handIn(image);
      this.#parts.onImage(image);
      await this.#states.remove(id);
      return false;
    } catch (error) {
      return await this.#end(error);
    } finally {
      closing.removeEventListener("abort", close);
      clearInterval(beat);
      this.#stop.abort();
      await watching;
      previews.remove(id);
    }
  }

  async #image(): Promise<ImageEvent> {
    const { assets, claims, previews } = this.#parts;
    const { id, job } = this.#claim.record;
    const { signal } = this.#stop;
    const from = await this.#states.read(id, job);
    const asked = { signal, states: true, previews: true, ...(from && { from }) };
    for await (const event of this.#engine.generate(await withPictures(job, assets), asked)) {
      if (event.type === "note") await claims.note(this.#claim, event.text);
      else if (event.type === "preview") previews.set(id, event);
      else if (event.type === "step") {
        previews.step(id, event);
        await this.#step(event);
      } else if (event.type === "image") return event;
    }
    throw new Error("the engine drew no picture");
  }

  async #step({ step, steps, state, etaMs, stepMs }: Extract<GenerateEvent, { type: "step" }>): Promise<void> {
    const { claims, onTrouble } = this.#parts;
    if (state) this.#latest = { state, steps };
    const nowMs = performance.now();
    if (nowMs - this.#savedMs >= SAVE_MS) {
      await this.#save().catch((error: unknown) => onTrouble("a state can't be saved", error));
    }
    if (nowMs - this.#toldMs < TELL_MS && step < steps) return;
    this.#toldMs = nowMs;
    const times = { etaMs: Math.round(etaMs), stepMs: Math.round(stepMs) };
    await claims
      .progress(this.#claim, step, steps, times)
      .catch((error: unknown) => onTrouble("a step can't be told", error));
  }

  async #save(): Promise<void> {
    if (!this.#latest) return;
    const { state, steps } = this.#latest;
    await this.#states.save(this.#claim.record.id, this.#full, state, steps);
    this.#savedMs = performance.now();
  }

  async #handIn({ bytes, format, width, height }: ImageEvent): Promise<void> {
    const { claims, store, onTrouble } = this.#parts;
    const { record } = this.#claim;
    const sha256 = sha256Hex(bytes);
    // By the day it was asked for, the job and the content: whoever draws it again writes the same file.
    const name = `${record.createdAt.slice(0, 10)}/${record.hash.slice(0, 16)}-${sha256.slice(0, 16)}${PICTURE_ENDINGS[format][0]}`;
    const infotext = (await infotextOf(bytes)) ?? record.job.prompt;
    const picture = { sha256, name, mediaType: `image/${format}`, bytes: bytes.length, width, height, infotext };
    for (;;) {
      try {
        await store.put(name, [bytes]);
        break;
      } catch (error) {
        // A full disk, a folder that is gone for a moment: the picture is kept in memory, and the claim.
        onTrouble("a picture can't be written yet", error);
        await delay(WRITE_AGAIN_MS, undefined, { signal: this.#stop.signal });
      }
    }
    await claims.finish(this.#claim, picture);
  }

  /** Resolves to true where the engine is broken. */
  async #end(error: unknown): Promise<boolean> {
    const { claims, onTrouble } = this.#parts;
    const { id } = this.#claim.record;
    const { reason } = this.#stop.signal;
    if (reason instanceof LetGo) {
      if (reason.because === "cancelled") await this.#states.remove(id);
      if (reason.because !== "closing") return false;
      await this.#save().catch((cause: unknown) => onTrouble("a state can't be saved", cause));
      await claims.giveBack(this.#claim, "the server closes", true);
      return false;
    }
    const { code, message } = failureOf(error);
    onTrouble(`job ${id} ended`, error);
    if (error instanceof DeviceError) {
      await this.#save().catch((cause: unknown) => onTrouble("a state can't be saved", cause));
      await claims.giveBack(this.#claim, message, false);
      return true;
    }
    await claims.fail(this.#claim, { code, message });
    await this.#states.remove(id);
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
