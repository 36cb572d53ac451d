/** @file Pictures made for a command: room for them checked before the work, events shown or printed, each saved as it comes. */

import { createHash } from "node:crypto";
import path from "node:path";
import { printable } from "../errors.ts";
import type { PictureEncoding } from "../image/picture-writer.ts";
import type { OpenRequest } from "../job/checked.ts";
import type { PictureSize } from "../job/job.ts";
import { requireEncodingFits } from "../job/output-fields.ts";
import type { PlaceInSeries, UnfinishedPicture } from "../job/resume-file.ts";
import type { DrawnState, EngineInfo, GenerateEvent, GenerateJob, GenerateOptions, LoadEvent } from "../job/types.ts";
import { openPictureWriter } from "../node/picture-writer.ts";
import { type CliContext, interruptible } from "./context.ts";
import { keepPreview } from "./kept-preview.ts";
import { KeptSeries } from "./kept-series.ts";
import { KeptState, keepAndTell, keptText } from "./kept-state.ts";
import {
  checkNextOutput,
  checkOutput,
  inFormatOf,
  largestPngBytes,
  requireFreeDisk,
  savePicture,
  type Target,
} from "./output-file.ts";
import type { PreviewChoice } from "./picture-kind.ts";
import { Progress } from "./progress.ts";

type ImageEvent = Extract<GenerateEvent, { type: "image" }>;

export interface ResumedPicture {
  readonly state: DrawnState;
  readonly file: string;
  /** The name that the picture would have had, and the folder that it goes to. */
  readonly output: string;
  readonly folder: string;
  /** Hashes of the files that it was begun with. */
  readonly pictures: UnfinishedPicture["pictures"];
}

export interface Painting {
  readonly request: OpenRequest;
  readonly jobs: readonly GenerateJob[];
  /** Where each of the jobs' pictures goes; undefined: the next free output_NNN.png (.jpg, .webp). */
  readonly targets: readonly (Target | undefined)[];
  /** Events as JSON lines on stdout, in place of words. */
  readonly json?: boolean | undefined;
  /** How they are shown while they come to be. */
  readonly preview: PreviewChoice;
  /** Beside each job. */
  readonly beside?: Pick<GenerateOptions, "telemetry"> | undefined;
  /** Steps from one save of what it has come to, to the next; see KeptState. */
  readonly saveEvery?: number | undefined;
  /** What the one job goes on from, and in which file that lies. */
  readonly resumed?: ResumedPicture | undefined;
  /** What is left of a series, which the jobs are. Without it, several that are saved become one. */
  readonly series?: KeptSeries | undefined;
  /** Of the one job that goes on, where it is one of a series. */
  readonly place?: PlaceInSeries | undefined;
  /** False: pictures go to `onPicture` alone. Default true. */
  readonly saves?: boolean | undefined;
  /** What the engine is, before the first picture begins. It may throw. */
  readonly onOpened?: ((info: EngineInfo) => void) | undefined;
  /** After each picture was saved: the event, and the number of its job. */
  readonly onPicture?: ((image: ImageEvent, job: number) => void | Promise<void>) | undefined;
}

/** Makes all of them with one engine. Rejects with a SolvayError, or Interrupted. */
export async function paint(context: CliContext, painting: Painting): Promise<void> {
  const { request, targets, json = false, preview, beside, saves = true, onOpened, onPicture } = painting;
  const { saveEvery, resumed } = painting;
  const cwd = resumed?.folder ?? context.cwd;
  const [first] = targets;
  const unnamed = targets.filter((target) => target === undefined).length;
  if (saves && unnamed > 0) await checkNextOutput(cwd, unnamed);
  const jobs = painting.jobs.map((job, i) => inFormatOf(targets[i], job));
  for (const job of jobs) requireEncodingFits(job);
  const lossy = jobs.find(({ format = "png" }) => format !== "png");
  // Whether there is an encoder is better known before a model opens.
  if (lossy) await openPictureWriter({ format: lossy.format as PictureEncoding });
  for (const target of targets) if (target) await checkOutput(target);
  const requireRoom = async (size: Partial<PictureSize>) => {
    // As much as is known.
    const sizes = jobs.map(({ prompt, negativePrompt = "", width = size.width ?? 1, height = size.height ?? 1 }) =>
      largestPngBytes({ width, height }, prompt.length + negativePrompt.length),
    );
    const folder = first ? path.dirname(first.file) : cwd;
    const bytes = sizes.reduce((sum, each) => sum + each, 0);
    await requireFreeDisk(folder, first?.shown ?? folder, bytes);
  };
  await requireRoom({});

  const progress = new Progress(context, json ? "off" : preview);
  const print = (event: object) => context.stdout.write(`${JSON.stringify(event)}\n`);
  const show = {
    load: (event: LoadEvent) => (json ? print(event) : progress.load(event)),
    generate: (event: GenerateEvent, i: number) =>
      json ? print({ ...withoutState(event), ...(jobs.length > 1 && { image: i + 1 }) }) : progress.generate(event, i),
  };
  await interruptible(context, async (signal) => {
    try {
      await using engine = await context.openEngine({ ...request, signal, onEvent: show.load });
      const { defaultWidth, defaultHeight } = engine.info;
      await requireRoom({ width: defaultWidth, height: defaultHeight });
      onOpened?.(engine.info);
      const isSeries = saves && jobs.length > 1;
      const series =
        painting.series ?? (isSeries ? await KeptSeries.begin(context, { request, jobs, targets }) : undefined);
      const places = series?.left.map(({ index }) => index) ?? [];
      let isDrawn = painting.series !== undefined;
      const stops = jobs.map(() => new AbortController());
      const requests = jobs.map((job, i) => ({
        ...{ ...beside, ...progress.asked, states: saves, from: resumed?.state },
        ...{ job, signal: stops[i]!.signal },
      }));
      const begun = new Map<number, KeptState>();
      let failed: { readonly failure: unknown } | undefined;
      const end = async (i: number) => {
        const kept = begun.get(i);
        if (!kept) return;
        begun.delete(i);
        // What stopped the picture is told, whatever becomes of this.
        await keepAndTell(kept, {
          kept: (state) => (json ? print({ type: "unfinished", ...state }) : progress.say(keptText(state))),
          say: (line) => progress.say(line),
        });
        if (saves) await keepPreview({ cwd }, progress, i, { target: targets[i], first: kept.output }).catch(() => {});
        progress.leave(i);
      };
      try {
        for await (const told of engine.generateMany(requests, { signal })) {
          const { index: i } = told;
          if ("failure" in told) {
            failed ??= told;
            await end(i);
            // Those under way are finished; the others don't begin.
            for (const [other, stop] of stops.entries()) if (other > i && !begun.has(other)) stop.abort(told.failure);
            continue;
          }
          const { event } = told;
          if (event.type === "start") {
            const place = series ? { series: series.id, index: places[i]! } : painting.place;
            const own = { info: engine.info, request, job: jobs[i]!, target: targets[i], resumed, place };
            begun.set(i, new KeptState(context, { ...own, everySteps: saveEvery }));
          }
          if (event.type === "step") isDrawn = true;
          const kept = begun.get(i)!;
          if (saves) await kept.observe(event);
          if (event.type !== "image") {
            show.generate(event, i);
            continue;
          }
          if (!json) progress.generate(event, i);
          const saved = saves ? await savePicture(cwd, targets[i], event, kept.output) : undefined;
          await kept.discard();
          await series?.done(places[i]!);
          begun.delete(i);
          if (json) print({ ...imageLine(event, saved?.file), ...(jobs.length > 1 && { image: i + 1 }) });
          else if (saved) {
            const isNamed = targets[i] !== undefined || cwd === context.cwd;
            context.stdout.write(`Saved: ${printable(isNamed ? saved.shown : saved.file)}\n`);
          }
          await onPicture?.(event, i);
        }
      } finally {
        for (const i of begun.keys()) await end(i);
        if (series && !isDrawn) await series.discard();
        else if (series && series.left.length > 0) {
          const file = path.dirname(series.file) === context.cwd ? path.basename(series.file) : series.file;
          const pictures = series.left.length;
          if (json) print({ type: "unfinished-series", file, pictures });
          else progress.say(`What is left of the series is kept, ${pictures} of its pictures: solvay resume ${file}`);
        }
      }
      if (failed) throw failed.failure;
    } finally {
      progress.clear();
    }
  });
}

/** A state is for programs that hold the engine. */
function withoutState(event: GenerateEvent): object {
  if (event.type !== "step") return event;
  const { state: _, ...shown } = event;
  return shown;
}

/** The image event as JSON: the bytes are replaced by where they are and what they hash to. */
function imageLine({ bytes, ...event }: ImageEvent, file: string | undefined): object {
  return { ...event, file, bytes: bytes.byteLength, sha256: createHash("sha256").update(bytes).digest("hex") };
}
