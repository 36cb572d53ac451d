/** @file What GPUs can do at most, by their makers' figures: cores x boost clock x 2 for fp32. TFLOP/s. Pure. */

export interface PeakTflops {
  readonly fp32: number;
  /** Of plain fp16 arithmetic; absent where it is slower than fp32 (Pascal) or unknown. */
  readonly fp16?: number;
}

/** Turing computes fp16 at twice the rate. Longer names first: "1660" is part of "1660 SUPER". */
const PEAKS: readonly (readonly [name: RegExp, peak: PeakTflops])[] = [
  [/GTX 1050 Ti/i, { fp32: 2.1 }],
  [/GTX 1060 3GB/i, { fp32: 3.9 }],
  [/GTX 1060/i, { fp32: 4.4 }],
  [/GTX 1660 Ti/i, { fp32: 5.4, fp16: 10.9 }],
  [/GTX 1660/i, { fp32: 5.0, fp16: 10.1 }],
  [/RTX 2060 SUPER/i, { fp32: 7.2, fp16: 14.4 }],
  [/RTX 2060/i, { fp32: 6.5, fp16: 12.9 }],
];

/** Of a known GPU, by its name as the driver gives it. Mobile versions have other clocks. */
export function knownPeak(adapter: string): PeakTflops | undefined {
  if (/mobile|max-q|laptop/i.test(adapter)) return undefined;
  return PEAKS.find(([name]) => name.test(adapter))?.[1];
}
