/** @file Progress for people, on stderr: one line that rewrites itself on a terminal, and lasting lines everywhere. */

import { printable } from "../errors.ts";
import { byteCount, gigabytes } from "../ledger/byte-text.ts";
import type { CliContext } from "./context.ts";
import { clock, wrapped } from "./format.ts";
import { cutToWidth } from "./text-width.ts";

export class StatusLine {
  readonly #stderr: CliContext["stderr"] & { readonly columns?: number; readonly rows?: number };
  #dirty = false;
  #line = "";
  /** Rows of the picture above the line, and what takes it away. */
  #picture: { readonly rows: number; readonly end: string } | undefined;

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
    const lines = this.watched ? line.split("\n").flatMap((part) => wrapped(part, this.columns)) : [line];
    this.#stderr.write(`${lines.join("\n")}\n`);
  }

  /** Rewrites the line, on a terminal. */
  rewrite(line: string): void {
    if (!this.watched) return;
    // A line that wraps can't be rewritten.
    this.#line = cutToWidth(printable(line), this.columns - 1);
    this.#stderr.write(`\r\x1b[K${this.#line}`);
    this.#dirty = true;
  }

  /**
   * Draws a picture above the line that rewrites itself, in place of the one before. `text` ends at the start of the row below it, `end`
   * takes it away.
   */
  draw(text: string, rows: number, end: string): void {
    if (!this.watched) return;
    if (this.#picture?.rows !== rows) this.#clearPicture();
    const room = this.#picture ? `\x1b[${rows}A` : `${"\n".repeat(rows)}\x1b[${rows}A`;
    this.#picture = { rows, end };
    // Terminals that can show all of it at once.
    this.#stderr.write(`\x1b[?2026h\r\x1b[K${room}${text}\r\x1b[K${this.#line}\x1b[?2026l`);
    this.#dirty = true;
  }

  #clearPicture(): void {
    if (this.#picture) this.#stderr.write(`\r${this.#picture.end}\x1b[${this.#picture.rows}A\x1b[J`);
    this.#picture = undefined;
  }

  /** Some terminals don't say, or say 0. */
  protected get columns(): number {
    return this.#stderr.columns || 80;
  }

  protected get rows(): number {
    return this.#stderr.rows || 24;
  }

  /** Removes the line that rewrites itself, and the picture above it. */
  clear(): void {
    this.#clearPicture();
    if (this.#dirty) this.#stderr.write("\r\x1b[K");
    this.#dirty = false;
    this.#line = "";
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
