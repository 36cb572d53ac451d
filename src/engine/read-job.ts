/** @file A job with nothing left open, and the pictures that it names, read and at its size. */
import { sha256Hex } from "#hash";
import { UsageError } from "../errors.ts";
import type { RgbPicture } from "../image/mask.ts";
import type { Picture } from "../image/picture.ts";
import { resampleBytes } from "../image/resample.ts";
import { completeJob, type FullJob, type GenerateJob, type PictureSize, requireLatent } from "../job/job.ts";
import { controlImage, namedPictures, withNamedPictures } from "../job/named-pictures.ts";
import { pictureReference } from "../job/picture.ts";
import type { Ledger } from "../ledger/ledger.ts";
import type { Checkpoint } from "../models/family.ts";
import { withDrawnPrompts } from "../pipeline/drawn-prompts.ts";
import { type ControlPictures, preparationBytes as controlBytes, controlPictures } from "../pipeline/job-controls.ts";
import { type JobPictures, naturalSize, preparePictures, type ReadPictures } from "../pipeline/job-pictures.ts";
import { hiresSize, requireJobFits, sizeInCells, withPictureDefaults } from "../pipeline/job-settings.ts";
import type { Runtime } from "../pipeline/runtime.ts";
import type { ReadWildcard } from "../prompt/wildcards.ts";

/**
 * Reads the picture that a job's field names. Rejects with UsageError `E_PICTURE`, ArtifactError, DeviceError.
 * @param field for messages
 */
export type ReadFieldPicture = (field: string, reference: string, signal?: AbortSignal) => Promise<FieldPicture>;

export interface FieldPicture extends Picture {
  /** Of its file, where it is one: records tell it. */
  readonly sha256?: string | undefined;
}

export interface ReadJob {
  readonly full: FullJob;
  readonly pictures: JobPictures | undefined;
  /** Of the job's controls, in their order. */
  readonly controlPictures: readonly ControlPictures[];
  /** "initImage: 0123...": sha256 of the files that it names, but for those of image prompts. */
  readonly pictureHashes: readonly string[];
  /** What was done to the pictures that their maker may not expect. */
  readonly notes: readonly string[];
}

export interface JobReaders {
  readonly runtime: Runtime;
  readonly readPicture: ReadFieldPicture;
  readonly readWildcard?: ReadWildcard | undefined;
}

/** Rejects with UsageError and ArtifactError as its parts do; BudgetError where a picture takes more RAM than there is. */
export async function readJob(
  { runtime, readPicture, readWildcard }: JobReaders,
  job: GenerateJob,
  signal?: AbortSignal,
): Promise<ReadJob> {
  const { checkpoint, ledger } = runtime;
  const asked = withPictureDefaults(job, checkpoint.refiner !== undefined);
  requireJobFits(checkpoint, job);
  const notes: string[] = [];
  const hashes: string[] = [];
  const read = async (field: string, reference: string): Promise<RgbPicture> => {
    const picture = await readPicture(field, reference, signal);
    if (picture.sha256 !== undefined) hashes.push(`${field}: ${picture.sha256}`);
    notes.push(...picture.notes.map((text) => `${field}: ${text}`));
    return picture;
  };
  const source: ReadPictures | undefined =
    asked.initImage === undefined
      ? undefined
      : {
          init: await read("initImage", asked.initImage),
          mask: asked.maskImage === undefined ? undefined : await read("maskImage", asked.maskImage),
        };
  const { defaults, pixelsPerCell } = checkpoint;
  const complete = completeJob(
    asked,
    source && asked.detail === undefined ? { ...defaults, ...naturalSize(source, asked) } : defaults,
  );
  const full = await withDrawnPrompts(complete, readWildcard, signal);
  requireSize(full);
  requireLatent(full, pixelsPerCell);
  const pictures = source && prepared(ledger, source, full);
  const controlled: ControlPictures[] = [];
  const sizes = passSizes(checkpoint, full);
  for (const [i, use] of (full.controls ?? []).entries()) {
    // Of a part, the part: a picture that a control names is one of it already.
    const own = use.image === undefined && pictures?.detail ? pictures : undefined;
    const picture = own ?? (await read(controlImage(i), use.image ?? full.initImage!));
    using _ = ledger.reserve(
      "ram",
      controlBytes(picture, use, sizes[1] ?? sizes[0]),
      "a control's picture, until it has the job's size",
    );
    controlled.push(controlPictures(picture, use, ...sizes));
  }
  return { full, pictures, controlPictures: controlled, pictureHashes: hashes, notes };
}

/** Of the first pass, and of a second one. */
export function passSizes(
  checkpoint: Checkpoint,
  full: FullJob,
): readonly [first: PictureSize, hires: PictureSize | undefined] {
  return [sizeInCells(checkpoint, full), full.hiresScale ? hiresSize(checkpoint, full) : undefined];
}

function prepared(ledger: Ledger, source: ReadPictures, full: FullJob): JobPictures {
  using _ = ledger.reserve("ram", preparationBytes(source, full), "pictures, until they have the job's size");
  return preparePictures(source, full);
}

/** The job for events and records: pictures that lie in the job itself are named by their hashes. */
export function shownPictures(job: FullJob): FullJob {
  const hashes = namedPictures(job).flatMap(({ name, reference: text }) => {
    if (!/^data:/i.test(text)) return [];
    const reference = pictureReference(name, text);
    return reference.kind === "data" ? [[name, `sha256:${sha256Hex(reference.bytes)}`] as const] : [];
  });
  return withNamedPictures(job, new Map(hashes));
}

/** As the fields' limits are (fields.ts): a size may have come from a picture. */
const [MIN_SIDE, MAX_SIDE] = [16, 4096];

function requireSize({ width, height }: FullJob): void {
  if (Math.min(width, height) >= MIN_SIDE && Math.max(width, height) <= MAX_SIDE) return;
  throw new UsageError({
    code: "E_JOB",
    subject: "initImage",
    problem: `its size ${width}x${height} can't be drawn at (allowed: sides from ${MIN_SIDE} to ${MAX_SIDE} pixels)`,
    next: "give width and height",
  });
}

/** Most that the pictures take while they are read and resized; what is left then is part of every phase's plan. */
function preparationBytes({ init, mask }: ReadPictures, job: FullJob): number {
  const bytes = (picture: RgbPicture) => 2 * picture.rgb.length + resampleBytes({ ...picture, channels: 3 }, job);
  // A part's mask is blurred over the whole picture.
  const whole = job.detail === undefined ? 0 : 16 * init.width * init.height;
  return whole + bytes(init) + (mask ? bytes(mask) : 0) + 8 * job.width * job.height;
}
