/** @file What the `webgpu` device can be told, and what it tells of itself besides what every device does. Types only. */
import type { PrecisionName } from "../../engine-types.ts";
import type { Device } from "../device.ts";
import type { AdapterFacts } from "./adapter.ts";
import type { OpenedDevice } from "./dawn.ts";
import type { LoweringOptions } from "./lowering-scope.ts";
import type { PacingState } from "./pacing.ts";
import type { KernelPaths } from "./paths.ts";
import type { TileChoice } from "./products.ts";
import type { ChosenPaths } from "./self-test.ts";
import type { StagingSize } from "./upload-plan.ts";

export interface WebGpuOptions {
  /** Part of an adapter's name; needed for software adapters. Default: the first real adapter. */
  readonly adapter?: string;
  /** Opens the device instead of Dawn on this machine: for tests. */
  readonly open?: () => Promise<OpenedDevice>;
  readonly staging?: StagingSize;
  /** Milliseconds; for pacing. */
  readonly now?: () => number;
  /** What an earlier device on this adapter measured. */
  readonly pacing?: Partial<PacingState>;
  /** Keeps what this one measured for the next: after a loss, and at the end. Its failures change nothing. */
  readonly keepPacing?: (pacing: PacingState) => Promise<void>;
  readonly chooseTile?: TileChoice;
  /** Arithmetic of linear layers, convolutions and attention. Default "fp32": fp16 changes bits. */
  readonly precision?: PrecisionName;
  /** Kernels to use without any test, instead of what `precision` and the adapter allow: for tests. */
  readonly paths?: KernelPaths;
  /** Milliseconds that the device may leave a question without an answer: for tests. */
  readonly patienceMs?: number;
  /** Smaller limits than the adapter's: for tests of large tensors. */
  readonly limits?: Partial<LoweringOptions["limits"]>;
}

export interface WebGpuDevice extends Device {
  readonly name: "webgpu";
  readonly adapter: AdapterFacts;
  /** The kernels that it computes with, and why not others. */
  readonly chosen: ChosenPaths;
  /** Computes in fp32 from now on, or with the chosen kernels again. Sizes change; the caller has released what it planned. */
  useFp32(on: boolean): Promise<void>;
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
