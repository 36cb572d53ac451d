/** @file Progress for people, on stderr: one line that rewrites itself on a terminal, only the essential lines elsewhere. */
import type { GenerateEvent, LoadEvent, PlanReport } from "../engine-types.ts";
import type { CliContext } from "./context.ts";
import { printable } from "./failure.ts";
import { byteCount, clock, gigabytes } from "./format.ts";
import { measuredText } from "./plan-text.ts";
import { telemetryText } from "./telemetry-text.ts";

const DEMO_NOTICE =
  "Model: the embedded demo (small, landscapes). For full SDXL: solvay pull stabilityai/stable-diffusion-xl-base-1.0, " +
  "then --model stabilityai/stable-diffusion-xl-base-1.0";

export class Progress {
  readonly #stderr: CliContext["stderr"];
  #dirty = false;
  #plan: PlanReport | undefined;
  #measured = false;

  constructor(context: Pick<CliContext, "stderr">) {
    this.#stderr = context.stderr;
  }

  /** A lasting line. */
  say(line: string): void {
    this.clear();
    this.#stderr.write(`${line}\n`);
  }

  /** Removes the line that rewrites itself. */
  clear(): void {
    if (this.#dirty) this.#stderr.write("\r\x1b[K");
    this.#dirty = false;
  }

  load(event: LoadEvent): void {
    switch (event.type) {
      case "model":
        if (event.demo) this.say(DEMO_NOTICE);
        else this.say(`Model: ${event.path} (${event.backend})`);
        break;
      case "note":
        this.say(`Note: ${printable(event.text)}`);
        break;
      case "module":
        if (event.count % 10 === 0) {
          const module = String(event.count).padStart(4, "0");
          this.say(`[STREAM] Module ${module} | RAM: ${gigabytes(event.rssBytes)}`);
        }
        this.#show(() => {
          const perMs = event.readBytes / Math.max(1, event.elapsedMs);
          const eta = clock((event.totalBytes - event.readBytes) / Math.max(1, perMs));
          const percent = Math.floor((100 * event.readBytes) / Math.max(1, event.totalBytes));
          return `Artifact ${percent}%  ${byteCount(perMs * 1000)}/s  ETA ${eta}`;
        });
        break;
      case "artifact":
        this.say(
          `Artifact: ${event.applied} modules in ${clock(event.elapsedMs)}` +
            (event.untouched + event.missing ? `, ${event.untouched + event.missing} left as the model has them` : "") +
            (event.skippedOverlayRows ? `, ${event.skippedOverlayRows} overlay rows out of range skipped` : ""),
        );
    }
  }

  generate(event: GenerateEvent): void {
    switch (event.type) {
      case "start":
        this.say(
          `${event.width}x${event.height}, ${event.steps} steps, guidance ${event.guidance}, seed ${event.seed}`,
        );
        break;
      case "phase":
        this.#show(
          () => ({ encode: "Reading the prompt ...", denoise: "Denoising ...", decode: "Decoding ..." })[event.phase],
        );
        break;
      case "step":
        this.#show(() => {
          const width = String(event.steps).length;
          const pace = (event.stepMs / 1000).toFixed(2);
          const line = `Step ${String(event.step).padStart(width)}/${event.steps}  ${pace} s/it  ETA ${clock(event.etaMs)}`;
          return event.bytesPerSecond > 0 ? `${line}  ${byteCount(event.bytesPerSecond)}/s` : line;
        });
        break;
      case "note":
        this.say(`Note: ${printable(event.text)}`);
        break;
      case "plan":
        this.#plan = event.plan;
        break;
      case "telemetry":
        this.say(telemetryText(event));
        this.#measured = true;
        break;
      case "image":
        this.clear();
        // Beside what the plan said; for people, and for whoever asked where the time went.
        if ((this.#stderr.isTTY || this.#measured) && this.#plan) this.say(measuredText(this.#plan, event));
    }
  }

  #show(text: () => string): void {
    if (!this.#stderr.isTTY) return;
    this.#stderr.write(`\r\x1b[K${text()}`);
    this.#dirty = true;
  }
}
