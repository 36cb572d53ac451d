/** @file Keeps what a picture has come to in a file, now and then and when it is stopped, until it has its name: `solvay resume` goes on. */
import { unlink } from "node:fs/promises";
import path from "node:path";
import type { PictureEncoding } from "../image/picture-writer.ts";
import type { OpenRequest } from "../job/checked.ts";
import type { DrawnState } from "../job/events.ts";
import { JOB_FIELDS } from "../job/fields.ts";
import { PICTURE_NAMES } from "../job/picture-fields.ts";
import { encodeUnfinished, type UnfinishedPicture } from "../job/resume-file.ts";
import type { EngineInfo, GenerateEvent, GenerateJob } from "../job/types.ts";
import { createFile, replaceFile } from "../node/disk/atomic-file.ts";
import { SOLVAY_VERSION } from "../version.ts";
import { type CliContext, libraryOf } from "./context.ts";
import { systemProblem } from "./failure.ts";
import type { Target } from "./output-file.ts";
import { resumeNames, unfinishedFolder } from "./resume-names.ts";
import { anchored, changedSince, modelContent, pictureContents } from "./unfinished.ts";

/** A save takes some hundredths of a second, most of them for the disk. */
const EVERY_MS = 20_000;
/** Before the decode: less work than this is soon done again. */
const LAST_MS = 2_000;

export interface KeptStateOptions {
  readonly info: EngineInfo;
  readonly request: OpenRequest;
  /** As it was asked for. */
  readonly job: GenerateJob;
  /** Where the picture shall go; undefined: the next free output_NNN.png of the working folder. */
  readonly target: Target | undefined;
  /** Steps from one save to the next, 0 for none but when it is stopped. Default: by time. */
  readonly everySteps?: number | undefined;
  /** Milliseconds of a clock that never goes back. Default: the process's. */
  readonly now?: (() => number) | undefined;
  /** Of one of a series. */
  readonly place?: UnfinishedPicture["place"];
  /** The file that it goes on from. */
  readonly resumed?: (Place & { readonly pictures: UnfinishedPicture["pictures"] }) | undefined;
}

/** Where it lies, and how far the picture is. */
export interface Kept {
  /** As the user would write it. */
  readonly shown: string;
  readonly file: string;
  readonly step: number;
  readonly steps: number;
}

type Place = { readonly file: string; readonly output: string };

export class KeptState {
  readonly #context: Pick<CliContext, "cwd" | "env">;
  readonly #options: KeptStateOptions;
  #place: Place | undefined;
  #header: Omit<UnfinishedPicture, "output" | "steps"> | undefined;
  #full: GenerateJob;
  /** Hashes of LoRAs, beside those of pictures. */
  readonly #loras: Record<string, string> = {};
  #latest: { readonly state: DrawnState; readonly steps: number } | undefined;
  #savedStep = 0;
  readonly #now: () => number;
  #savedMs: number;

  constructor(context: Pick<CliContext, "cwd" | "env">, options: KeptStateOptions) {
    this.#context = context;
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#savedMs = this.#now();
    this.#place = options.resumed;
    this.#full = options.job;
  }

  /** The name that the file has taken for the picture, as numbers are given out. */
  get output(): string | undefined {
    return this.#options.target ? undefined : this.#place?.output;
  }

  /**
   * Takes note of what the engine tells, and saves where it is time. A save that fails stops no picture. Rejects with ArtifactError `E_RESUME_CHANGED`
   * where a LoRA is another than the picture was begun with.
   */
  async observe(event: GenerateEvent): Promise<void> {
    if (event.type === "start") this.#full = fullJob(event, this.#options.job);
    if (event.type === "lora") this.#noteLora(event);
    if (event.type !== "step" || !event.state) return;
    const { step, steps, state } = event;
    this.#latest = { state, steps };
    const { everySteps } = this.#options;
    const sinceMs = this.#now() - this.#savedMs;
    const byTime = sinceMs >= (step === steps ? LAST_MS : EVERY_MS);
    const bySteps = everySteps !== undefined && everySteps > 0 && (step % everySteps === 0 || step === steps);
    if (everySteps === undefined ? byTime : bySteps) await this.#save().catch(() => {});
  }

  /** Saves what there is, for a picture that was stopped. Undefined: nothing was drawn yet. Rejects where no folder takes it. */
  async keep(): Promise<Kept | undefined> {
    if (!this.#latest) return undefined;
    const { state, steps } = this.#latest;
    if (this.#savedStep !== state.step) await this.#save();
    const { file } = this.#place!;
    const shown = path.dirname(file) === this.#context.cwd ? path.basename(file) : file;
    return { file, shown, step: state.step, steps };
  }

  /** The picture has its name. */
  async discard(): Promise<void> {
    if (this.#place) await unlink(this.#place.file).catch(() => {});
    this.#place = undefined;
  }

  #noteLora({ file, hash }: Extract<GenerateEvent, { type: "lora" }>): void {
    const key = `lora ${file}`;
    const before = this.#options.resumed?.pictures[key];
    if (before !== undefined && before !== hash) {
      throw changedSince(path.basename(this.#options.resumed!.file), `the LoRA ${file}`);
    }
    this.#loras[key] = hash;
  }

  async #save(): Promise<void> {
    const { state, steps } = this.#latest!;
    this.#savedMs = this.#now();
    this.#header ??= await this.#describe();
    const header = this.#header;
    const pieces = (output: string) => encodeUnfinished({ ...header, output, steps }, state);
    const before = this.#place;
    try {
      if (before) await replaceFile(before.file, (handle) => handle.writeFile(pieces(before.output)));
      else this.#place = await this.#create(this.#folder, pieces);
    } catch {
      // A full disk, or one that is gone: in the folder for state, which may lie on another.
      this.#place = await this.#create(await unfinishedFolder(this.#context.env), pieces);
      if (before) await unlink(before.file).catch(() => {});
    }
    this.#savedStep = state.step;
  }

  get #folder(): string {
    const { target } = this.#options;
    return target ? path.dirname(target.file) : this.#context.cwd;
  }

  /** Overwrites nothing. */
  async #create(folder: string, pieces: (output: string) => Uint8Array[]): Promise<Place> {
    const { target } = this.#options;
    for await (const { name, output } of resumeNames(
      folder,
      target,
      this.#full.format as PictureEncoding | undefined,
    )) {
      const made = await createFile(folder, [name], (handle) => handle.writeFile(pieces(output))).catch(
        (error: Error & { code?: string }) => {
          if (error.message === "no name is free") return undefined;
          throw error;
        },
      );
      if (made !== undefined) return { file: path.join(folder, name), output };
    }
    throw new Error("no name is free");
  }

  async #describe(): Promise<Omit<UnfinishedPicture, "output" | "steps">> {
    const host = libraryOf(this.#context);
    const { info, request, place } = this.#options;
    const { cwd } = this.#context;
    const { model, backend, adapter, precision } = info;
    return {
      version: SOLVAY_VERSION,
      job: this.#full,
      request: await anchored(host, request),
      computed: { model, backend, precision, ...(adapter !== undefined && { adapter }) },
      modelContent: await modelContent(host, request).catch(() => undefined),
      pictures: { ...(await pictureContents(this.#full, cwd).catch(() => ({}))), ...this.#loras },
      cwd,
      ...(place && { place }),
    };
  }
}

/** The job with nothing left open; what only its maker knows as it was asked for. */
function fullJob(start: Extract<GenerateEvent, { type: "start" }>, job: GenerateJob): GenerateJob {
  const told: Readonly<Record<string, unknown>> = { ...start };
  const values = Object.keys(JOB_FIELDS).map((name) => [name, told[name]] as const);
  const asked = ["negativePrompt", "controls", "ipAdapters", ...PICTURE_NAMES] as const;
  return {
    ...(Object.fromEntries(values.filter(([, value]) => value !== undefined)) as unknown as GenerateJob),
    ...Object.fromEntries(asked.map((name) => [name, job[name]])),
  };
}

/** Keeps what there is of a picture that was stopped, and tells how to go on. What stopped it is told in any case, so this never rejects. */
export async function keepAndTell(
  kept: KeptState,
  tell: { readonly kept: (state: Kept) => void; readonly say: (line: string) => void },
): Promise<void> {
  try {
    const state = await kept.keep();
    if (state) tell.kept(state);
  } catch (error) {
    tell.say(`The unfinished picture could not be kept: ${systemProblem(error)}`);
  }
}

/** What to do about it, in one line. */
export function keptText({ shown, step, steps }: Kept): string {
  const words = /^[\w./:\\-]+$/.test(shown) ? shown : JSON.stringify(shown);
  const how = step === steps ? "all steps are drawn; to decode them" : `drawn up to step ${step} of ${steps}; to go on`;
  return `The unfinished picture is kept, ${how}: solvay resume ${words}`;
}
