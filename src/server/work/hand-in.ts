/** @file A picture that was drawn, handed in: its file in the store, however long that takes, then its claim's end. */
import { setTimeout as delay } from "node:timers/promises";
import { sha256Hex } from "#hash";
import { PICTURE_ENDINGS } from "../../image/picture-writer.ts";
import type { GenerateEvent, UpscaledPicture } from "../../job/types.ts";
import { systemProblem } from "../../terminal/failure.ts";
import { patiently } from "../away.ts";
import { infotextOf } from "../pictures/infotexts.ts";
import type { PictureStore } from "../pictures/picture-store.ts";
import type { Claim, Claims } from "../queue/claims.ts";

/** Between tries to write a picture where the disk is full. */
const WRITE_AGAIN_MS = 5_000;

export type ImageEvent = Extract<GenerateEvent, { type: "image" }>;

interface HandInParts {
  readonly claims: Claims;
  readonly store: PictureStore;
  readonly onTrouble: (what: string, error: unknown) => void;
}

/** Rejects with the signal's reason, and where the claim can't be ended. */
export async function handIn(
  { bytes, format, width, height }: ImageEvent | UpscaledPicture,
  claim: Claim,
  { claims, store, onTrouble }: HandInParts,
  signal: AbortSignal,
): Promise<void> {
  const { record } = claim;
  const sha256 = sha256Hex(bytes);
  // By the day it was asked for, the job and the content: whoever draws it again writes the same file.
  const name = `${record.createdAt.slice(0, 10)}/${record.hash.slice(0, 16)}-${sha256.slice(0, 16)}${PICTURE_ENDINGS[format][0]}`;
  const infotext = (await infotextOf(bytes)) ?? record.job.prompt;
  const picture = { sha256, name, mediaType: `image/${format}`, bytes: bytes.length, width, height, infotext };
  for (let tries = 1; ; tries++) {
    try {
      await store.put(name, [bytes]);
      break;
    } catch (error) {
      // A full disk, a folder or a bucket that is gone for a moment: the picture is kept in memory, and the claim.
      onTrouble("a picture can't be written yet", error);
      const text = `the picture can't be written yet (${systemProblem(error)}): it is kept, and tried again`;
      if (tries === 1) await claims.note(claim, text).catch(() => {});
      await delay(WRITE_AGAIN_MS, undefined, { signal });
    }
  }
  const patience = { patienceMs: Number.POSITIVE_INFINITY, signal };
  await patiently(() => claims.finish(claim, picture), patience);
}
