/** @file What to do about an attempt at a picture that failed, what its cause was, and how both are told. */
import type { Device } from "../backend/device.ts";
import { DeviceError, firstFailure, SolvayError } from "../errors.ts";
import { budgetText } from "../ledger/budget.ts";
import type { TaskPhase } from "./text-to-image.ts";

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

/** Where a task was, for people. */
export function placeOf(phase: TaskPhase, done: number, steps: number): string {
  if (phase === "encode") return "while the prompt was read";
  if (phase === "look") return "while the picture was looked at";
  if (phase === "enlarge") return "while the picture was enlarged";
  if (phase === "decode") return "while the picture was decoded";
  return done < steps ? `in step ${done + 1} of ${steps}` : "after the last step";
}

/** A broken device shows in many ways; errors that Solvay raised on purpose say their own cause. */
export async function causeOf(failure: unknown, device: Device, pause: () => Promise<void>): Promise<unknown> {
  const error = firstFailure(failure);
  if (error instanceof SolvayError) return error;
  await pause();
  return device.failure ?? error;
}

/** Without what to do next. */
export function headline({ code, subject, problem }: SolvayError): string {
  return `${code}${subject ? ` ${subject}` : ""}: ${problem}`;
}

/** What is going to be done, for people. */
export function announcement({ reopen, shrinkTo }: Reaction, { code }: SolvayError): string {
  if (shrinkTo !== undefined) return `Trying again with --vram ${budgetText(shrinkTo)}.`;
  const how = code === "E_GPU_LOST" || code === "E_GPU_SILENT" ? "smaller GPU work" : "a new device";
  return reopen ? `Retrying once with ${how}.` : "";
}

/** Of a device for which there is no other one. */
export function finalLoss(error: DeviceError, place: string, again: boolean): DeviceError {
  const { code, subject, problem, next } = error;
  return new DeviceError({
    code,
    subject,
    problem: `${problem} ${place}${again ? ", again after a retry" : ""}`,
    next,
    cause: error,
  });
}
