/** @file Several pictures of one job: which seeds they have, as A1111's web UI counts them. */
import { UsageError } from "../errors.ts";
import type { GenerateJob } from "./job.ts";
import { drawSeed, type Seed, seedAfter } from "./seed.ts";

/** Most pictures that are asked for at once. */
export const MAX_SERIES = 9999;

/**
 * `count` jobs that differ in their seeds, which count up; of a variation the subseeds count up, and the seed stays.
 * @throws UsageError `E_USAGE` past the largest seed
 */
export function seriesOf<J extends Omit<GenerateJob, "prompt">>(job: J, count: number): readonly J[] {
  const { seed = drawSeed(), subseed = drawSeed() } = job;
  return Array.from({ length: count }, (_, i): J => {
    if (!job.subseedStrength) return { ...job, seed: counted("--seed", seed, i, count) };
    return { ...job, seed, subseed: counted("--subseed", subseed, i, count) };
  });
}

function counted(flag: string, first: Seed, after: number, count: number): Seed {
  const seed = seedAfter(first, after);
  if (seed !== undefined) return seed;
  const problem = `${flag} ${first} with --count ${count} passes the largest seed 18446744073709551615`;
  throw new UsageError({ code: "E_USAGE", problem, next: `choose a smaller ${flag}` });
}
