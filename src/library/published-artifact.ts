/** @file The artifact that the published loader takes from the working folder. */

/** Used when it lies in the working folder ... */
export const ARTIFACT_NAME = "Marius_V18_SDXL.lzr2";
/** ... over this model. */
export const ARTIFACT_BASE = "stabilityai/stable-diffusion-xl-base-1.0";
