/** @file Blocks whose stored bytes stay in RAM from their first reading on, as a plan says: later steps need no disk for them. */
import type { HostMemory } from "../backend/host-memory.ts";
import type { StoredBlock } from "../plan/describe.ts";
import type { BlockReader, ReadReport } from "./blocks.ts";

const FROM_RAM: ReadReport = { diskBytes: 0, decodeMs: 0 };

/** Memory for blocks, and which of them have come, whoever asked for them. */
export class BlocksInRam {
  readonly filled = new Map<string, Promise<ReadReport>>();
  readonly #memory: HostMemory;
  readonly #offsets: ReadonlyMap<string, number>;

  /** `offsets`: within the memory, by block key. The memory is the caller's. */
  constructor(memory: HostMemory, offsets: ReadonlyMap<string, number>) {
    this.#memory = memory;
    this.#offsets = offsets;
  }

  /** Undefined for a block that is not kept. */
  placeOf({ key, storedBytes }: StoredBlock): Uint8Array<ArrayBuffer> | undefined {
    const offset = this.#offsets.get(key);
    return offset === undefined ? undefined : new Uint8Array(this.#memory.buffer, offset, storedBytes);
  }
}

export class RamBlocks implements BlockReader {
  readonly #source: BlockReader;
  readonly #kept: BlocksInRam;

  /** `kept` may be shared with readers of other sources. */
  constructor(source: BlockReader, kept: BlocksInRam) {
    this.#source = source;
    this.#kept = kept;
  }

  get readBytes(): number {
    return this.#source.readBytes;
  }

  blocks(segmentName: string, weightNames: readonly string[]): readonly StoredBlock[] {
    return this.#source.blocks(segmentName, weightNames);
  }

  async read(block: StoredBlock, startByte: number, into: Uint8Array, signal?: AbortSignal): Promise<ReadReport> {
    const bytes = this.#kept.placeOf(block);
    if (!bytes) return await this.#source.read(block, startByte, into, signal);
    const known = this.#kept.filled.get(block.key);
    const filled = known ?? this.#source.read(block, 0, bytes, signal);
    if (!known) {
      this.#kept.filled.set(block.key, filled);
      // A failed or stopped reading must not stand for the bytes.
      filled.catch(() => this.#kept.filled.delete(block.key));
    }
    const report = await filled;
    into.set(bytes.subarray(startByte, startByte + into.byteLength));
    return known ? FROM_RAM : report;
  }
}
