/** @file Progress for people, on stderr: one line that rewrites itself on a terminal, and lasting lines everywhere. */

import { printable } from "../errors.ts";
import { byteCount, gigabytes } from "../ledger/byte-text.ts";
import type { CliContext } from "./context.ts";
import { clock, wrapped } from "./format.ts";
import { cutToWidth } from "./text-width.ts";

export class StatusLine {
  readonly #stderr: CliContext["stderr"] & { readonly columns?: number };
  #dirty = false;

  constructor({ stderr }: Pick<CliContext, "stderr">) {
    this.#stderr = stderr;
  }

  /** Somebody watches: lines may rewrite themselves. */
  get watched(): boolean {
    return this.#stderr.isTTY === true;
  }

  /** A lasting line; on a terminal it breaks between words. */
  say(line: string): void {
    this.clear();
    const lines = this.watched ? line.split("\n").flatMap((part) => wrapped(part, this.#columns)) : [line];
    this.#stderr.write(`${lines.join("\n")}\n`);
  }

  /** Rewrites the line, on a terminal. */
  rewrite(line: string): void {
    if (!this.watched) return;
    // A line that wraps can't be rewritten.
    this.#stderr.write(`\r\x1b[K${cutToWidth(printable(line), this.#columns - 1)}`);
    this.#dirty = true;
  }

  /** Some terminals don't say, or say 0. */
  get #columns(): number {
    return this.#stderr.columns || 80;
  }

  /** Removes the line that rewrites itself. */
  clear(): void {
    if (this.#dirty) this.#stderr.write("\r\x1b[K");
    this.#dirty = false;
  }
}

/** Lets frequent events pass now and then. */
export class Throttle {
  readonly #intervalMs: number;
  #lastMs = Number.NEGATIVE_INFINITY;

  constructor(intervalMs: number) {
    this.#intervalMs = intervalMs;
  }

  passes(): boolean {
    const nowMs = performance.now();
    if (nowMs - this.#lastMs < this.#intervalMs) return false;
    this.#lastMs = nowMs;
    return true;
  }
}

/** `Artifact 12%  800 MB/s  ETA 0:07`. */
export function transferLine(what: string, doneBytes: number, totalBytes: number, elapsedMs: number): string {
  const perMs = doneBytes / Math.max(1, elapsedMs);
  const eta = clock((totalBytes - doneBytes) / Math.max(1, perMs));
  const percent = Math.floor((100 * doneBytes) / Math.max(1, totalBytes));
  return `${what} ${percent}%  ${byteCount(perMs * 1000)}/s  ETA ${eta}`;
}

/** The published loader's line for every tenth module; undefined for the others. */
export function moduleLine(count: number, rssBytes: number): string | undefined {
  if (count % 10 !== 0) return undefined;
  return `[STREAM] Module ${String(count).padStart(4, "0")} | RAM: ${gigabytes(rssBytes)}`;
}
