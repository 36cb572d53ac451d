/** @file Group statistics of a whole picture from those of its bands. */

/**
 * Chan, Golub and LeVeque's pairwise update (Updating formulae and a pairwise algorithm for computing sample variances,
 * 1979), in fp64: nothing cancels, and the order of the calls alone decides the last bits.
 */
export class GroupStatistics {
  readonly #means: Float64Array;
  /** Sums of squares of the distance to the mean. */
  readonly #squares: Float64Array;
  #elements = 0;

  /** @param count groups of all images together */
  constructor(count: number) {
    this.#means = new Float64Array(count);
    this.#squares = new Float64Array(count);
  }

  /** @param partial mean and biased variance of each group, as the op groupStats gives them; of `elements` elements each */
  include(partial: Float32Array, elements: number): void {
    const total = this.#elements + elements;
    for (let group = 0; group < this.#means.length; group++) {
      const distance = partial[2 * group]! - this.#means[group]!;
      this.#means[group]! += (distance * elements) / total;
      this.#squares[group]! +=
        partial[2 * group + 1]! * elements + distance * distance * ((this.#elements * elements) / total);
    }
    this.#elements = total;
  }

  /** [groups, 2], as the op groupNormApply takes them. */
  meanAndVariance(): Float32Array<ArrayBuffer> {
    const result = new Float32Array(2 * this.#means.length);
    this.#means.forEach((mean, group) => {
      result[2 * group] = mean;
      result[2 * group + 1] = this.#squares[group]! / this.#elements;
    });
    return result;
  }
}
