/** @file What an engine tells, for people: the essential lines, and on a terminal what it does now. */

import { printable } from "../errors.ts";
import type { RgbImage } from "../image/png.ts";
import { strip } from "../image/strip.ts";
import type { GenerateEvent, GenerateOptions, LoadEvent, PlanReport } from "../job/types.ts";
import { byteCount } from "../ledger/byte-text.ts";
import { ARTIFACT_BASE } from "../library/published-artifact.ts";
import type { CliContext } from "./context.ts";
import { clock, rangeText } from "./format.ts";
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

type StepEvent = Extract<GenerateEvent, { type: "step" }>;

interface Drawn {
  readonly step?: StepEvent;
  readonly preview?: PreviewEvent;
}

export class Progress extends StatusLine {
  #plan: PlanReport | undefined;
  #measured = false;
  /** Pictures that are being drawn, by the place of their job. */
  readonly #drawn = new Map<number, Drawn>();
  #lastNote = "";
  readonly #preview: { readonly kind: PictureKind; readonly trueColour: boolean } | undefined;

  /** `preview`: how pictures are shown while they come to be. */
  constructor(context: Pick<CliContext, "stderr" | "env">, preview: PreviewChoice = "off") {
    super(context);
    const kind = pictureKind(preview, context);
    this.#preview = kind && { kind, trueColour: hasTrueColour(context.env) };
  }

  /** The last preview of a picture that was not finished. */
  lastPreview(image = 0): PreviewEvent | undefined {
    return this.#drawn.get(image)?.preview;
  }

  /** A picture that won't be finished. */
  leave(image: number): void {
    this.#drawn.delete(image);
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

  /** `image`: the place of its job, from 0. */
  generate(event: GenerateEvent, image = 0): void {
    const drawn = this.#drawn.get(image) ?? {};
    switch (event.type) {
      case "start":
        if (this.#drawn.size === 0) this.#lastNote = "";
        this.#drawn.set(image, {});
        this.say(
          `${event.width}x${event.height}, ${event.steps} steps, guidance ${event.guidance}, seed ${event.seed}`,
        );
        break;
      case "phase": {
        const which = this.#drawn.size > 1 && event.phase !== "denoise" ? ` (image ${image + 1})` : "";
        this.rewrite(`${DOING[event.phase]}${event.title.slice(event.phase.length)}${which} ...`);
        break;
      }
      case "step":
        this.#drawn.set(image, { ...drawn, step: event });
        this.rewrite(this.#stepLine(event));
        break;
      case "note": {
        // What happened to all of them is said once.
        if (this.#drawn.size > 1 && event.text === this.#lastNote) break;
        this.#lastNote = event.text;
        this.say(`Note: ${printable(event.text)}`);
        break;
      }
      case "plan":
        this.#plan = event.plan;
        break;
      case "telemetry":
        this.say(telemetryText(event));
        this.#measured = true;
        break;
      case "preview":
        this.#drawn.set(image, { ...drawn, preview: event });
        this.#show(strip([...this.#drawn.values()].flatMap(({ preview }) => preview ?? [])));
        break;
      case "image":
        this.leave(image);
        this.clear();
        // Beside what the plan said; for people, and for whoever asked where the time went.
        if ((this.watched || this.#measured) && this.#plan) this.say(measuredText(this.#plan, event));
    }
  }

  /** Of the one that is behind, where several are drawn side by side. */
  #stepLine(event: StepEvent): string {
    const steps = [...this.#drawn].flatMap(([image, { step }]) => (step ? [{ image, step }] : []));
    const last = steps.reduce((behind, { step }) => (step.step < behind.step ? step : behind), event);
    const width = String(last.steps).length;
    const pace = (last.stepMs / 1000).toFixed(2);
    const rate = last.bytesPerSecond > 0 ? `  ${byteCount(last.bytesPerSecond)}/s` : "";
    const numbers = steps.map(({ image }) => image + 1);
    const which = numbers.length > 1 ? `Images ${rangeText(numbers)}, step` : "Step";
    const step = `${which} ${String(last.step).padStart(width)}/${last.steps}`;
    return `${step}  ${pace} s/it  ETA ${clock(last.etaMs)}${rate}`;
  }

  #show(picture: RgbImage): void {
    const rows = Math.min(PREVIEW_AREA.rows, this.rows - TEXT_ROWS);
    if (!this.#preview || rows < LEAST_ROWS) return;
    const area = areaOf(picture, { columns: Math.min(PREVIEW_AREA.columns, this.columns - 1), rows });
    this.draw(pictureText(picture, area, this.#preview), area.rows, pictureEnd(this.#preview.kind));
  }
}
