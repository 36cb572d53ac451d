/** @file What an engine tells, for people: the essential lines, and on a terminal what it does now. */

import { printable } from "../errors.ts";
import type { RgbImage } from "../image/png.ts";
import type { GenerateEvent, GenerateOptions, LoadEvent, PlanReport } from "../job/types.ts";
import { byteCount } from "../ledger/byte-text.ts";
import { ARTIFACT_BASE } from "../library/published-artifact.ts";
import type { CliContext } from "./context.ts";
import { clock } from "./format.ts";
import { hasTrueColour, type PictureKind, type PreviewChoice, pictureKind } from "./picture-kind.ts";
import { areaOf, pictureEnd, pictureText } from "./picture-text.ts";
import { measuredText } from "./plan-text.ts";
import { moduleLine, StatusLine, transferLine } from "./status-line.ts";
import { telemetryText } from "./telemetry-text.ts";

type PreviewEvent = Extract<GenerateEvent, { type: "preview" }>;

const DEMO_NOTICE =
  `Model: the embedded demo (small, landscapes). For full SDXL: solvay pull ${ARTIFACT_BASE}, ` +
  `then --model ${ARTIFACT_BASE}`;

/** What a phase does, for people. */
const DOING = {
  encode: "Reading the prompt",
  look: "Looking at the picture",
  denoise: "Denoising",
  enlarge: "Enlarging",
  decode: "Decoding",
} as const;

/** Of the terminal that a preview takes; a smaller terminal leaves some for text, and one with too little room shows none. */
const PREVIEW_AREA = { columns: 64, rows: 20 };
const TEXT_ROWS = 4;
const LEAST_ROWS = 4;

export class Progress extends StatusLine {
  #plan: PlanReport | undefined;
  #measured = false;
  #last: PreviewEvent | undefined;
  readonly #preview: { readonly kind: PictureKind; readonly trueColour: boolean } | undefined;

  /** `preview`: how pictures are shown while they come to be. */
  constructor(context: Pick<CliContext, "stderr" | "env">, preview: PreviewChoice = "off") {
    super(context);
    const kind = pictureKind(preview, context);
    this.#preview = kind && { kind, trueColour: hasTrueColour(context.env) };
  }

  /** The last preview of a picture that was not finished. */
  get lastPreview(): PreviewEvent | undefined {
    return this.#last;
  }

  /** What to ask of the engine beside a job, so that there is all that is shown, and no more. */
  get asked(): Pick<GenerateOptions, "previews"> {
    return this.#preview ? { previews: true } : {};
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
        this.#last = undefined;
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
      case "preview":
        this.#last = event;
        this.#show(event);
        break;
      case "image":
        this.#last = undefined;
        this.clear();
        // Beside what the plan said; for people, and for whoever asked where the time went.
        if ((this.watched || this.#measured) && this.#plan) this.say(measuredText(this.#plan, event));
    }
  }

  #show(picture: RgbImage): void {
    const rows = Math.min(PREVIEW_AREA.rows, this.rows - TEXT_ROWS);
    if (!this.#preview || rows < LEAST_ROWS) return;
    const area = areaOf(picture, { columns: Math.min(PREVIEW_AREA.columns, this.columns - 1), rows });
    this.draw(pictureText(picture, area, this.#preview), area.rows, pictureEnd(this.#preview.kind));
  }
}
