/**
 * @file At most a few devices are rebuilt in a while after losses: a restart loop on a faulty driver can take the whole machine
 * down. The times are kept in a file, so that restarting Solvay doesn't reset the count. The decision is pure.
 */
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import path from "node:path";
import { DeviceError } from "../../errors.ts";

export const MAX_REBUILDS = 2;
export const WINDOW_MS = 60_000;

/**
 * Times of rebuilds (milliseconds of the wall clock) with one more at `nowMs`, or undefined if that would be one too many.
 * Times in the future come from a clock that was set back: they count as now, so that they can't block for longer than a window.
 */
export function allowRebuild(times: readonly number[], nowMs: number): readonly number[] | undefined {
  const recent = times
    .filter((time) => Number.isFinite(time) && time > nowMs - WINDOW_MS)
    .map((t) => Math.min(t, nowMs));
  return recent.length >= MAX_REBUILDS ? undefined : [...recent, nowMs];
}

/** Notes a rebuild in `file`. Rejects with DeviceError `E_GPU_UNSTABLE` if there were too many. */
export async function noteRebuild(file: string, nowMs: number): Promise<void> {
  const times = allowRebuild(await readTimes(file), nowMs);
  if (!times) {
    throw new DeviceError({
      code: "E_GPU_UNSTABLE",
      problem: `the graphics device was lost ${MAX_REBUILDS + 1} times in ${WINDOW_MS / 1000} s`,
      next: "update the graphics driver, or use --backend cpu; after a minute it may be tried again",
    });
  }
  await mkdir(path.dirname(file), { recursive: true });
  const temporary = `${file}.${process.pid}.tmp`;
  await writeFile(temporary, JSON.stringify(times));
  await rename(temporary, file);
}

/** A missing or damaged file holds no times. */
async function readTimes(file: string): Promise<readonly number[]> {
  try {
    const times: unknown = JSON.parse(await readFile(file, "utf8"));
    return Array.isArray(times) ? times.filter((time): time is number => typeof time === "number") : [];
  } catch {
    return [];
  }
}
