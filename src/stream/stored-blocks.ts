/**
 * @file Blocks of weights from the block store: a segment's weights lie there side by side, so that one read brings them
 * straight to where the device wants them.
 */
import { ArtifactError } from "../errors.ts";
import type { StoredBlock } from "../plan/describe.ts";
import { ReadMeter } from "../store/pack/read-meter.ts";
import type { PackedBlock, StoredComponent } from "../store/stored-model.ts";
import { alignUp, TENSOR_ALIGNMENT_BYTES } from "../tensor/align.ts";
import { tensorBytes } from "../tensor/dtype.ts";
import { type BlockReader, FiniteCheck, type ReadReport } from "./blocks.ts";

export class StoredBlocks implements BlockReader {
  readonly #prefix: string;
  readonly #now: () => number;
  /** By the name of a tensor. */
  readonly #packed: ReadonlyMap<string, PackedBlock>;
  /** By key. */
  readonly #blocks = new Map<string, { readonly packed: PackedBlock; readonly list: readonly StoredBlock[] }>();
  readonly #finite = new FiniteCheck();
  #readBytes = 0;

  /** `prefix` keeps components apart; `now`: milliseconds. */
  constructor(prefix: string, { blocks }: Pick<StoredComponent, "blocks">, now: () => number) {
    this.#prefix = prefix;
    this.#now = now;
    this.#packed = new Map(blocks.flatMap((block) => block.tensors.map(({ name }) => [name, block] as const)));
  }

  get readBytes(): number {
    return this.#readBytes;
  }

  /** Throws ArtifactError `E_STORE_LAYOUT` if the store has not just these weights in one block. */
  blocks(segmentName: string, weightNames: readonly string[]): readonly StoredBlock[] {
    const key = `${this.#prefix}/${segmentName}`;
    const known = this.#blocks.get(key);
    if (known) return known.list;
    const packed = this.#packed.get(weightNames[0]!);
    const wanted = new Set(weightNames);
    if (packed?.tensors.length !== wanted.size || !packed.tensors.every(({ name }) => wanted.has(name))) {
      throw new ArtifactError({
        code: "E_STORE_LAYOUT",
        subject: this.#prefix,
        problem: `the store's blocks don't fit this model's segments (segment ${segmentName})`,
        next: "import it again: solvay import MODEL",
      });
    }
    const list = [wholeBlock(key, packed)];
    this.#blocks.set(key, { packed, list });
    return list;
  }

  async read(block: StoredBlock, startByte: number, into: Uint8Array, signal?: AbortSignal): Promise<ReadReport> {
    const { packed } = this.#blocks.get(block.key)!;
    const meter = new ReadMeter(this.#now);
    await packed.readPlain(startByte, into, { meter, signal });
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
