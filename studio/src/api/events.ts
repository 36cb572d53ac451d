/**
 * @file The server's events, from one connection for all views and tabs (`shared-stream.ts`). What happened before the first connection, or while none was there, is
 * asked for by who listens (`onConnected`).
 */
import { online } from "./client.ts";
import { followStream } from "./shared-stream.ts";

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
let isFollowing = false;
let isOpen = false;

/** Returns what ends it. */
export function onServerEvent(listener: Listener): () => void {
  listeners.add(listener);
  connect();
  return () => listeners.delete(listener);
}

/** Called whenever the connection is there (again): what a list says may have changed meanwhile. Returns what ends it. */
export function onConnected(listener: () => void): () => void {
  connected.add(listener);
  if (isOpen) listener();
  connect();
  return () => connected.delete(listener);
}

function connect(): void {
  if (isFollowing) return;
  isFollowing = true;
  followStream("/api/events", EVENT_TYPES, {
    onOpen() {
      isOpen = true;
      online.value = true;
      for (const listener of connected) listener();
    },
    onLost() {
      isOpen = false;
      online.value = false;
    },
    onEvent(type, text) {
      const { job, ...data } = JSON.parse(text) as { readonly job: string } & Record<string, unknown>;
      for (const listener of listeners) listener({ type: type as EventType, job, data });
    },
  });
}
