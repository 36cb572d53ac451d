/** @file The file of a finished picture: its writer, opened before the work, and its bytes with what is said of it. */
import { UsageError } from "../errors.ts";
import { encoderBytesPerPixel, type OpenPictureWriter, type PictureWriter } from "../image/picture-writer.ts";
import type { PngText, RgbImage } from "../image/png.ts";
import type { EngineInfo } from "../job/engine.ts";
import type { FullJob } from "../job/job.ts";
import type { Ledger } from "../ledger/ledger.ts";
import type { Checkpoint } from "../models/family.ts";
import { type JobFileFacts, recordOf, recordTexts } from "./picture-record.ts";
import { shownPictures } from "./read-job.ts";

/** For a job's format. Rejects with UsageError `E_JOB` where the job's texts don't fit: what is said of a picture shall not be lost behind it. */
export async function openWriter(
  open: OpenPictureWriter,
  full: FullJob,
  info: EngineInfo,
  checkpoint: Checkpoint,
  jobFiles: JobFileFacts,
): Promise<PictureWriter> {
  const { format = "png", quality, lossless } = full;
  const writer = await open({ format, quality, lossless });
  const shown = shownPictures(full);
  const [problem] = writer.lost(recordTexts(recordOf(shown, { ...full, jobFiles }, info, checkpoint, writer.encoder)));
  if (problem === undefined) return writer;
  throw new UsageError({
    code: "E_JOB",
    subject: "format",
    problem,
    next: "write PNG, whose texts are as long as they are",
  });
}

/** Within the memory that the plan of the phase before had for it. */
export async function encoded(
  ledger: Ledger,
  writer: PictureWriter,
  { format = "png", lossless }: FullJob,
  { rgb, width, height }: RgbImage,
  text: readonly PngText[],
): Promise<Uint8Array> {
  const bytes = width * height * (3 + encoderBytesPerPixel({ format, lossless }));
  using _ = ledger.reserve("ram", bytes, "the picture's file");
  return await writer.write({ rgb, width, height, text });
}
