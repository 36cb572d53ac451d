/** @file What the engine's thread and its client say to each other, and how errors cross between them. */

import { ArtifactError, BudgetError, DeviceError, firstFailure, SolvayError, UsageError } from "../errors.ts";
import type { Budgets, OpenRequest } from "../job/checked.ts";
import type {
  CutTexts,
  EngineInfo,
  GenerateEvent,
  GenerateJob,
  GenerateOptions,
  LoadEvent,
  PlanJob,
  PlanReport,
  ResidencyEvent,
  TokenIds,
  UpscaledPicture,
  UpscaleEvent,
  UpscaleJob,
} from "../job/types.ts";
import type { PromptSyntax } from "../prompt/syntax.ts";

/** Requests are checked (job/schema.ts) before they are sent. */
export type ToEngine =
  | { readonly type: "open"; readonly options: OpenRequest }
  | {
      readonly type: "generate";
      readonly id: number;
      readonly job: GenerateJob;
      readonly asked: Omit<GenerateOptions, "signal">;
    }
  | {
      readonly type: "series";
      readonly id: number;
      readonly requests: readonly { readonly job: GenerateJob; readonly asked: Omit<GenerateOptions, "signal"> }[];
    }
  | { readonly type: "tokens"; readonly id: number; readonly prompt: string; readonly syntax?: PromptSyntax }
  | { readonly type: "cut"; readonly id: number; readonly prompt: string }
  | {
      readonly type: "plan";
      readonly id: number;
      readonly job: PlanJob;
      readonly options: { readonly as?: string; readonly budgets?: Budgets; readonly count?: number };
    }
  | { readonly type: "budgets"; readonly id: number; readonly budgets: Budgets }
  | { readonly type: "upscale"; readonly id: number; readonly job: UpscaleJob }
  | { readonly type: "plan-upscale"; readonly id: number; readonly job: UpscaleJob }
  | { readonly type: "watch"; readonly id: number; readonly everyMs?: number }
  /** Stops one image or watch, or all of a series, or one of it; id 0 stops the opening. */
  | { readonly type: "abort"; readonly id: number; readonly index?: number }
  | { readonly type: "close" };

export type FromEngine =
  | { readonly type: "load"; readonly event: LoadEvent }
  | { readonly type: "opened"; readonly info: EngineInfo }
  | { readonly type: "event"; readonly id: number; readonly event: GenerateEvent }
  /** Of a series' image of that index: an event, or what ended it. */
  | { readonly type: "of-series"; readonly id: number; readonly index: number; readonly event: GenerateEvent }
  | { readonly type: "ended-in-series"; readonly id: number; readonly index: number; readonly error: ErrorMessage }
  | { readonly type: "tokens"; readonly id: number; readonly ids: TokenIds }
  | { readonly type: "cut"; readonly id: number; readonly cut: CutTexts }
  | { readonly type: "plan"; readonly id: number; readonly plan: PlanReport }
  | { readonly type: "upscaling"; readonly id: number; readonly event: UpscaleEvent }
  | { readonly type: "upscaled"; readonly id: number; readonly picture: UpscaledPicture }
  | { readonly type: "residency"; readonly id: number; readonly event: ResidencyEvent }
  | { readonly type: "done"; readonly id: number }
  | { readonly type: "failed"; readonly id: number; readonly error: ErrorMessage };

/** The id that stands for opening the engine. */
export const OPEN_ID = 0;

/** The public classes first: an error goes by the first class that it is of. */
const CLASSES = { UsageError, ArtifactError, BudgetError, DeviceError, SolvayError };

export type ErrorMessage =
  | { readonly kind: "solvay"; readonly name: string; readonly fields: ConstructorParameters<typeof SolvayError>[0] }
  | { readonly kind: "abort" }
  | { readonly kind: "other"; readonly message: string; readonly stack: string; readonly system?: SystemFields };

/** What the operating system's errors carry. */
interface SystemFields {
  readonly code: string;
  readonly path?: string;
}

export function packError(thrown: unknown): ErrorMessage {
  const error = firstFailure(thrown);
  if (error instanceof SolvayError) {
    const { code, subject, problem, next } = error;
    const name = Object.entries(CLASSES).find(([, Class]) => error instanceof Class)![0];
    return { kind: "solvay", name, fields: { code, subject, problem, next } };
  }
  if (error instanceof Error && error.name === "AbortError") return { kind: "abort" };
  const { message, stack, code, path } = (
    error instanceof Error ? error : new Error(String(error))
  ) as NodeJS.ErrnoException;
  // A DOMException has a number.
  const system = typeof code === "string" ? { code, path } : undefined;
  return { kind: "other", message, stack: stack ?? message, system };
}

/** `abortReason` is what the caller's own signal says. */
export function unpackError(message: ErrorMessage, abortReason: unknown): unknown {
  if (message.kind === "abort") return abortReason ?? new DOMException("The work was stopped", "AbortError");
  if (message.kind === "other") {
    const error = new Error(message.message);
    error.stack = message.stack;
    return Object.assign(error, message.system);
  }
  const Class = CLASSES[message.name as keyof typeof CLASSES] ?? SolvayError;
  return new Class(message.fields);
}
