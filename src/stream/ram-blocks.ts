/** @file Blocks whose stored bytes stay in RAM from their first reading on, as a plan says: later steps need no disk for them. */
import type { HostMemory } from "../backend/host-memory.ts";
import type { StoredBlock } from "../plan/describe.ts";
import type { BlockReader, ReadReport } from "./blocks.ts";

const FROM_RAM: ReadReport = { diskBytes: 0, decodeMs: 0 };

export class RamBlocks implements BlockReader {
  readonly #source: BlockReader;
  readonly #memory: HostMemory;
  /** Offsets within the memory by block key. */
  readonly #offsets: ReadonlyMap<string, number>;
  readonly #filled = new Map<string, Promise<ReadReport>>();

  /** `offsets` may name blocks of other sources too. The memory is the caller's. */
  constructor(source: BlockReader, memory: HostMemory, offsets: ReadonlyMap<string, number>) {
    this.#source = source;
    this.#memory = memory;
    this.#offsets = offsets;
  }

  get readBytes(): number {
    return this.#source.readBytes;
  }

  blocks(segmentName: string, weightNames: readonly string[]): readonly StoredBlock[] {
    return this.#source.blocks(segmentName, weightNames);
  }

  async read(block: StoredBlock, startByte: number, into: Uint8Array, signal?: AbortSignal): Promise<ReadReport> {
    const offset = this.#offsets.get(block.key);
    if (offset === undefined) return await this.#source.read(block, startByte, into, signal);
    const bytes = new Uint8Array(this.#memory.buffer, offset, block.storedBytes);
    const known = this.#filled.get(block.key);
    const filled = known ?? this.#source.read(block, 0, bytes, signal);
    if (!known) {
      this.#filled.set(block.key, filled);
      // A failed or stopped reading must not stand for the bytes.
      filled.catch(() => this.#filled.delete(block.key));
    }
    const report = await filled;
    into.set(bytes.subarray(startByte, startByte + into.byteLength));
    return known ? FROM_RAM : report;
  }
}
