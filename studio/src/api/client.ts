/** @file The one way to the server: requests to `/api`, their answers as JSON, and their failures in the server's words. */
import { signal } from "@preact/signals";
import type { Asset, Job, JobFields, ModelInfo, Plan, Recalled, Schema, Upscale, Upscaler } from "./types.ts";

/** What the server refused, or why it didn't answer (code "E_OFFLINE"). */
export class ApiError extends Error {
  readonly code: string;
  /** 0: there was no answer. */
  readonly status: number;

  constructor(status: number, code: string, message: string) {
    super(plainWords(message));
    this.status = status;
    this.code = code;
  }
}

/** A failure as people read it: without the code that programs know it by. */
export function plainWords(message: string): string {
  const words = message.replace(/^E_[A-Z0-9_]+:? /, "");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** Whether the server answered last time. */
export const online = signal(true);

interface Asking {
  readonly method?: "GET" | "POST" | "DELETE";
  /** Sent as JSON. */
  readonly json?: unknown;
  /** Sent as it is, with its own type. */
  readonly blob?: Blob;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

/** @param path of ours: "/api/jobs" */
export async function ask<T>(path: string, { method, json, blob, headers, signal: stop }: Asking = {}): Promise<T> {
  const body = json === undefined ? blob : JSON.stringify(json);
  const type = json === undefined ? blob?.type : "application/json";
  let answer: Response;
  try {
    answer = await fetch(path, {
      method: method ?? (body === undefined ? "GET" : "POST"),
      headers: { ...(type !== undefined && { "content-type": type }), ...headers },
      ...(body !== undefined && { body }),
      ...(stop && { signal: stop }),
    });
  } catch (error) {
    stop?.throwIfAborted();
    online.value = false;
    throw new ApiError(0, "E_OFFLINE", String(error));
  }
  online.value = true;
  const value: unknown = await answer.json().catch(() => undefined);
  if (answer.ok) return value as T;
  const { error } = (value ?? {}) as { readonly error?: { readonly code?: string; readonly message?: string } };
  throw new ApiError(
    answer.status,
    error?.code ?? "E_ANSWER",
    error?.message ?? `${answer.status} ${answer.statusText}`,
  );
}

export const api = {
  schema: () => ask<Schema>("/api/schema"),
  models: async () => (await ask<{ readonly models: readonly ModelInfo[] }>("/api/models")).models,
  jobs: async (limit: number) => (await ask<{ readonly jobs: readonly Job[] }>(`/api/jobs?limit=${limit}`)).jobs,
  job: (id: string) => ask<Job>(`/api/jobs/${id}`),
  /** `model`: "" for the server's standing one. */
  submit: async (job: JobFields, count = 1, priority = 0, model = "") => {
    const beside = { count, priority, ...(model !== "" && { model }) };
    return (await ask<{ readonly jobs: readonly Job[] }>("/api/jobs", { json: { job, ...beside } })).jobs;
  },
  cancel: (id: string) => ask<Job>(`/api/jobs/${id}/cancel`, { method: "POST" }),
  retry: (id: string) => ask<Job>(`/api/jobs/${id}/retry`, { method: "POST" }),
  /** `before`: the job that comes next; null: none does. */
  move: (id: string, before: string | null) => ask<Job>(`/api/jobs/${id}/move`, { json: { before } }),
  plan: (job: JobFields) => ask<Plan>("/api/plan", { json: { job } }),
  upscalers: async () => (await ask<{ readonly upscalers: readonly Upscaler[] }>("/api/upscalers")).upscalers,
  upscale: async (upscale: Upscale) => (await ask<{ readonly job: Job }>("/api/upscales", { json: { upscale } })).job,
  planUpscale: (upscale: Upscale) => ask<Plan>("/api/upscales/plan", { json: { upscale } }),
  readPicture: (picture: Blob) => ask<Recalled>("/api/pictures/read", { blob: picture }),
  readText: (text: string) => ask<Recalled>("/api/texts/read", { json: { text } }),
  settingsOf: (sha256: string) => ask<Recalled>(`/api/assets/${sha256}/settings`),
  upload: (picture: Blob) => ask<Asset>("/api/assets", { blob: picture }),
};
