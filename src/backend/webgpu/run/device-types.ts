/** @file What the `webgpu` device can be told, and what it tells of itself besides what every device does. Types only. */

import type { Device } from "../../device.ts";
import type { Precision } from "../../precision.ts";
import type { AdapterFacts } from "../adapter/adapter.ts";
import type { LoweringOptions } from "../lower/lowering-scope.ts";
import type { KernelPaths } from "../lower/paths.ts";
import type { TileChoice } from "../lower/products.ts";
import type { StagingSize } from "../lower/upload-plan.ts";
import type { PacingState } from "./pacing.ts";
import type { ChosenPaths } from "./self-test.ts";

export interface WebGpuOptions {
  readonly staging?: StagingSize;
  /** Milliseconds; for pacing. */
  readonly now?: () => number;
  /** What an earlier device on this adapter measured. */
  readonly pacing?: Partial<PacingState>;
  /** Keeps what this one measured for the next: after a loss, and at the end. Its failures change nothing. */
  readonly keepPacing?: (pacing: PacingState) => Promise<void>;
  readonly chooseTile?: TileChoice;
  /** Arithmetic of linear layers, convolutions and attention. Default "fp32": fp16 changes bits. */
  readonly precision?: Precision;
  /** Kernels to use without any test, instead of what `precision` and the adapter allow: for tests. */
  readonly paths?: KernelPaths;
  /** Milliseconds that the device may leave a question without an answer: for tests. */
  readonly patienceMs?: number;
  /** Smaller limits than the adapter's: for tests of large tensors. */
  readonly limits?: Partial<LoweringOptions["limits"]>;
}

export interface WebGpuDevice extends Device {
  readonly adapter: AdapterFacts;
  /** The kernels that it computes with, and why not others. */
  readonly chosen: ChosenPaths;
  /** An arena can't be larger: WebGPU's limit on one buffer. */
  readonly maxArenaBytes: number;
  /** To be kept for the next device on this adapter. */
  readonly pacing: PacingState;
  /** Bytes of weights whose transfer to the device is done. */
  readonly uploadedBytes: number;
  /** Arenas and scratch held now. */
  readonly heldBytes: number;
  /** Calls kept bound to arenas that are held. */
  readonly boundCount: number;
  /** Kernels compiled so far. */
  readonly pipelineCount: number;
}
