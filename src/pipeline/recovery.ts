/**
 * @file Pictures on a device that may break or run short: another device or less of its memory, and on from their last states. Neither
 * changes a pixel, because pictures depend on no budget and the states are exact. Pictures of the same graphs are drawn side by side
 * (meeting.ts), as many at a time as the plan says; what fails of one of them is its own.
 */
import { type Device, DeviceMemoryError } from "../backend/device.ts";
import { DeviceError, firstFailure, type SolvayError } from "../errors.ts";
import type { DrawnState } from "../job/events.ts";
import { isNotFinite } from "../models/finite.ts";
import { type JobShape, joinedShape } from "../models/job-shape.ts";
import type { SamplerState } from "../sampler/sampler.ts";
import { attempt, settled } from "./attempt.ts";
import { Meeting } from "./meeting.ts";
import { merged } from "./merged.ts";
import { announcement, causeOf, finalLoss, headline, placeOf, type Reaction, reactionTo } from "./reaction.ts";
import { jobShape, type Route, routeOf } from "./route.ts";
import type { PlannedJob, Runtime } from "./runtime.ts";
import { requireStateFits } from "./saved-state.ts";
import {
  type TaskOptions,
  type TaskPhase,
  type TextToImageEvent,
  type TextToImageJob,
  textToImage,
} from "./text-to-image.ts";

/** `retry`: what went wrong in less than fp32, where it is made in fp32 since. */
interface Retried {
  readonly retry?: string | undefined;
}

export type RecoveredEvent =
  | Exclude<TextToImageEvent, { type: "pixels" | "step" }>
  /** Before each attempt, which goes on after `fromStep` steps. */
  | { readonly type: "plan"; readonly planned: PlannedJob; readonly fromStep: number }
  | (Extract<TextToImageEvent, { type: "pixels" | "step" }> & Retried);

export interface Recovery {
  /** Ends the broken device and opens another; absent where that is no help. Rejects with DeviceError. */
  readonly reopen?: (() => Promise<Device>) | undefined;
  /** The device computes in less than fp32: what comes to NaN there may not in fp32. */
  readonly hasLessThanFp32: boolean;
  /** Sets the device budget from now on, for the images to come as well. */
  readonly shrink: (deviceBytes: number) => Promise<void>;
  /** Lets what is on its way be reported. */
  readonly pause: () => Promise<void>;
}

/** `from`: a state of the same job, of an earlier run. */
export interface RecoveredOptions extends Pick<TaskOptions, "onClean"> {
  readonly from?: DrawnState | undefined;
}

/** One of several pictures, and what stops it alone. */
export interface PictureRequest extends RecoveredOptions {
  readonly job: TextToImageJob;
  readonly signal?: AbortSignal | undefined;
}

/** Of the picture of that place in the list, which ends in pixels or in a failure. */
export type PictureEvent =
  | { readonly picture: number; readonly event: RecoveredEvent }
  | { readonly picture: number; readonly failure: unknown };

/** See textToImage. Throws UsageError `E_STATE` for a state that is not the job's. Rejects with what can't be helped, and leaves no weights on a device that failed. */
export async function* recoveredTextToImage(
  runtime: Runtime,
  job: TextToImageJob,
  recovery: Recovery,
  signal?: AbortSignal,
  options: RecoveredOptions = {},
): AsyncGenerator<RecoveredEvent, void, undefined> {
  for await (const told of drawPictures(runtime, [{ ...options, job, signal }], recovery)) {
    if ("failure" in told) throw told.failure;
    yield told.event;
  }
}

/** A picture on its way. */
interface Drawing {
  readonly picture: number;
  readonly request: PictureRequest;
  readonly route: Route;
  shape: JobShape;
  saved: SamplerState | undefined;
  retry: string | undefined;
  /** It has gone the way to another device. */
  reopened: boolean;
  phase: TaskPhase;
}

/** What the device has done to a picture, and what helps; without a reaction nothing does. */
interface Setback {
  readonly drawing: Drawing;
  readonly error: SolvayError;
  readonly place: string;
  readonly reaction: Reaction | undefined;
}

/** All of them, as recoveredTextToImage does one; what ends one picture is told as its failure. */
export async function* drawPictures(
  runtime: Runtime,
  requests: readonly PictureRequest[],
  recovery: Recovery,
): AsyncGenerator<PictureEvent, void, undefined> {
  let waiting: Drawing[] = [];
  for (const [picture, request] of requests.entries()) {
    const begun = attempt(() => begin(runtime, recovery, picture, request));
    if (begun.ok) waiting.push(begun.value);
    else yield { picture, failure: begun.failure };
  }
  await using scope = new AsyncDisposableStack();
  scope.defer(() => runtime.endImage());
  const reopen = async () => {
    // While the device that holds them is still there.
    await runtime.releaseWeights();
    runtime.replaceDevice(await recovery.reopen!());
  };
  const broken = runtime.device.failure;
  if (broken && recovery.reopen) {
    for (const { picture } of waiting) yield note(picture, `${headline(broken)}. Opening it again.`);
    const opened = await settled(reopen);
    if (!opened.ok) {
      for (const { picture } of waiting) yield { picture, failure: opened.failure };
      return;
    }
  }
  while (waiting.length > 0) {
    const [first] = waiting as [Drawing, ...Drawing[]];
    const alike = waiting.filter(({ shape }) => joinedShape([first.shape, shape]) !== undefined);
    const made = attempt(() => runtime.planSeries(alike.map(({ shape }) => shape)));
    const planned = made.ok ? made.value : undefined;
    const group = alike.slice(0, planned?.plan.lanes ?? 1);
    waiting = waiting.filter((drawing) => !group.includes(drawing));
    if (!made.ok) {
      yield { picture: first.picture, failure: made.failure };
      continue;
    }
    const unfit = group.flatMap((drawing) => {
      const { route, saved, picture } = drawing;
      const fits = attempt(() => saved && requireStateFits(made.value.described, route, saved));
      return fits.ok ? [] : [{ drawing, picture, failure: fits.failure }];
    });
    if (unfit.length > 0) {
      for (const { picture, failure } of unfit) yield { picture, failure };
      waiting.unshift(...group.filter((drawing) => unfit.every((other) => other.drawing !== drawing)));
      continue;
    }
    const setbacks: Setback[] = [];
    waiting.unshift(...(yield* drawGroup(runtime, made.value, group, recovery, setbacks)));
    if (setbacks.length === 0) continue;
    if (setbacks.some(({ reaction }) => !reaction)) await runtime.releaseWeights();
    const going: Drawing[] = [];
    for (const { drawing, error, place, reaction } of setbacks) {
      const { picture, reopened } = drawing;
      if (reaction) {
        yield note(picture, `${headline(error)} ${place}. ${announcement(reaction, error)}`);
        if (reaction.reopen) drawing.reopened = true;
        going.push(drawing);
      } else {
        yield { picture, failure: error instanceof DeviceError ? finalLoss(error, place, reopened) : error };
      }
    }
    const changed = await settled(async () => {
      if (setbacks.some(({ reaction }) => reaction?.reopen)) await reopen();
      const sizes = setbacks.flatMap(({ reaction }) => reaction?.shrinkTo ?? []);
      if (sizes.length > 0) await recovery.shrink(Math.min(...sizes));
    });
    if (changed.ok) waiting.unshift(...going);
    else for (const { picture } of going) yield { picture, failure: changed.failure };
  }
}

/** Throws UsageError, see routeOf and jobShape. */
function begin(
  { checkpoint }: Runtime,
  { hasLessThanFp32 }: Recovery,
  picture: number,
  request: PictureRequest,
): Drawing {
  const { job, from } = request;
  const shape = jobShape(checkpoint, job);
  const retry = from?.retry;
  return {
    ...{ picture, request, route: routeOf(checkpoint, job), saved: from, retry, reopened: false, phase: "encode" },
    shape: retry !== undefined && hasLessThanFp32 ? { ...shape, fp32: true } : shape,
  };
}

/** One attempt at all of the group. Gives those that are to be drawn again in fp32; what else may go on is put to `setbacks`. */
async function* drawGroup(
  runtime: Runtime,
  planned: PlannedJob,
  group: readonly Drawing[],
  recovery: Recovery,
  setbacks: Setback[],
): AsyncGenerator<PictureEvent, readonly Drawing[], undefined> {
  for (const { picture, saved } of group) {
    yield { picture, event: { type: "plan", planned, fromStep: saved?.step ?? 0 } };
  }
  const again: Drawing[] = [];
  const stop = new AbortController();
  await using meeting = new Meeting(
    runtime,
    planned,
    group.map(({ picture }) => picture),
  );
  const tasks = group.map((drawing, lane) => {
    const { job, onClean, signal: own } = drawing.request;
    const signal = own ? AbortSignal.any([own, stop.signal]) : stop.signal;
    drawing.phase = "encode";
    const events = textToImage(meeting.lane(lane), planned, job, { signal, from: drawing.saved, onClean });
    return outcomes(events, () => meeting.leave(lane));
  });
  for await (const { index, item } of merged(tasks, () => stop.abort())) {
    const drawing = group[index]!;
    const { picture, retry, request } = drawing;
    if (!item.ended) {
      const { event } = item;
      if (event.type === "phase") drawing.phase = event.phase;
      if (event.type === "step") drawing.saved = event.state;
      if (event.type === "pixels" && retry !== undefined) yield note(picture, retry);
      yield { picture, event: event.type === "pixels" || event.type === "step" ? { ...event, retry } : event };
      continue;
    }
    if (request.signal?.aborted) {
      yield { picture, failure: firstFailure(item.failure) };
      continue;
    }
    const error = await causeOf(item.failure, runtime.device, recovery.pause);
    const place = placeOf(drawing.phase, drawing.saved?.step ?? 0, drawing.route.steps);
    if (isNotFinite(error) && recovery.hasLessThanFp32 && !drawing.shape.fp32) {
      // From the start: such a picture is that of fp32, and says so.
      yield note(picture, `${headline(error)}. Retrying once in fp32.`);
      // Goes into the picture, so nothing that follows from budgets: where RAM is short, the segment isn't known.
      drawing.retry = `E_NAN ${place}. Retried in fp32: ok`;
      drawing.saved = undefined;
      drawing.shape = { ...drawing.shape, fp32: true };
      again.push(drawing);
      continue;
    }
    const { failure: broken } = runtime.device;
    // An allocation says what it wanted besides.
    const isBroken = broken !== undefined && (error === broken || (error as Error).cause === broken);
    const short = error instanceof DeviceMemoryError;
    if (!isBroken && !short) {
      yield { picture, failure: error };
      continue;
    }
    const reaction = reactionTo({
      broken: isBroken,
      short,
      canReopen: recovery.reopen !== undefined,
      reopened: drawing.reopened,
      lessBytes: short ? runtime.lessDeviceBytes(planned) : undefined,
    });
    setbacks.push({ drawing, error: error as SolvayError, place, reaction });
  }
  return again;
}

type Outcome =
  | { readonly ended: false; readonly event: TextToImageEvent }
  | { readonly ended: true; readonly failure: unknown };

/** A failure as the last item, so that no catch lies around a caller's yield. `leave`: once nothing more is done. */
async function* outcomes(
  events: ReturnType<typeof textToImage>,
  leave: () => void,
): AsyncGenerator<Outcome, void, undefined> {
  let ended: Outcome | undefined;
  try {
    for (;;) {
      const next = await events.next();
      if (next.done) return;
      yield { ended: false, event: next.value };
    }
  } catch (failure) {
    ended = { ended: true, failure };
  } finally {
    await events.return();
    leave();
  }
  if (ended) yield ended;
}

function note(picture: number, text: string): PictureEvent {
  return { picture, event: { type: "note", text } };
}
