/** @file Buffers that results come back through, kept by size for the next time. */
import { type DeviceHealth, gpuError } from "./device-health.ts";
import { MAP, USAGE } from "./gpu-flags.ts";

export class ReadBacks {
  readonly #device: GPUDevice;
  readonly #health: DeviceHealth;
  readonly #free = new Map<number, GPUBuffer[]>();

  constructor(device: GPUDevice, health: DeviceHealth) {
    this.#device = device;
    this.#health = health;
  }

  /** A buffer of that size or more. */
  take(bytes: number): GPUBuffer {
    const size = 2 ** Math.ceil(Math.log2(Math.max(bytes, 256)));
    return (
      this.#free.get(size)?.pop() ??
      this.#device.createBuffer({ label: "read-back", size, usage: USAGE.mapRead | USAGE.copyTarget })
    );
  }

  /** Shows what was copied into the buffer, which then goes back. Rejects with the failure of the device. */
  async read(buffer: GPUBuffer, bytes: number, show: (mapped: ArrayBuffer) => void): Promise<void> {
    try {
      await this.#health.answer(buffer.mapAsync(MAP.read, 0, bytes));
    } catch (error) {
      this.#health.check();
      throw gpuError("read-back", error instanceof Error ? error.message : String(error), error);
    }
    try {
      show(buffer.getMappedRange(0, bytes));
    } finally {
      buffer.unmap();
      this.#free.set(buffer.size, [...(this.#free.get(buffer.size) ?? []), buffer]);
    }
  }

  release(): void {
    for (const buffers of this.#free.values()) for (const buffer of buffers) buffer.destroy();
    this.#free.clear();
  }
}
