/** @file sharp (libvips), which decodes and encodes pictures: loaded when the first one needs it, with all that it need not do shut. */
import { DeviceError } from "../errors.ts";
import { installAdvice } from "./installation.ts";

type SharpModule = typeof import("sharp").default;

/** The only loaders that are needed: no file reaches another one. */
const LOADERS = ["VipsForeignLoadPng", "VipsForeignLoadJpeg", "VipsForeignLoadWebp"];

let loaded: SharpModule | undefined;

/**
 * Rejects with DeviceError `E_NO_SHARP` where it is not installed.
 * @param work what it is wanted for: "reads pictures"
 * @param otherwise what can be done without it
 */
export async function loadSharp(work: string, otherwise?: string): Promise<SharpModule> {
  if (loaded) return loaded;
  try {
    const { default: sharp } = await import("sharp");
    sharp.block({ operation: ["VipsForeignLoad"] });
    sharp.unblock({ operation: LOADERS });
    // Memory that a budget doesn't know of is not kept, and cores are for who computes.
    sharp.cache(false);
    sharp.concurrency(1);
    loaded = sharp;
    return sharp;
  } catch (cause) {
    const why = cause instanceof Error ? cause.message.trim().split("\n")[0] : "unknown reason";
    const advice = installAdvice("sharp --include=optional");
    throw new DeviceError({
      code: "E_NO_SHARP",
      problem: `the package sharp, which ${work}, can't be loaded (${why})`,
      next: otherwise === undefined ? advice : `${advice}, or ${otherwise}`,
      cause,
    });
  }
}

/** What decides the bytes that it encodes: its version goes with those of its libraries. Undefined where it is not installed. */
export async function sharpName(): Promise<string | undefined> {
  const sharp = await loadSharp("encodes pictures").catch(() => undefined);
  return sharp && `sharp ${sharp.versions.sharp}`;
}
