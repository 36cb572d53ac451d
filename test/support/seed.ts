/** @file Random numbers that a failed run tells how to draw again. */

/**
 * Numbers from 0 to 1, of a new seed in each run or of SOLVAY_TEST_SEED. The seed goes to stderr when the process ends with a
 * failure.
 */
export function seededRandom(): () => number {
  const seed = Number(process.env.SOLVAY_TEST_SEED ?? Math.floor(Math.random() * 2 ** 31));
  if (!Number.isInteger(seed)) throw new Error("SOLVAY_TEST_SEED is a whole number");
  process.once("exit", (code) => {
    if (code !== 0) process.stderr.write(`again with the same random numbers: SOLVAY_TEST_SEED=${seed}\n`);
  });
  return randomNumbers(seed);
}

/** Numbers from 0 to 1, the same for the same seed: Mulberry32 (Tommy Ettinger, public domain). */
export function randomNumbers(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
