/**
 * @file Text to image on a device that may break or run short: another device or less of its memory, and on from the
 * last state. Neither changes a pixel, because pictures depend on no budget and the state is exact.
 */
import { type Device, DeviceMemoryError } from "../backend/device.ts";
import { DeviceError, firstFailure, SolvayError } from "../errors.ts";
import type { DrawnState } from "../job/events.ts";
import { budgetText } from "../ledger/budget.ts";
import { isNotFinite } from "../models/finite.ts";
import type { SamplerState } from "../sampler/sampler.ts";
import { jobShape, routeOf } from "./route.ts";
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

/** What is known when an attempt has failed. */
export interface FailedAttempt {
  /** The device is broken for good, and that is why. */
  readonly broken: boolean;
  /** Memory was refused that the budget allows. */
  readonly short: boolean;
  /** Whether there is a way to another device, and whether this job has gone it. */
  readonly canReopen: boolean;
  readonly reopened: boolean;
  /** A smaller device budget that would do. */
  readonly lessBytes: number | undefined;
}

export interface Reaction {
  readonly reopen: boolean;
  readonly shrinkTo: number | undefined;
}

/** What to do about a failed attempt; undefined: nothing helps. Pure. A budget shrinks as long as it can, a device breaks once. */
export function reactionTo({ broken, short, canReopen, reopened, lessBytes }: FailedAttempt): Reaction | undefined {
  if (short && lessBytes === undefined) return undefined;
  if (broken && (!canReopen || reopened)) return undefined;
  if (!broken && !short) return undefined;
  return { reopen: broken, shrinkTo: short ? lessBytes : undefined };
}

/** `from`: a state of the same job, of an earlier run. */
export interface RecoveredOptions extends Pick<TaskOptions, "onClean"> {
  readonly from?: DrawnState | undefined;
}

/** See textToImage. Throws UsageError `E_STATE` for a state that is not the job's. Rejects with what can't be helped, and leaves no weights on a device that failed. */
export async function* recoveredTextToImage(
  runtime: Runtime,
  job: TextToImageJob,
  recovery: Recovery,
  signal?: AbortSignal,
  { from, onClean }: RecoveredOptions = {},
): AsyncGenerator<RecoveredEvent, void, undefined> {
  let shape = jobShape(runtime.checkpoint, job);
  let saved: SamplerState | undefined = from;
  const route = routeOf(runtime.checkpoint, job);
  const { steps } = route;
  let reopened = false;
  let retry = from?.retry;
  if (retry !== undefined && recovery.hasLessThanFp32) shape = { ...shape, fp32: true };
  await using scope = new AsyncDisposableStack();
  scope.defer(() => runtime.endImage());
  const reopen = async () => {
    // While the device that holds them is still there.
    await runtime.releaseWeights();
    runtime.replaceDevice(await recovery.reopen!());
  };
  const broken = runtime.device.failure;
  if (broken && recovery.reopen) {
    yield note(`${headline(broken)}. Opening it again.`);
    await reopen();
  }
  for (;;) {
    const planned = runtime.plan(shape);
    if (saved) requireStateFits(planned.described, route, saved);
    yield { type: "plan", planned, fromStep: saved?.step ?? 0 };
    let phase: TaskPhase = "encode";
    let failure: unknown;
    for await (const outcome of outcomes(textToImage(runtime, planned, job, { signal, from: saved, onClean }))) {
      if (outcome.ended) {
        failure = outcome.failure;
        continue;
      }
      const { event } = outcome;
      if (event.type === "pixels") {
        if (retry !== undefined) yield note(retry);
        yield { ...event, retry };
        return;
      }
      if (event.type === "phase") phase = event.phase;
      if (event.type === "step") {
        saved = event.state;
        yield { ...event, retry };
      } else yield event;
    }
    if (signal?.aborted) throw firstFailure(failure);
    const error = await causeOf(failure, runtime.device, recovery);
    const place = placeOf(phase, saved?.step ?? 0, steps);
    if (isNotFinite(error) && recovery.hasLessThanFp32 && !shape.fp32) {
      // From the start: such a picture is that of fp32, and says so.
      yield note(`${headline(error)}. Retrying once in fp32.`);
      // Goes into the picture, so nothing that follows from budgets: where RAM is short, the segment isn't known.
      retry = `E_NAN ${place}. Retried in fp32: ok`;
      saved = undefined;
      shape = { ...shape, fp32: true };
      continue;
    }
    const { failure: broken } = runtime.device;
    // An allocation says what it wanted besides.
    const isBroken = broken !== undefined && (error === broken || (error as Error).cause === broken);
    const short = error instanceof DeviceMemoryError;
    const reaction = reactionTo({
      broken: isBroken,
      short,
      canReopen: recovery.reopen !== undefined,
      reopened,
      lessBytes: short ? runtime.lessDeviceBytes(shape) : undefined,
    });
    if (!reaction) {
      if (isBroken || short) await runtime.releaseWeights();
      throw isBroken && error instanceof DeviceError ? finalLoss(error, place, reopened) : error;
    }
    yield note(`${headline(error as SolvayError)} ${place}. ${announcement(reaction, error as SolvayError)}`);
    if (reaction.reopen) {
      reopened = true;
      await reopen();
    }
    if (reaction.shrinkTo !== undefined) await recovery.shrink(reaction.shrinkTo);
  }
}

function placeOf(phase: TaskPhase, done: number, steps: number): string {
  if (phase === "encode") return "while the prompt was read";
  if (phase === "look") return "while the picture was looked at";
  if (phase === "enlarge") return "while the picture was enlarged";
  if (phase === "decode") return "while the picture was decoded";
  return done < steps ? `in step ${done + 1} of ${steps}` : "after the last step";
}

type Outcome =
  | { readonly ended: false; readonly event: TextToImageEvent }
  | { readonly ended: true; readonly failure: unknown };

/** A failure as the last item, so that no catch lies around a caller's yield. */
async function* outcomes(events: ReturnType<typeof textToImage>): AsyncGenerator<Outcome, void, undefined> {
  try {
    for (;;) {
      const next = await events.next();
      if (next.done) return;
      yield { ended: false, event: next.value };
    }
  } catch (failure) {
    yield { ended: true, failure };
  } finally {
    await events.return();
  }
}

/** A broken device shows in many ways; errors that Solvay raised on purpose say their own cause. */
async function causeOf(failure: unknown, device: Device, { pause }: Recovery): Promise<unknown> {
  const error = firstFailure(failure);
  if (error instanceof SolvayError) return error;
  await pause();
  return device.failure ?? error;
}

function headline({ code, subject, problem }: SolvayError): string {
  return `${code}${subject ? ` ${subject}` : ""}: ${problem}`;
}

function announcement({ reopen, shrinkTo }: Reaction, { code }: SolvayError): string {
  if (shrinkTo !== undefined) return `Trying again with --vram ${budgetText(shrinkTo)}.`;
  const how = code === "E_GPU_LOST" || code === "E_GPU_SILENT" ? "smaller GPU work" : "a new device";
  return reopen ? `Retrying once with ${how}.` : "";
}

function finalLoss(error: DeviceError, place: string, again: boolean): DeviceError {
  const { code, subject, problem, next } = error;
  return new DeviceError({
    code,
    subject,
    problem: `${problem} ${place}${again ? ", again after a retry" : ""}`,
    next,
    cause: error,
  });
}

function note(text: string): RecoveredEvent {
  return { type: "note", text };
}
