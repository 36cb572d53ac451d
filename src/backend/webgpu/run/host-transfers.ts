/**
 * @file Activations between the host's memory and the device's, in parts: a band of a large picture is tens of megabytes, and
 * no second copy of it is made on the way, whatever its order in memory (Dawn's staging memory is in the driver's allowance).
 */
import { elementCount } from "../../../tensor/dtype.ts";
import type { DataOrder, HostData } from "../../device.ts";
import { gatherToDevice, isRowMajor, scatterFromDevice } from "../lower/tensor-layout.ts";
import { type DeviceHealth, POISON } from "./device-health.ts";
import { ReadBacks } from "./read-backs.ts";
import type { SubmitQueue } from "./submission.ts";

/** A part. The buffers of all sizes that results come back through stay below twice this together. */
export const PART_BYTES = 8 * 1024 ** 2;
const PART = PART_BYTES / 4;

export interface GpuSpan {
  readonly buffer: GPUBuffer;
  readonly offsetBytes: number;
}

export class HostTransfers {
  readonly #device: GPUDevice;
  readonly #queue: SubmitQueue;
  readonly #readBacks: ReadBacks;

  constructor(device: GPUDevice, queue: SubmitQueue, health: DeviceHealth) {
    this.#device = device;
    this.#queue = queue;
    this.#readBacks = new ReadBacks(device, health);
  }

  /** After what was recorded so far. The data has been copied when this returns. */
  write(shape: readonly number[], { buffer, offsetBytes }: GpuSpan, data: HostData, order: DataOrder): void {
    this.#queue.flush();
    const straight = order === "device" || isRowMajor(shape);
    const part = straight ? data : new (data.constructor as new (n: number) => HostData)(Math.min(PART, data.length));
    for (let first = 0; first < data.length; first += PART) {
      const count = Math.min(PART, data.length - first);
      const piece = straight ? data.subarray(first, first + count) : part.subarray(0, count);
      if (!straight) gatherToDevice(shape, first, piece, data);
      const bytes = piece as HostData & ArrayBufferView<ArrayBuffer>;
      this.#device.queue.writeBuffer(buffer, offsetBytes + first * 4, bytes);
    }
  }

  /** Whether what was read is a result, and not what was there before one was written (device-health.ts). */
  async read(
    shape: readonly number[],
    { buffer, offsetBytes }: GpuSpan,
    into: Float32Array,
    order: DataOrder,
  ): Promise<boolean> {
    const elements = elementCount(shape);
    let fresh = true;
    for (let first = 0; first < elements; first += PART) {
      const count = Math.min(PART, elements - first);
      const target = this.#readBacks.take(count * 4);
      this.#queue.copy(buffer, offsetBytes + first * 4, target, 0, count * 4);
      this.#queue.flush();
      await this.#readBacks.read(target, count * 4, (mapped) => {
        const words = new Uint32Array(mapped);
        if (first === 0 && words[0] === POISON) fresh = false;
        if (first + count === elements && words[count - 1] === POISON) fresh = false;
        const part = new Float32Array(mapped);
        if (order === "device" || isRowMajor(shape)) into.set(part, first);
        else scatterFromDevice(shape, first, part, into);
      });
    }
    return fresh;
  }

  release(): void {
    this.#readBacks.release();
  }
}
