/** @file Quantiles of the beta distribution with both parameters 0.6, by which "Beta Sampling is All You Need" (arXiv 2407.12173) spaces steps. */

/** Both parameters, as in diffusers' and A1111's beta schedules. */
const SHAPE = 0.6;
/** ln B(0.6, 0.6), of scipy.special.betaln. */
const LOG_BETA = 0.8818418061417858;
const ROUNDS = 200;

/** The point below which `share` (0..1) of the distribution lies; within 1e-13. The distribution is its own mirror image. */
export function betaQuantile(share: number): number {
  if (share > 0.5) return 1 - betaQuantile(1 - share);
  let [low, high] = [0, 0.5];
  for (let round = 0; round < ROUNDS && high - low > 1e-17; round++) {
    const middle = (low + high) / 2;
    if (shareBelow(middle) < share) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/** The regularised incomplete beta function at x <= 0.5, by its power series: x^a / B(a, b) sum of (1-b)_n x^n / (n! (a + n)). */
function shareBelow(x: number): number {
  if (x === 0) return 0;
  let term = 1;
  let sum = 1 / SHAPE;
  for (let n = 1; n < ROUNDS && term > 1e-18; n++) {
    term *= ((n - SHAPE) * x) / n;
    sum += term / (SHAPE + n);
  }
  return Math.exp(SHAPE * Math.log(x) - LOG_BETA) * sum;
}
