/** @file From an error to a status of HTTP: what the client did, what it may do again later, and what is ours. */
import { ArtifactError, BudgetError, SolvayError, UsageError } from "../../errors.ts";
import { describeFailure } from "../../terminal/failure.ts";
import type { JobError } from "../queue/job-record.ts";

export type Status = 400 | 401 | 403 | 404 | 405 | 408 | 409 | 413 | 415 | 422 | 429 | 431 | 500 | 503;

export interface HttpFailure {
  readonly status: Status;
  readonly code: string;
  readonly message: string;
  /** What it is about: a field of the request, where one is wrong. */
  readonly subject?: string | undefined;
  /** Seconds after which it may go better. */
  readonly retryAfterS?: number;
  /** Methods that the path has. */
  readonly allowed?: readonly string[] | undefined;
}

/** A refusal that knows its status. */
export class Refusal extends UsageError {
  readonly status: Status;
  /** Methods that the path has, where it was asked by another. */
  readonly allowed: readonly string[] | undefined;

  constructor(status: Status, fields: ConstructorParameters<typeof UsageError>[0], allowed?: readonly string[]) {
    super(fields);
    this.status = status;
    this.allowed = allowed;
  }
}

/** Codes of jobs that can't be done as they were asked for: the client's to change. */
const CLIENTS = /^E_(JOB|PICTURE|IMAGE|BUDGET|USAGE|RAM|VRAM|STEPS|PROMPT|WILDCARD|CONTROL|LORA|EMBEDDING|UPSCALER)/;

/** A job's failure, in its own words. */
export class JobFailure extends Error {
  readonly status: Status;
  readonly code: string;

  constructor({ code, message }: JobError) {
    super(message);
    this.code = code;
    this.status = code === "E_CANCELLED" ? 409 : CLIENTS.test(code) ? 400 : 500;
  }
}

/** Of a job that was cancelled while its picture was waited for. */
export const CANCELLED: JobError = {
  code: "E_CANCELLED",
  message: "E_CANCELLED: the job was cancelled. Next: ask again.",
};

export function notFound(subject: string): Refusal {
  return new Refusal(404, {
    code: "E_NOT_FOUND",
    subject,
    problem: "there is no such thing here",
    next: "list what there is",
  });
}

export function wrongMethod(method: string, allowed: readonly string[]): Refusal {
  const problem = `there is no such method here (found ${method.slice(0, 20)}, allowed ${allowed.join(", ")})`;
  return new Refusal(405, { code: "E_METHOD", problem, next: "use one of those" }, allowed);
}

/** Refuses fields of a body that there are not. Throws Refusal. */
export function requireOnly(body: object, allowed: readonly string[]): void {
  const unknown = Object.keys(body).find((name) => !allowed.includes(name));
  if (unknown === undefined) return;
  const problem = `there is no such field here (there are ${allowed.join(", ")})`;
  throw new Refusal(400, { code: "E_BODY", subject: unknown.slice(0, 60), problem, next: "leave it out" });
}

/** The same for what stands beside a job, or an upscale. Throws Refusal. */
export function requireNoOthers(others: object, what: "job" | "upscale", allowed: readonly string[]): void {
  const [unknown] = Object.keys(others);
  if (unknown === undefined) return;
  const beside = what === "job" ? "a job" : "an upscale";
  const problem = `there is no such field beside ${beside} (there are ${allowed.join(", ")})`;
  const next = `leave it out, or put it into ${what}`;
  throw new Refusal(400, { code: "E_JOB", subject: unknown.slice(0, 60), problem, next });
}

export function notReady(problem: string): Refusal {
  return new Refusal(503, { code: "E_NOT_READY", problem, next: "try again in a moment" });
}

const STATUSES: Readonly<Record<string, Status>> = {
  E_QUEUE_FULL: 503,
  E_QUEUE_SHARE: 429,
  E_IDEMPOTENCY: 409,
  E_IMAGE_SIZE: 413,
  E_DATABASE: 503,
  E_BUCKET: 503,
};
const RETRY_AFTER_S = 10;

export function failureOf(error: unknown): HttpFailure {
  if (error instanceof JobFailure) return { status: error.status, code: error.code, message: error.message };
  const { code, message } = describeFailure(error);
  const status = error instanceof Refusal ? error.status : (STATUSES[code] ?? (isClients(error) ? 400 : 500));
  // What we did wrong is told in the log, not to whoever asks.
  if (!(error instanceof SolvayError)) {
    return {
      status: 500,
      code: "E_INTERNAL",
      message: "E_INTERNAL: something went wrong here. Next: look at the server's log.",
    };
  }
  return {
    status,
    code,
    message,
    subject: error.subject,
    ...(error instanceof Refusal && { allowed: error.allowed }),
    ...((status === 503 || status === 429) && { retryAfterS: RETRY_AFTER_S }),
  };
}

function isClients(error: unknown): boolean {
  return error instanceof UsageError || error instanceof ArtifactError || error instanceof BudgetError;
}
