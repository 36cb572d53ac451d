/**
 * @file A worker: claims one job after another, and with each its neighbours in the queue that can share its passes over the weights; draws
 * them with an engine whose compute has a thread of its own, so that signs of life go on from this one.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { Engine, GenerateRequest } from "../../job/types.ts";
import { patiently } from "../away.ts";
import type { Claim } from "../queue/claims.ts";
import type { Wanted } from "../queue/next-job.ts";
import type { WorkerEntries, WorkerOffer } from "../queue/workers.ts";
import { Drawing, type DrawingParts, ModelNotHere } from "./drawing.ts";
import { type HeldModel, ModelHolder, type OpenModel } from "./model-holder.ts";
import type { SharedPasses } from "./shared-passes.ts";

/** A job that nobody told of is found after so long. */
const LOOK_MS = 5_000;
/** Jobs in a row of the model that is held, while older ones of others wait. */
const MOST_IN_A_ROW = 16;
/** How long it waits for its database when it starts. */
const PATIENCE_MS = 60_000;

export interface WorkerParts extends Omit<DrawingParts, "worker"> {
  readonly entries: WorkerEntries;
  /** Names of the models that it can open; the first is opened at once. */
  readonly models: readonly string[];
  /** What their files hold, as far as that matters. */
  readonly contents: () => Promise<WorkerOffer["contents"]>;
  readonly open: OpenModel;
  readonly onOpened: (engine: Engine, model: string) => void;
}

/** Works until the signal, and gives back what it has then. Rejects where no engine can be opened. */
export async function work(parts: WorkerParts, signal: AbortSignal): Promise<void> {
  const { entries, claims, touchMs, onTrouble } = parts;
  await using holder = new ModelHolder(parts);
  const contents = await parts.contents();
  const offer = (): WorkerOffer => ({ models: holder.models, contents, info: holder.info });
  const id = await patiently(() => entries.enter(offer()), { patienceMs: PATIENCE_MS, signal });
  let sign: Promise<void> | undefined;
  const giveSign = async () => {
    try {
      await entries.seen(id, offer());
      await claims.endRefused();
    } catch (error) {
      onTrouble("no sign of life can be given", error);
    }
    sign = undefined;
  };
  const beat = setInterval(() => {
    sign ??= giveSign();
  }, touchMs);
  try {
    await holder.hold(holder.models[0]!);
    // Whoever looks learns at once what is open.
    await entries.seen(id, offer()).catch((error: unknown) => onTrouble("no sign of life can be given", error));
    await drawAll({ ...parts, worker: id }, holder, contents, signal);
  } finally {
    clearInterval(beat);
    // One that came after the end would bring the entry back.
    await sign;
    await entries.leave(id).catch(() => {});
  }
}

async function drawAll(
  parts: WorkerParts & DrawingParts,
  holder: ModelHolder,
  contents: WorkerOffer["contents"],
  signal: AbortSignal,
): Promise<void> {
  const { claims, log, worker, onTrouble } = parts;
  let inARow = 0;
  while (!signal.aborted) {
    // Before it looks, so that none comes in between.
    const jobs = log.waiting;
    const wanted = (): Wanted => {
      const held = inARow < MOST_IN_A_ROW ? holder.model : undefined;
      return { models: [...holder.models, ""], contents, held, worker };
    };
    const claim = await claims.claim(wanted()).catch((error: unknown) => onTrouble("no job can be claimed", error));
    if (!claim) {
      const waiting = new AbortController();
      const stop = AbortSignal.any([signal, waiting.signal]);
      await Promise.race([jobs, delay(LOOK_MS, undefined, { signal: stop }).catch(() => {})]);
      waiting.abort();
      continue;
    }
    // It shows signs of life while its model is opened and its neighbours are looked for.
    const first = new Drawing(parts, claim, signal);
    const { upscale } = claim.record;
    const model = upscale ? (holder.model ?? holder.models[0]!) : claim.record.model || holder.models[0]!;
    inARow = model === holder.model ? inARow + 1 : 1;
    let held: HeldModel;
    try {
      held = await holder.hold(model);
    } catch (error) {
      onTrouble(`the model ${model} can't be opened`, error);
      first.fail(new ModelNotHere(`the model ${model} can't be opened here`));
      await first.over;
      if (signal.aborted) return;
      holder.forget(model, error);
      continue;
    }
    if (upscale) {
      await first.upscale(held.engine, upscale);
      if (await first.over) await holder.close();
      continue;
    }
    const drawings = [first, ...(await neighboursOf(parts, held.shared, claim, wanted, signal))];
    if (await drawTogether(held, drawings)) await holder.close();
  }
}

async function neighboursOf(
  parts: WorkerParts & DrawingParts,
  shared: SharedPasses,
  claim: Claim,
  wanted: () => Wanted,
  signal: AbortSignal,
): Promise<readonly Drawing[]> {
  const { claims, onTrouble } = parts;
  const drawings: Drawing[] = [];
  try {
    for await (const neighbour of shared.neighbours(claims, claim, wanted()))
      drawings.push(new Drawing(parts, neighbour, signal));
  } catch (error) {
    onTrouble("no neighbours can be claimed", error);
  }
  return drawings;
}

/** What becomes of one of them is no matter of the others. Resolves to true where the engine is broken. */
async function drawTogether({ engine, states }: HeldModel, drawings: readonly Drawing[]): Promise<boolean> {
  const asked: { readonly drawing: Drawing; readonly request: GenerateRequest }[] = [];
  for (const drawing of drawings) {
    try {
      asked.push({ drawing, request: await drawing.request(states) });
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
