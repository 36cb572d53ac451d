/**
 * @file The places of the entries in an infotext's line of settings: those of `create_infotext` of A1111's web UI 1.10
 * (modules/processing.py), then of the extras that its own scripts add. An entry that is not named here stands with the extras.
 */

const BEFORE_EXTRAS = [
  ...["Steps", "Sampler", "Schedule type", "CFG scale", "Image CFG scale", "Seed", "Face restoration", "Size"],
  ...["Model hash", "Model", "FP8 weight", "Cache FP16 weight for LoRA", "VAE hash", "VAE"],
  ...["Variation seed", "Variation seed strength", "Seed resize from", "Denoising strength"],
  ...["Conditional mask weight", "Clip skip", "ENSD", "Token merging ratio", "Token merging ratio hr"],
  ...["Init image hash", "RNG", "Tiling"],
];
const EXTRAS = [
  ...["Hires checkpoint", "Hires sampler", "Hires schedule type", "Hires prompt", "Hires negative prompt"],
  ...["Hires upscale", "Hires resize", "Hires steps", "Hires upscaler"],
  ...["Mask blur", "Inpaint area", "Masked area padding", "Masked content"],
  ...["Refiner", "Refiner switch at", "Lora hashes", "TI hashes", "Emphasis"],
];
const AFTER_EXTRAS = ["Version", "User"];

const RANKS = new Map([...BEFORE_EXTRAS, ...EXTRAS].map((name, rank) => [name, rank] as const));
/** Of extras that A1111 does not know. */
const OTHER_EXTRA = RANKS.size;

/** Entries stand in the order of their ranks, those of one rank as they come. */
export function infotextRank(name: string): number {
  const last = AFTER_EXTRAS.indexOf(name);
  return last >= 0 ? OTHER_EXTRA + 1 + last : (RANKS.get(name) ?? OTHER_EXTRA);
}
