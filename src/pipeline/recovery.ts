/**
 * @file Text to image on a device that may break or run short: another device or less of its memory, and on from the last
 * saved latent. Neither changes a pixel, because pictures depend on no budget and the latent is exact.
 */
import { type Device, DeviceMemoryError } from "../backend/device.ts";
import type { SdxlCheckpoint } from "../checkpoint/sdxl-folder.ts";
import { DeviceError, firstFailure, SolvayError } from "../errors.ts";
import { budgetText } from "../ledger/budget.ts";
import { isNotFinite } from "./guard.ts";
import type { PlannedJob, SdxlRuntime } from "./runtime.ts";
import {
  jobShape,
  type SavedLatent,
  type TextToImageEvent,
  type TextToImageJob,
  textToImage,
} from "./text-to-image.ts";

export type RecoveredEvent =
  | Exclude<TextToImageEvent, { type: "step" | "pixels" }>
  | { readonly type: "step"; readonly step: number; readonly steps: number }
  /** Before each attempt, which goes on after `fromStep` steps. */
  | { readonly type: "plan"; readonly planned: PlannedJob; readonly fromStep: number }
  /** `retry`: what went wrong in less than fp32, where fp32 made these pixels instead. */
  | { readonly type: "pixels"; readonly rgb: Uint8Array; readonly retry?: string };

export interface Recovery {
  /** Ends the broken device and opens another; absent where that is no help. Rejects with DeviceError. */
  readonly reopen?: (() => Promise<Device>) | undefined;
  /** Has the device compute in fp32, or as declared; absent where that is the same. It keeps to it when it is opened anew. */
  readonly useFp32?: ((on: boolean) => Promise<void>) | undefined;
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

/** See textToImage. Rejects with what can't be helped, and leaves no weights on a device that failed. */
export async function* recoveredTextToImage(
  checkpoint: SdxlCheckpoint,
  runtime: SdxlRuntime,
  job: TextToImageJob,
  recovery: Recovery,
  signal?: AbortSignal,
): AsyncGenerator<RecoveredEvent, void, undefined> {
  const shape = jobShape(checkpoint, job);
  let saved: SavedLatent | undefined;
  let reopened = false;
  let retry: string | undefined;
  const useFp32 = async (on: boolean) => {
    await runtime.releaseWeights();
    runtime.promptCache.clear();
    await recovery.useFp32!(on);
    runtime.forgetPlans();
  };
  await using scope = new AsyncDisposableStack();
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
    yield { type: "plan", planned, fromStep: saved?.step ?? 0 };
    let phase: Phase = "encode";
    let failure: unknown;
    for await (const outcome of outcomes(textToImage(checkpoint, runtime, planned, job, { signal, from: saved }))) {
      if (outcome.ended) failure = outcome.failure;
      else if (outcome.event.type === "step") {
        const { step, steps } = outcome.event;
        saved = outcome.event.saved;
        yield { type: "step", step, steps };
      } else {
        if (outcome.event.type === "phase") phase = outcome.event.phase;
        if (outcome.event.type !== "pixels") yield outcome.event;
        else {
          if (retry !== undefined) yield note(retry);
          yield retry === undefined ? outcome.event : { ...outcome.event, retry };
          return;
        }
      }
    }
    if (signal?.aborted) throw firstFailure(failure);
    const error = await causeOf(failure, runtime.device, recovery);
    const place = placeOf(phase, saved?.step ?? 0, job.steps);
    if (isNotFinite(error) && recovery.useFp32 && retry === undefined) {
      // From the start: such a picture is that of fp32, and says so.
      yield note(`${headline(error)}. Retrying once in fp32.`);
      // Goes into the picture, so nothing that hangs on budgets: where RAM is short, the segment isn't known.
      retry = `E_NAN ${place}. Retried in fp32: ok`;
      saved = undefined;
      // Each picture begins as declared, whatever those before it met.
      scope.defer(() => useFp32(false));
      await useFp32(true);
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

function placeOf(phase: Phase, done: number, steps: number): string {
  if (phase === "encode") return "while the prompt was read";
  if (phase === "decode") return "while the picture was decoded";
  return done < steps ? `in step ${done + 1} of ${steps}` : "after the last step";
}

type Phase = Extract<TextToImageEvent, { type: "phase" }>["phase"];

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
