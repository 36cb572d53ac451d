/** @file Where pictures and artifacts go: checked before the work, numbered where no name was given, and kept elsewhere where it fails. */
import { lstat, readdir, stat, statfs } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { ArtifactError, BudgetError, UsageError } from "../errors.ts";
import { PICTURE_ENDINGS, type PictureEncoding } from "../image/picture-writer.ts";
import type { PictureSize } from "../job/job.ts";
import { byteCount } from "../ledger/byte-text.ts";
import { createFile, replaceFile, tryFolder } from "../node/disk/atomic-file.ts";
import { fileNameProblem } from "../node/files/file-name.ts";
import { systemProblem } from "./failure.ts";

/** Only names like these are ours and count: a longer number is another program's, such as a time in nanoseconds. */
const OUTPUT = /^output_(\d{3,6})\.(?:png|jpg|webp|resume)$/i;
const LAST_NUMBER = 999_999;
/** Formats that a name can ask for and that are not written; other kinds of files, so that no picture takes a model's place. */
const OTHER_FORMAT =
  /\.(jp2|gif|bmp|dib|tiff?|avif|heic|heif|jxl|svg|ico|exr|hdr|tga|ppm|psd|pdf|apng|mp4|webm|safetensors|lzr2|ckpt|pth?|bin|gguf|onnx|resume|series|json|txt|zip)$/i;

const FORMATS = Object.keys(PICTURE_ENDINGS) as PictureEncoding[];

/** A file as the user named it, and its absolute path. */
export interface Target {
  readonly shown: string;
  readonly file: string;
}

/** A picture's bytes, and what they are. */
export interface PictureFile {
  readonly bytes: Uint8Array;
  readonly format: PictureEncoding;
}

/** Writes `bytes` as `first`, else as the next free `output_NNN` of `folder`, overwriting nothing. Returns the file's name. */
async function writeNextOutput(folder: string, { bytes, format }: PictureFile, first?: string): Promise<string> {
  const last = await lastNumber(folder);
  const names = function* () {
    if (first !== undefined) yield first;
    yield* namesAfter(last, folder, format);
  };
  return await createFile(folder, names(), (file) => file.writeFile(bytes));
}

async function lastNumber(folder: string): Promise<number> {
  const taken = (await readdir(folder)).map((name) => Number(OUTPUT.exec(name)?.[1] ?? 0));
  return taken.reduce((largest, n) => Math.max(largest, n), 0);
}

/** The next free names of pictures in `folder`, up to the last. */
export async function followingNames(folder: string, format?: PictureEncoding): Promise<Iterable<string>> {
  return namesAfter(await lastNumber(folder), folder, format);
}

function* namesAfter(last: number, folder: string, format: PictureEncoding = "png"): Generator<string, undefined> {
  const [ending] = PICTURE_ENDINGS[format];
  for (let number = last + 1; number <= LAST_NUMBER; number++)
    yield `output_${String(number).padStart(3, "0")}${ending}`;
  throw new UsageError({
    code: "E_OUTPUT",
    subject: folder,
    problem: `its pictures are numbered up to output_${LAST_NUMBER}${ending}, the last number there is`,
    next: "move them to another folder, or give a name with --output",
  });
}

/** Throws early what keeps the next `count` pictures out of `folder`: better before the work than after it. */
export async function checkNextOutput(folder: string, count = 1): Promise<void> {
  await checkFolder(folder, folder, "the working folder does not exist any more", "change to a folder that exists");
  const names = namesAfter(await lastNumber(folder), folder);
  for (let i = 0; i < count; i++) names.next();
}

/** Throws early what keeps `file` from being written. `shown`: what the user calls it. */
export async function checkOutput({ shown, file }: Target): Promise<void> {
  const refuse = (problem: string, next: string) => new UsageError({ code: "E_OUTPUT", subject: shown, problem, next });
  if (shown === "" || /[\\/]$/.test(shown)) throw refuse("this names no file", "name a file");
  if (shown === "-") throw refuse("no file is written to standard output", "name a file");
  const nameProblem = fileNameProblem(file);
  if (nameProblem !== undefined) throw refuse(nameProblem, "choose another name");
  await checkFolder(path.dirname(file), shown, "its folder does not exist", "create the folder first");
  const there = await stat(file).catch(() => undefined);
  if (there && !there.isFile()) throw refuse("is there and is no file", "name a file");
  // A name that the file system can't hold is refused by whatever asks for it.
  await lstat(file).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw refuse(systemProblem(error), "choose another name");
  });
}

/** The format that a name asks for by its ending; undefined where that says nothing. Throws UsageError for a format that is not written. */
export function formatNamed(shown: string): PictureEncoding | undefined {
  // A name may be an ending alone; blanks and dots behind it change nothing of what it asks for.
  const name = shown.replace(/[. ]+$/, "");
  const other = OTHER_FORMAT.exec(name)?.[1];
  if (other !== undefined) {
    const problem = `pictures are written as PNG, JPEG or WebP (found a name that ends in .${other})`;
    const next = `name it ${JSON.stringify(name.replace(OTHER_FORMAT, ".png"))}`;
    throw new UsageError({ code: "E_OUTPUT", subject: shown, problem, next });
  }
  const ending = /\.[^./\\]+$/.exec(name)?.[0].toLowerCase() ?? "";
  return FORMATS.find((format) => PICTURE_ENDINGS[format].includes(ending));
}

/** The job with the format that its picture's name asks for. Throws UsageError where the job asks for another. */
export function inFormatOf<Job extends { readonly format?: string }>(target: Target | undefined, job: Job): Job {
  const named = target && formatNamed(target.shown);
  if (named === undefined || named === (job.format ?? "png")) return job;
  if (job.format === undefined) return { ...job, format: named };
  const problem = `its name asks for ${named}, the job for ${job.format}`;
  throw new UsageError({
    code: "E_OUTPUT",
    subject: target!.shown,
    problem,
    next: "leave out --format, or name it so",
  });
}

async function checkFolder(folder: string, subject: string, missing: string, next: string): Promise<void> {
  const info = await stat(folder).catch(() => undefined);
  if (!info?.isDirectory()) throw new UsageError({ code: "E_OUTPUT", subject, problem: missing, next });
  try {
    await tryFolder(folder);
  } catch (error) {
    const problem = `no file can be written to ${folder} (${systemProblem(error)})`;
    if (isFull(error)) throw new BudgetError({ code: "E_DISK_FULL", subject, problem, next: "free some space" });
    throw new UsageError({ code: "E_OUTPUT", subject, problem, next: "choose another folder, or its access rights" });
  }
}

/** The most that a picture's file can take, with as much text in it. */
export function largestPngBytes({ width, height }: PictureSize, textLength: number): number {
  const BYTES_OF_A_CHARACTER = 8; // twice in UTF-8, or escaped
  return Math.ceil(1.001 * height * (3 * width + 1)) + BYTES_OF_A_CHARACTER * textLength + 4096;
}

/** Throws BudgetError where the disk of `folder` has less than `bytes` free; one that doesn't say is taken to have them. */
export async function requireFreeDisk(folder: string, subject: string, bytes: number): Promise<void> {
  const disk = await statfs(folder).catch(() => undefined);
  if (!disk || disk.blocks === 0) return;
  const freeBytes = disk.bsize * (process.getuid?.() === 0 ? disk.bfree : disk.bavail);
  if (freeBytes >= bytes) return;
  const problem = `the disk is full (found ${byteCount(freeBytes)} free, up to ${byteCount(bytes)} are needed)`;
  throw new BudgetError({ code: "E_DISK_FULL", subject, problem, next: "free some space, or choose another folder" });
}

/**
 * Saves a finished picture: as `target`, else as `first`, else as the next free `output_NNN` of `cwd`. Returns where it is. Where that fails it is
 * kept in `cwd` or in the folder for temporary files, and the error says where.
 */
export async function savePicture(
  cwd: string,
  target: Target | undefined,
  picture: PictureFile,
  first?: string,
): Promise<Target> {
  try {
    if (!target) return await numbered(cwd, picture, first);
    await replaceFile(target.file, (file) => file.writeFile(picture.bytes));
    return target;
  } catch (error) {
    const subject = target?.shown ?? cwd;
    const what = `the picture could not be written there (${systemProblem(error)})`;
    const [problem, next] = await elsewhere(target ? [cwd, tmpdir()] : [tmpdir()], picture).then(
      (file) => [`${what}, and was saved as ${file}`, "move it from there"] as const,
      // Its latent may be kept, which takes less room, and whoever kept it says so.
      () =>
        [
          `${what}, nor anywhere else`,
          "make room, then resume what is kept of it, or draw it again by its seed",
        ] as const,
    );
    if (isFull(error)) throw new BudgetError({ code: "E_DISK_FULL", subject, problem, next, cause: error });
    throw new ArtifactError({ code: "E_OUTPUT", subject, problem, next, cause: error });
  }
}

/** Where the last preview of an unfinished picture goes: beside what the picture would have been called, in place of an older one. */
export async function previewTarget(cwd: string, target: Target | undefined, first?: string): Promise<Target> {
  const shown = target?.shown ?? first ?? namesAfter(await lastNumber(cwd), cwd).next().value!;
  const { dir, name } = path.parse(shown);
  const preview = path.join(dir, `${name}.preview.png`);
  return { shown: preview, file: path.resolve(cwd, preview) };
}

async function numbered(folder: string, picture: PictureFile, first?: string): Promise<Target> {
  const shown = await writeNextOutput(folder, picture, first);
  return { shown, file: path.join(folder, shown) };
}

/** Saves in the first of `folders` that takes it. */
async function elsewhere(folders: readonly string[], picture: PictureFile): Promise<string> {
  const failures: unknown[] = [];
  for (const folder of folders) {
    try {
      return (await numbered(folder, picture)).file;
    } catch (error) {
      failures.push(error);
    }
  }
  throw new AggregateError(failures);
}

function isFull(error: unknown): boolean {
  return ["ENOSPC", "EDQUOT"].includes((error as NodeJS.ErrnoException).code ?? "");
}
