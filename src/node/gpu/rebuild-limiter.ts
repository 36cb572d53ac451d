/**
 * @file At most a few devices are rebuilt in a while after losses: a restart loop on a faulty driver can take the whole machine
 * down. The times are kept in a file, so that restarting Solvay doesn't reset the count. The decision is pure.
 */
import { DeviceError } from "../../errors.ts";
import { readStateFile, writeStateFile } from "../state/state-file.ts";

const MAX_REBUILDS = 2;
const WINDOW_MS = 60_000;

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

/** Rejects with DeviceError `E_GPU_UNSTABLE` if one more device would be too many: a restart of Solvay is a rebuild, too. */
export async function requireStable(file: string, nowMs: number): Promise<void> {
  if (!allowRebuild(await readTimes(file), nowMs)) throw unstable();
}

/**
 * Notes a rebuild in `file`. Rejects with DeviceError: `E_GPU_UNSTABLE` if there were too many, `E_GPU_STATE` if it can't be
 * noted, because rebuilds that nobody counts could go on for ever.
 */
export async function noteRebuild(file: string, nowMs: number): Promise<void> {
  const times = allowRebuild(await readTimes(file), nowMs);
  if (!times) throw unstable();
  try {
    await writeStateFile(file, times);
  } catch (cause) {
    throw new DeviceError({
      code: "E_GPU_STATE",
      subject: file,
      problem: `a lost graphics device is opened again only if that can be noted here (${cause instanceof Error ? cause.message : cause})`,
      next: "make that folder writable, or name another one with SOLVAY_STATE",
      cause,
    });
  }
}

function unstable(): DeviceError {
  return new DeviceError({
    code: "E_GPU_UNSTABLE",
    problem: `the graphics device was lost ${MAX_REBUILDS + 1} times in ${WINDOW_MS / 1000} s`,
    next: "update the graphics driver, or use --backend cpu; after a minute it may be tried again",
  });
}

/** A missing or damaged file holds no times. */
async function readTimes(file: string): Promise<readonly number[]> {
  const times = await readStateFile(file);
  return Array.isArray(times) ? times.filter((time): time is number => typeof time === "number") : [];
}
