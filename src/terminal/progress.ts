/** @file What an engine tells, for people: the essential lines, and on a terminal what it does now. */

import { printable } from "../errors.ts";
import type { GenerateEvent, LoadEvent, PlanReport } from "../job/types.ts";
import { byteCount } from "../ledger/byte-text.ts";
import { ARTIFACT_BASE } from "../library/published-artifact.ts";
import { clock } from "./format.ts";
import { measuredText } from "./plan-text.ts";
import { moduleLine, StatusLine, transferLine } from "./status-line.ts";
import { telemetryText } from "./telemetry-text.ts";

const DEMO_NOTICE =
  `Model: the embedded demo (small, landscapes). For full SDXL: solvay pull ${ARTIFACT_BASE}, ` +
  `then --model ${ARTIFACT_BASE}`;

/** What a phase does, for people. */
const DOING = {
  encode: "Reading the prompt",
  look: "Looking at the picture",
  denoise: "Denoising",
  decode: "Decoding",
} as const;

export class Progress extends StatusLine {
  #plan: PlanReport | undefined;
  #measured = false;

  load(event: LoadEvent): void {
    switch (event.type) {
      case "model":
        if (event.demo) this.say(DEMO_NOTICE);
        else this.say(`Model: ${event.path} (${event.backend})`);
        break;
      case "note":
        this.say(`Note: ${printable(event.text)}`);
        break;
      case "module": {
        const line = moduleLine(event.count, event.rssBytes);
        if (line !== undefined) this.say(line);
        this.rewrite(transferLine("Artifact", event.readBytes, event.totalBytes, event.elapsedMs));
        break;
      }
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
        this.rewrite(`${DOING[event.phase]}${event.title.slice(event.phase.length)} ...`);
        break;
      case "step": {
        const width = String(event.steps).length;
        const pace = (event.stepMs / 1000).toFixed(2);
        const rate = event.bytesPerSecond > 0 ? `  ${byteCount(event.bytesPerSecond)}/s` : "";
        const step = String(event.step).padStart(width);
        this.rewrite(`Step ${step}/${event.steps}  ${pace} s/it  ETA ${clock(event.etaMs)}${rate}`);
        break;
      }
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
        if ((this.watched || this.#measured) && this.#plan) this.say(measuredText(this.#plan, event));
    }
  }
}
