/** @file How long tests search: `npm test` takes what finds faults, SOLVAY_TEST_THOROUGH=1 all there is. */

/** `usual` in every run, `thorough` with SOLVAY_TEST_THOROUGH=1. */
export function searched<Value>(usual: Value, thorough: Value): Value {
  return process.env.SOLVAY_TEST_THOROUGH === "1" ? thorough : usual;
}
