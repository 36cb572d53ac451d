/** @file What segments and tensors take on a GPU: pure, so that a plan can be made where there is none. */

import type { Graph, Segment, ValueId } from "../../../ir/graph.ts";
import { segmentSignature } from "../../../ir/signature.ts";
import { MiB } from "../../../ledger/byte-text.ts";
import type { Device, ScratchBytes, StoredWeight } from "../../device.ts";
import type { DispatchList } from "./dispatches.ts";
import { lowerSegment } from "./lowering.ts";
import type { LoweringOptions } from "./lowering-scope.ts";
import { ALIGNMENT_BYTES, activationBytes, weightBytes } from "./tensor-layout.ts";
import { readBufferBytes, type StagingSize, stagingBytes } from "./upload-plan.ts";

export const DEFAULT_STAGING: StagingSize = { slots: 3, slotBytes: 16 * MiB };
/**
 * What the driver takes for itself (context, shaders, its own staging), stated rather than measured: Dawn can't be asked.
 * Parameter records and read-back buffers (16 MiB at most) are small change within it.
 */
const DRIVER_BYTES = 192 * MiB;
/** What NVIDIA's, AMD's and Intel's GPUs of the last ten years offer. */
const TYPICAL_LIMITS: LoweringOptions["limits"] = { bindingBytes: 2 * 1024 * MiB - 256, workgroupBytes: 32768 };

export type SizesOfDevice = Pick<
  Device,
  | "name"
  | "alignmentBytes"
  | "overheadBytes"
  | "hostBytes"
  | "sharesHostMemory"
  | "activationBytes"
  | "weightBytes"
  | "scratchBytes"
>;

export class WebGpuSizes implements SizesOfDevice {
  readonly name = "webgpu";
  readonly alignmentBytes = ALIGNMENT_BYTES;
  readonly sharesHostMemory = false;
  readonly overheadBytes: number;
  readonly hostBytes: number;
  readonly #lowering: LoweringOptions;
  readonly #lists = new Map<string, DispatchList>();

  constructor(lowering: LoweringOptions = { limits: TYPICAL_LIMITS }, staging: StagingSize = DEFAULT_STAGING) {
    this.#lowering = lowering;
    this.overheadBytes = stagingBytes(staging) + DRIVER_BYTES;
    this.hostBytes = readBufferBytes(staging);
  }

  activationBytes(graph: Graph, id: ValueId): number {
    return activationBytes(graph, id);
  }

  weightBytes(weight: StoredWeight): number {
    return weightBytes(weight);
  }

  scratchBytes(graph: Graph, segment: Segment, weights: readonly StoredWeight[]): ScratchBytes {
    return { sharedBytes: this.list(graph, segment, weights).list.scratchBytes, privateBytes: 0 };
  }

  /** The segment's dispatches, made once for all segments of one signature. */
  list(graph: Graph, segment: Segment, weights: readonly StoredWeight[]): { signature: string; list: DispatchList } {
    const signature = segmentSignature(
      graph,
      segment,
      weights.map(({ dtype }) => dtype),
    );
    let list = this.#lists.get(signature);
    if (!list) {
      list = lowerSegment(graph, segment, weights, this.#lowering);
      this.#lists.set(signature, list);
    }
    return { signature, list };
  }

  release(): void {
    this.#lists.clear();
  }
}
