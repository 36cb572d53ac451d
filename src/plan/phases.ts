/** @file Which weights stay in memory from phase to phase and image to image: a pure choice, with its reason in words. */

export interface PhasePlan {
  /** Keep every phase's weights for the next image; else each phase gives its memory back before the next begins. */
  readonly keepWeights: boolean;
  /** Most weight bytes in memory at once. */
  readonly peakWeightBytes: number;
  readonly reason: string;
}

/** Below this, reading the weights anew for each phase costs more than keeping them. */
const KEEP_ALL_BYTES = 512 * 1024 ** 2;
const MiB = 1024 ** 2;

/** `phaseBytes`: weight bytes of encode, denoise and decode. */
export function planPhases(phaseBytes: readonly number[]): PhasePlan {
  const totalBytes = phaseBytes.reduce((sum, bytes) => sum + bytes, 0);
  const largestBytes = Math.max(0, ...phaseBytes);
  const total = `${Math.ceil(totalBytes / MiB)} MiB`;
  return totalBytes <= KEEP_ALL_BYTES
    ? { keepWeights: true, peakWeightBytes: totalBytes, reason: `all ${total} of weights are small enough to stay` }
    : {
        keepWeights: false,
        peakWeightBytes: largestBytes,
        reason: `of ${total} of weights only one phase's are in memory, at most ${Math.ceil(largestBytes / MiB)} MiB`,
      };
}
