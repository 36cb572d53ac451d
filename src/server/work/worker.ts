/**
 * @file A worker: claims one job after another, and with each its neighbours in the queue that can share its passes over the weights; draws
 * them with an engine whose compute has a thread of its own, so that signs of life go on from this one.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { Engine, GenerateRequest } from "../../job/types.ts";
import { Drawing, type DrawingParts } from "./drawing.ts";
import type { SavedStates } from "./saved-states.ts";
import { SharedPasses } from "./shared-passes.ts";

/** A job that nobody told of is found after so long. */
const LOOK_MS = 5_000;

export interface WorkerParts extends Omit<DrawingParts, "states"> {
  /** An engine, and where its jobs' states lie. */
  readonly open: () => Promise<{ readonly engine: Engine; readonly states: SavedStates }>;
  readonly onOpened: (engine: Engine) => void;
}

/** Works until the signal, and gives back what it has then. Rejects where no engine can be opened. */
export async function work(parts: WorkerParts, signal: AbortSignal): Promise<void> {
  for (;;) {
    const { engine, states } = await parts.open();
    await using _ = engine;
    parts.onOpened(engine);
    const again = await drawAll({ ...parts, states }, engine, signal);
    if (!again) return;
  }
}

/** Resolves to true where the engine is broken. */
async function drawAll(parts: DrawingParts, engine: Engine, signal: AbortSignal): Promise<boolean> {
  const { claims, log, assets, onTrouble } = parts;
  const shared = new SharedPasses(engine, assets);
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
    // It shows signs of life while its neighbours are looked for.
    const drawings = [new Drawing(parts, claim, signal)];
    try {
      for await (const neighbour of shared.neighbours(claims, claim))
        drawings.push(new Drawing(parts, neighbour, signal));
    } catch (error) {
      onTrouble("no neighbours can be claimed", error);
    }
    if (await drawTogether(engine, drawings)) return true;
  }
  return false;
}

/** What becomes of one of them is no matter of the others. Resolves to true where the engine is broken. */
async function drawTogether(engine: Engine, drawings: readonly Drawing[]): Promise<boolean> {
  const asked: { readonly drawing: Drawing; readonly request: GenerateRequest }[] = [];
  for (const drawing of drawings) {
    try {
      asked.push({ drawing, request: await drawing.request() });
    } catch (error) {
      drawing.fail(error);
    }
  }
  try {
    const series = asked.length > 0 ? engine.generateMany(asked.map(({ request }) => request)) : [];
    for await (const told of series) {
      const { drawing } = asked[told.index]!;
      if ("failure" in told) drawing.fail(told.failure);
      else await drawing.take(told.event);
    }
    for (const drawing of drawings) drawing.fail(new Error("the engine drew no picture"));
  } catch (error) {
    for (const { drawing } of asked) drawing.fail(error, asked.length > 1);
  }
  const ends = await Promise.allSettled(drawings.map(({ over }) => over));
  for (const end of ends) if (end.status === "rejected") throw end.reason;
  return ends.some((end) => end.status === "fulfilled" && end.value);
}
