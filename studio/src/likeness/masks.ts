/** @file Masks of an adapter's pictures: none, or one for each; one that nobody gave is white, and lets its picture count everywhere. */
import { api } from "../api/client.ts";

/** Pixels of its side. */
const WHITE_SIDE = 8;

/** Of all pictures, with `value` at a place. Rejects as an upload does. */
export async function masksWith(
  masks: readonly string[] | undefined,
  pictures: number,
  at: number,
  value: string | undefined,
): Promise<readonly string[] | undefined> {
  const given = Array.from({ length: pictures }, (_, i) => (i === at ? value : masks?.[i]));
  if (given.every((mask) => mask === undefined)) return undefined;
  if (given.every((mask) => mask !== undefined)) return given as readonly string[];
  const everywhere = await uploadedWhite();
  const whole = given.map((mask) => mask ?? everywhere);
  return whole.every((mask) => mask === everywhere) ? undefined : whole;
}

async function uploadedWhite(): Promise<string> {
  const canvas = new OffscreenCanvas(WHITE_SIDE, WHITE_SIDE);
  const context = canvas.getContext("2d")!;
  context.fillStyle = "white";
  context.fillRect(0, 0, WHITE_SIDE, WHITE_SIDE);
  const blob = await canvas.convertToBlob({ type: "image/png" });
  const { sha256 } = await api.upload(new File([blob], "white.png", { type: "image/png" }));
  return `sha256:${sha256}`;
}
