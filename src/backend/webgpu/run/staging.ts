/**
 * @file Staging memory: a ring of buffers that the host writes and the device copies from. A slot is mapped for the host until
 * its reads are done, then belongs to the device until its copies are done, and is mapped again: nothing is made or freed.
 */
import type { DeviceHealth } from "./device-health.ts";
import { MAP, USAGE } from "./gpu-flags.ts";

export interface StagingSlot {
  readonly buffer: GPUBuffer;
  /** The mapped memory; gone once the slot is submitted. */
  readonly bytes: Uint8Array<ArrayBuffer>;
}

export class StagingRing {
  readonly slotBytes: number;
  readonly #health: DeviceHealth;
  readonly #buffers: readonly GPUBuffer[];
  readonly #free: StagingSlot[] = [];
  readonly #waiting: ((slot: StagingSlot) => void)[] = [];
  #returnedBytes = 0;

  constructor(device: GPUDevice, health: DeviceHealth, slots: number, slotBytes: number) {
    this.#health = health;
    this.slotBytes = slotBytes;
    this.#buffers = Array.from({ length: slots }, (_, i) =>
      device.createBuffer({
        label: `staging ${i}`,
        size: slotBytes,
        usage: USAGE.mapWrite | USAGE.copySource,
        mappedAtCreation: true,
      }),
    );
    for (const buffer of this.#buffers) this.#free.push(mapped(buffer));
  }

  /** Bytes of slots that have come back from the device, as a proof of transfer. */
  get returnedBytes(): number {
    return this.#returnedBytes;
  }

  /** A slot to write into, in the order of asking; waits while all are in flight. */
  async take(signal?: AbortSignal): Promise<StagingSlot> {
    signal?.throwIfAborted();
    this.#health.check();
    const free = this.#free.shift();
    if (free) return free;
    let abort: (() => void) | undefined;
    const aborted = new Promise<never>((_, reject) => {
      abort = () => reject(signal!.reason);
      signal?.addEventListener("abort", abort, { once: true });
    });
    aborted.catch(() => undefined);
    let waiter: (slot: StagingSlot) => void = () => undefined;
    const slot = new Promise<StagingSlot>((resolve) => {
      waiter = resolve;
      this.#waiting.push(waiter);
    });
    try {
      return await this.#health.guard(Promise.race([slot, aborted]));
    } catch (error) {
      const place = this.#waiting.indexOf(waiter);
      if (place >= 0) this.#waiting.splice(place, 1);
      // It was given in the same turn: others may need it.
      else void slot.then((given) => this.give(given));
      throw error;
    } finally {
      if (abort) signal?.removeEventListener("abort", abort);
    }
  }

  /** Gives back a slot that is still mapped. */
  give(slot: StagingSlot): void {
    const next = this.#waiting.shift();
    if (next) next(slot);
    else this.#free.push(slot);
  }

  /** The slot's copies are submitted (after `unmap`): it comes back when the device is done with them. */
  submitted(slot: StagingSlot, bytes: number): void {
    this.#health.answer(slot.buffer.mapAsync(MAP.write)).then(
      () => {
        this.#returnedBytes += bytes;
        this.give(mapped(slot.buffer));
      },
      // The device is gone or going: `health` says why to everyone who waits.
      () => undefined,
    );
  }

  destroy(): void {
    for (const buffer of this.#buffers) buffer.destroy();
  }
}

function mapped(buffer: GPUBuffer): StagingSlot {
  return { buffer, bytes: new Uint8Array(buffer.getMappedRange()) };
}
