/** @file The precisions that can be declared. By itself, so that the command line needs no kernels to name them. */
import type { PrecisionName } from "../../engine-types.ts";

export const PRECISIONS: readonly PrecisionName[] = ["fp32", "fp16"];
