/** @file Device memory: arenas as single buffers, scratch, and the count of both. */
import { alignUp } from "../../../tensor/align.ts";
import type { Arena, Span } from "../../device.ts";
import { ALIGNMENT_BYTES } from "../lower/tensor-layout.ts";
import { type DeviceHealth, gpuError, outOfMemory } from "./device-health.ts";
import { USAGE } from "./gpu-flags.ts";

export interface GpuArena extends Arena {
  readonly buffer: GPUBuffer;
  /** Distinct among all arenas of a device. */
  readonly number: number;
}

const ARENA_USAGE = USAGE.storage | USAGE.copySource | USAGE.copyTarget;

export class DeviceMemory {
  readonly #device: GPUDevice;
  readonly #health: DeviceHealth;
  readonly #live = new Set<GpuArena>();
  readonly #freeCaches: () => Promise<void>;
  readonly #onGone: (arena: GpuArena) => void;
  #made = 0;

  /** `freeCaches` is tried once when memory is short; `onGone` hears of each arena that is given back. */
  constructor(
    device: GPUDevice,
    health: DeviceHealth,
    freeCaches: () => Promise<void>,
    onGone: (arena: GpuArena) => void,
  ) {
    this.#device = device;
    this.#health = health;
    this.#freeCaches = freeCaches;
    this.#onGone = onGone;
  }

  /** Bytes of arenas and scratch that are held. */
  get heldBytes(): number {
    return [...this.#live].reduce((sum, arena) => sum + arena.lengthBytes, 0);
  }

  /** Rejects with BudgetError `E_VRAM` if the device has not that much. */
  async create(lengthBytes: number, label: string): Promise<GpuArena> {
    this.#health.check();
    let buffer = await this.#tryCreate(lengthBytes, label);
    if (!buffer) {
      await this.#freeCaches();
      buffer = await this.#tryCreate(lengthBytes, label);
    }
    if (!buffer) throw outOfMemory(label, lengthBytes, this.heldBytes);
    const held = buffer;
    let disposed = false;
    const arena: GpuArena = {
      label,
      lengthBytes,
      buffer: held,
      number: ++this.#made,
      [Symbol.dispose]: () => {
        if (disposed) throw new Error(`arena ${label} is disposed twice`);
        disposed = true;
        this.#live.delete(arena);
        // WebGPU frees it when the last submit that uses it is done.
        held.destroy();
        this.#onGone(arena);
      },
    };
    this.#live.add(arena);
    return arena;
  }

  /** The arena of a span, which must be one of this device's and still held. */
  arenaOf(span: Span): GpuArena {
    const arena = span.arena as GpuArena;
    if (!this.#live.has(arena)) throw new Error(`arena ${span.arena.label} is none of this device's`);
    if (span.offsetBytes + span.lengthBytes > arena.lengthBytes)
      throw new RangeError(`a span ends beyond arena ${arena.label}`);
    return arena;
  }

  destroy(): void {
    for (const { buffer } of this.#live) buffer.destroy();
    this.#live.clear();
  }

  async #tryCreate(lengthBytes: number, label: string): Promise<GPUBuffer | undefined> {
    const device = this.#device;
    device.pushErrorScope("validation");
    device.pushErrorScope("out-of-memory");
    const buffer = device.createBuffer({
      label,
      size: alignUp(Math.max(lengthBytes, 1), ALIGNMENT_BYTES),
      usage: ARENA_USAGE,
    });
    const short = device.popErrorScope();
    const invalid = device.popErrorScope();
    const [noMemory, error] = await this.#health.answer(Promise.all([short, invalid]));
    if (!noMemory && !error) return buffer;
    buffer.destroy();
    if (noMemory) return undefined;
    throw gpuError(label, error!.message);
  }
}
