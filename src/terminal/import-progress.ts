/** @file An import's progress: for people one line that rewrites itself and the published loader's lines, or JSON lines. */
import { byteCount } from "../ledger/byte-text.ts";
import type { ImportEvent } from "../store/import/import-types.ts";
import type { CliContext } from "./context.ts";
import { moduleLine, StatusLine, Throttle, transferLine } from "./status-line.ts";

const INTERVAL_MS = 200;
/** Events that pass now and then. */
const FREQUENT: ReadonlySet<ImportEvent["type"]> = new Set(["progress", "record"]);

export class ImportProgress extends StatusLine {
  readonly #stdout: CliContext["stdout"];
  readonly #json: boolean;
  readonly #startedMs = performance.now();
  readonly #thin = new Throttle(INTERVAL_MS);

  constructor(context: Pick<CliContext, "stdout" | "stderr">, json: boolean) {
    super(context);
    this.#stdout = context.stdout;
    this.#json = json;
  }

  show(event: ImportEvent): void {
    const elapsedMs = performance.now() - this.#startedMs;
    if (this.#json) {
      if (!FREQUENT.has(event.type) || this.#thin.passes()) {
        const rssBytes = process.memoryUsage.rss();
        this.#stdout.write(`${JSON.stringify({ ...event, elapsedMs: Math.round(elapsedMs), rssBytes })}\n`);
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
      case "record": {
        const line = moduleLine(event.count, process.memoryUsage.rss());
        if (line !== undefined) this.say(line);
        this.#line("Artifact", event.readBytes, event.totalBytes, elapsedMs);
        break;
      }
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
    if (this.watched && this.#thin.passes()) this.rewrite(transferLine(what, doneBytes, totalBytes, elapsedMs));
  }
}
