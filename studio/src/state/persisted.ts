/** @file Signals that survive a reload, in this browser's localStorage: bounded, and checked when they are read, since anything may stand there. */
import { effect, type Signal, signal } from "@preact/signals";

const PREFIX = "solvay.";
/** Of one entry; what is larger stays for this visit only. */
const MAX_CHARS = 500_000;
const WRITE_MS = 200;

/** `check`: what was kept, made sound; undefined where it is none. */
export function persisted<T>(name: string, initial: T, check: (kept: unknown) => T | undefined): Signal<T> {
  const key = PREFIX + name;
  const value = signal<T>(read(key, check) ?? initial);
  let timer: ReturnType<typeof setTimeout> | undefined;
  let waiting: string | undefined;
  const write = () => {
    clearTimeout(timer);
    timer = undefined;
    if (waiting !== undefined) store(key, waiting);
    waiting = undefined;
  };
  let first = true;
  effect(() => {
    const text = JSON.stringify(value.value);
    if (first) {
      first = false;
      return;
    }
    waiting = text;
    timer ??= setTimeout(write, WRITE_MS);
  });
  addEventListener("pagehide", write);
  return value;
}

function read<T>(key: string, check: (kept: unknown) => T | undefined): T | undefined {
  try {
    const text = localStorage.getItem(key);
    return text === null ? undefined : check(JSON.parse(text));
  } catch {
    return undefined;
  }
}

function store(key: string, text: string): void {
  try {
    if (text.length <= MAX_CHARS) localStorage.setItem(key, text);
  } catch {
    // Private windows and full stores: the value lives as long as the page.
  }
}

/** For `check`: one of these. */
export function oneOf<const T extends string>(values: readonly T[]): (kept: unknown) => T | undefined {
  return (kept) => values.find((value) => value === kept);
}
