/** @file The precisions that can be declared. By itself, so that faces need no kernels to name them. */

export const PRECISIONS = ["fp32", "fp16"] as const;

/** Arithmetic of linear layers, convolutions and attention; the VAE and everything else are always fp32. */
export type Precision = (typeof PRECISIONS)[number];
