/**
 * @file Blocks of weights from the block store: a segment's weights lie there side by side, so that one read brings them
 * straight to where the device wants them. Segments that the store cut otherwise are read tensor by tensor.
 */
import type { StoredBlock } from "../plan/describe.ts";
import { ReadMeter } from "../store/read-meter.ts";
import type { StoredBlock as PackedBlock, StoredComponent } from "../store/stored-model.ts";
import { alignUp, TENSOR_ALIGNMENT_BYTES } from "../tensor/align.ts";
import { tensorBytes } from "../tensor/dtype.ts";
import { type BlockReader, FiniteCheck, type ReadReport, TableBlocks } from "./blocks.ts";

export class StoredBlocks implements BlockReader {
  readonly #prefix: string;
  readonly #now: () => number;
  /** By the name of a tensor. */
  readonly #packed: ReadonlyMap<string, PackedBlock>;
  readonly #pieces: TableBlocks;
  readonly #blocks = new Map<string, StoredBlock>();
  readonly #whole = new Map<string, PackedBlock>();
  readonly #finite = new FiniteCheck();
  #readBytes = 0;

  /** `prefix` keeps components apart; `now`: milliseconds. */
  constructor(prefix: string, { blocks, table }: Pick<StoredComponent, "blocks" | "table">, now: () => number) {
    this.#prefix = prefix;
    this.#now = now;
    this.#packed = new Map(blocks.flatMap((block) => block.tensors.map(({ name }) => [name, block] as const)));
    this.#pieces = new TableBlocks(prefix, table);
  }

  get readBytes(): number {
    return this.#readBytes + this.#pieces.readBytes;
  }

  block(segmentName: string, weightNames: readonly string[]): StoredBlock {
    const key = `${this.#prefix}/${segmentName}`;
    const known = this.#blocks.get(key);
    if (known) return known;
    const packed = this.#packed.get(weightNames[0]!);
    const wanted = new Set(weightNames);
    const whole = packed?.tensors.length === wanted.size && packed.tensors.every(({ name }) => wanted.has(name));
    const block = whole ? wholeBlock(key, packed) : this.#pieces.block(segmentName, weightNames);
    if (whole) this.#whole.set(key, packed);
    this.#blocks.set(key, block);
    return block;
  }

  /** Whether the block comes in one read. */
  isWhole(key: string): boolean {
    return this.#whole.has(key);
  }

  async read(block: StoredBlock, startByte: number, into: Uint8Array, signal?: AbortSignal): Promise<ReadReport> {
    const packed = this.#whole.get(block.key);
    if (!packed) return await this.#pieces.read(block, startByte, into, signal);
    const meter = new ReadMeter(this.#now);
    await packed.readPlain(startByte, into, { meter, ...(signal ? { signal } : {}) });
    this.#readBytes += meter.diskBytes;
    this.#check(block, packed.label, startByte, into);
    return { diskBytes: meter.diskBytes, decodeMs: meter.unpackMs };
  }

  #check(block: StoredBlock, label: string, startByte: number, bytes: Uint8Array): void {
    for (const { name, stored, offsetBytes } of block.tensors) {
      const from = Math.max(startByte, offsetBytes);
      const to = Math.min(startByte + bytes.byteLength, offsetBytes + tensorBytes(stored));
      if (from >= to) continue;
      this.#finite.check({ name, ...stored }, label, bytes.subarray(from - startByte, to - startByte));
    }
  }
}

function wholeBlock(key: string, { tensors }: PackedBlock): StoredBlock {
  let storedBytes = 0;
  const placed = tensors.map(({ name, dtype, shape, offsetBytes }) => {
    storedBytes = Math.max(storedBytes, offsetBytes + tensorBytes({ dtype, shape }));
    return { name, stored: { dtype, shape }, offsetBytes };
  });
  return { key, storedBytes: alignUp(storedBytes, TENSOR_ALIGNMENT_BYTES), tensors: placed };
}
