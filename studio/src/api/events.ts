/**
 * @file The server's events, from one connection for all views. The browser itself connects again and says which event it had last; what happened before the
 * first connection is asked for by who listens (`onConnected`).
 */
import { online } from "./client.ts";

const EVENT_TYPES = ["queued", "started", "step", "note", "done", "failed", "cancelled", "returned"] as const;
export type EventType = (typeof EVENT_TYPES)[number];

export interface ServerEvent {
  readonly type: EventType;
  readonly job: string;
  readonly data: Readonly<Record<string, unknown>>;
}

type Listener = (event: ServerEvent) => void;

const listeners = new Set<Listener>();
const connected = new Set<() => void>();
let source: EventSource | undefined;
const AGAIN_MS = 2_000;

/** Returns what ends it. */
export function onServerEvent(listener: Listener): () => void {
  listeners.add(listener);
  connect();
  return () => listeners.delete(listener);
}

/** Called whenever the connection is there (again): what a list says may have changed meanwhile. Returns what ends it. */
export function onConnected(listener: () => void): () => void {
  connected.add(listener);
  if (source?.readyState === EventSource.OPEN) listener();
  connect();
  return () => connected.delete(listener);
}

function connect(): void {
  if (source) return;
  const opened = new EventSource("/api/events");
  source = opened;
  opened.addEventListener("open", () => {
    online.value = true;
    for (const listener of connected) listener();
  });
  opened.addEventListener("error", () => {
    online.value = false;
    // After an answer that is no stream (the server starts) a browser gives up.
    if (opened.readyState !== EventSource.CLOSED) return;
    source = undefined;
    setTimeout(connect, AGAIN_MS);
  });
  for (const type of EVENT_TYPES) {
    opened.addEventListener(type, ({ data: text }: MessageEvent<string>) => {
      const { job, ...data } = JSON.parse(text) as { readonly job: string } & Record<string, unknown>;
      for (const listener of listeners) listener({ type, job, data });
    });
  }
}
