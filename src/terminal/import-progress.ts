/** @file An import's progress: for people one line that rewrites itself and the published loader's lines, or JSON lines. */
import type { ImportEvent } from "../store/import-types.ts";
import type { CliContext } from "./context.ts";
import { byteCount, clock, gigabytes } from "./format.ts";

const INTERVAL_MS = 200;

export class ImportProgress {
  readonly #context: Pick<CliContext, "stdout" | "stderr">;
  readonly #json: boolean;
  readonly #startedMs = performance.now();
  #shownMs = 0;
  #dirty = false;

  constructor(context: Pick<CliContext, "stdout" | "stderr">, json: boolean) {
    this.#context = context;
    this.#json = json;
  }

  /** A lasting line. */
  say(line: string): void {
    this.clear();
    this.#context.stderr.write(`${line}\n`);
  }

  clear(): void {
    if (this.#dirty) this.#context.stderr.write("\r\x1b[K");
    this.#dirty = false;
  }

  show(event: ImportEvent): void {
    const elapsedMs = performance.now() - this.#startedMs;
    if (this.#json) {
      if (event.type === "wait" || this.#due(event)) {
        const rssBytes = process.memoryUsage.rss();
        this.#context.stdout.write(`${JSON.stringify({ ...event, elapsedMs: Math.round(elapsedMs), rssBytes })}\n`);
      }
      return;
    }
    switch (event.type) {
      case "wait":
        this.say(`Another process writes to the store (${event.owner}): waiting for it ...`);
        break;
      case "resume":
        this.say(
          `Going on where an import was cut off: ${event.component}, ${event.blocks} blocks, ${event.records} records`,
        );
        break;
      case "codec":
        this.say(`Blocks: ${event.codec === "plain" ? "plain" : "packed"} (${event.reason})`);
        break;
      case "record":
        if (event.count % 10 === 0) {
          const module = String(event.count).padStart(4, "0");
          this.say(`[STREAM] Module ${module} | RAM: ${gigabytes(process.memoryUsage.rss())}`);
        }
        this.#line("Artifact", event.readBytes, event.totalBytes, elapsedMs);
        break;
      case "progress":
        this.#line("Store", event.doneBytes, event.totalBytes, elapsedMs);
        break;
      case "component": {
        const shared = event.sharedBlocks > 0 ? `, ${event.sharedBlocks} of them there already` : "";
        this.say(`${event.component}: ${event.blocks} blocks, ${byteCount(event.plainBytes)}${shared}`);
      }
    }
  }

  #line(what: string, doneBytes: number, totalBytes: number, elapsedMs: number): void {
    if (!this.#context.stderr.isTTY || !this.#due({ type: "progress" })) return;
    const perMs = doneBytes / Math.max(1, elapsedMs);
    const eta = clock((totalBytes - doneBytes) / Math.max(1, perMs));
    const percent = Math.floor((100 * doneBytes) / Math.max(1, totalBytes));
    this.#context.stderr.write(`\r\x1b[K${what} ${percent}%  ${byteCount(perMs * 1000)}/s  ETA ${eta}`);
    this.#dirty = true;
  }

  /** Frequent events pass now and then, all others always. */
  #due({ type }: { readonly type: ImportEvent["type"] }): boolean {
    if (type !== "progress" && type !== "record") return true;
    const nowMs = performance.now();
    if (nowMs - this.#shownMs < INTERVAL_MS) return false;
    this.#shownMs = nowMs;
    return true;
  }
}
