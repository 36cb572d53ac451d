/** @file What is left of a series, in a small file until its last picture is saved: `solvay resume` draws it, those that had not begun too. */
import { randomBytes } from "node:crypto";
import { readFile, stat, unlink } from "node:fs/promises";
import path from "node:path";
import { ArtifactError } from "../errors.ts";
import type { OpenRequest } from "../job/checked.ts";
import { isPlainPngName } from "../job/resume-file.ts";
import type { GenerateJob } from "../job/types.ts";
import { createFile, replaceFile } from "../node/disk/atomic-file.ts";
import { isJsonObject, type JsonObject } from "../source/json-fields.ts";
import { type CliContext, libraryOf } from "./context.ts";
import type { Target } from "./output-file.ts";
import { filesEndingIn, unfinishedFolder } from "./resume-names.ts";
import { anchored } from "./unfinished.ts";

const ENDING = ".series";
const FORMAT = "solvay series 1";
/** Thousands of long prompts. */
const MAX_BYTES = 256 * 1024 ** 2;
/** Series of one name that lie there. */
const MOST_OF_ONE_NAME = 100;

export interface SeriesPicture {
  readonly index: number;
  /** Its file's name without a folder: it lies beside this file. null: the next free output_NNN.png. */
  readonly output: string | null;
  readonly job: GenerateJob;
}

/** As read: jobs and request have not been checked by their schemas. */
export interface ReadSeries {
  readonly id: string;
  /** Where relative paths begin. */
  readonly cwd: string;
  readonly request: JsonObject;
  readonly left: readonly (Omit<SeriesPicture, "job"> & { readonly job: JsonObject })[];
}

export function isSeriesFile(file: string): boolean {
  return file.endsWith(ENDING);
}

/** Absolute paths of those in `folder`. */
export async function seriesIn(folder: string): Promise<string[]> {
  return await filesEndingIn(folder, ENDING);
}

interface SeriesHead {
  readonly id: string;
  readonly cwd: string;
  readonly request: object;
}

export class KeptSeries {
  readonly file: string;
  readonly #head: SeriesHead;
  #left: readonly SeriesPicture[];

  constructor(file: string, head: SeriesHead, left: readonly SeriesPicture[]) {
    this.file = file;
    this.#head = head;
    this.#left = left;
  }

  /** Writes the file of a series that begins; undefined where no folder takes it: that stops no picture. */
  static async begin(
    context: Pick<CliContext, "cwd" | "env">,
    {
      request,
      jobs,
      targets,
    }: {
      readonly request: OpenRequest;
      readonly jobs: readonly GenerateJob[];
      readonly targets: readonly (Target | undefined)[];
    },
  ): Promise<KeptSeries | undefined> {
    const { cwd, env } = context;
    const left = jobs.map((job, index) => ({ index, output: nameOf(targets[index]), job }));
    const head = { id: randomBytes(8).toString("hex"), cwd, request: await anchored(libraryOf(context), request) };
    const [first] = targets;
    const stem = first ? path.parse(first.file).name : "output";
    const names = Array.from({ length: MOST_OF_ONE_NAME }, (_, i) => `${stem}${i === 0 ? "" : `.${i + 1}`}${ENDING}`);
    const text = textOf(head, left);
    for (const folder of [async () => (first ? path.dirname(first.file) : cwd), () => unfinishedFolder(env)]) {
      try {
        const into = await folder();
        const name = await createFile(into, names, (handle) => handle.writeFile(text));
        return new KeptSeries(path.join(into, name), head, left);
      } catch {}
    }
    return undefined;
  }

  get id(): string {
    return this.#head.id;
  }

  /** Those that are not saved yet. */
  get left(): readonly SeriesPicture[] {
    return this.#left;
  }

  /** The picture is saved: with the last one the file goes. A disk that takes no more stops nothing. */
  async done(index: number): Promise<void> {
    this.#left = this.#left.filter((picture) => picture.index !== index);
    if (this.#left.length === 0) return await this.discard();
    const text = textOf(this.#head, this.#left);
    await replaceFile(this.file, (handle) => handle.writeFile(text)).catch(() => {});
  }

  async discard(): Promise<void> {
    await unlink(this.file).catch(() => {});
  }
}

function nameOf(target: Target | undefined): string | null {
  return target ? path.basename(target.file) : null;
}

/** What all jobs have alike stands once. */
function textOf(head: SeriesHead, left: readonly SeriesPicture[]): string {
  const [first] = left;
  const jobs = left.map(({ job }): Readonly<Record<string, unknown>> => ({ ...job }));
  const isAlike = ([name, value]: readonly [string, unknown]) =>
    jobs.every((job) => JSON.stringify(job[name]) === JSON.stringify(value));
  const alike = Object.fromEntries(Object.entries(first!.job).filter(isAlike));
  const pictures = left.map(({ index, output }, i) => {
    const own = Object.entries(jobs[i]!).filter(([name]) => !Object.hasOwn(alike, name));
    return { index, output, job: Object.fromEntries(own) };
  });
  return `${JSON.stringify({ format: FORMAT, ...head, job: alike, pictures })}\n`;
}

/** Rejects with ArtifactError `E_RESUME_FILE`. */
export async function readSeries(file: string): Promise<ReadSeries> {
  const refuse = (problem: string) => {
    const next = "make the pictures anew; solvay resume --list shows what else there is";
    return new ArtifactError({ code: "E_RESUME_FILE", subject: path.basename(file), problem, next });
  };
  const found = await stat(file).catch(() => undefined);
  if (!found?.isFile()) throw refuse("there is no such file of a series");
  if (found.size > MAX_BYTES) throw refuse(`it is too long (found ${found.size} bytes, allowed ${MAX_BYTES})`);
  const root = parsed(await readFile(file, "utf8"));
  if (!isJsonObject(root) || root.format !== FORMAT) throw refuse("it is no file of a series");
  const { id, cwd, request, job, pictures } = root;
  const isWhole =
    typeof id === "string" &&
    typeof cwd === "string" &&
    isJsonObject(request) &&
    isJsonObject(job) &&
    Array.isArray(pictures);
  if (!isWhole) throw refuse("it lacks something");
  const left = pictures.map((picture: unknown) => {
    const { index, output, job: own } = isJsonObject(picture) ? picture : {};
    if (!Number.isInteger(index) || !isJsonObject(own) || !isOutput(output)) throw refuse("it lacks something");
    return { index: index as number, output, job: { ...job, ...own } };
  });
  return { id, cwd, request, left };
}

/** Anybody may have changed the file: it names no folder. */
function isOutput(value: unknown): value is string | null {
  return value === null || (typeof value === "string" && isPlainPngName(value));
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
