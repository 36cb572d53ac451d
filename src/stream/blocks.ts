/**
 * @file Blocks of weights straight from a tensor table: one segment's parameters side by side, read by byte range in place.
 * Values are checked for NaN and infinities the first time they pass.
 */
import { adapterTensor } from "../adapters/adapter-set.ts";
import type { TensorEntry, TensorTable } from "../container/table.ts";
import { ArtifactError } from "../errors.ts";
import type { StoredBlock } from "../plan/describe.ts";
import { alignUp, TENSOR_ALIGNMENT_BYTES } from "../tensor/align.ts";
import { tensorBytes } from "../tensor/dtype.ts";
import { firstNonFinite } from "../tensor/finite.ts";
import { placeTensors } from "../tensor/placement.ts";

/** Reads in flight at a time within a block: what libuv's four threads can work on. */
const READS_AT_ONCE = 4;
/** A larger tensor is read in parts, so that threads share it. */
const PART_BYTES = 32 * 1024 ** 2;

/** What a read took from where weights are kept. */
export interface ReadReport {
  readonly diskBytes: number;
  /** Unpacking, summed over parts that are unpacked side by side. */
  readonly decodeMs: number;
}

/** Where blocks of weights come from: a model read in place, or a block store. */
export interface BlockReader {
  /** Blocks that together hold these weights, the same ones each time for a segment; keys are `component/segment`. */
  blocks(segmentName: string, weightNames: readonly string[]): readonly StoredBlock[];
  /** Fills `into` with the block's bytes from `startByte`; what no tensor covers is of no meaning. */
  read(block: StoredBlock, startByte: number, into: Uint8Array, signal?: AbortSignal): Promise<ReadReport>;
  /** Bytes read from sources so far. */
  readonly readBytes: number;
}

/** A model's weights in place. `prefix` keeps components apart. */
export class TableBlocks implements BlockReader {
  readonly #prefix: string;
  readonly #table: TensorTable;
  readonly #blocks = new Map<string, readonly StoredBlock[]>();
  readonly #finite = new FiniteCheck();
  #readBytes = 0;

  constructor(prefix: string, table: TensorTable) {
    this.#prefix = prefix;
    this.#table = table;
  }

  get readBytes(): number {
    return this.#readBytes;
  }

  blocks(segmentName: string, weightNames: readonly string[]): readonly StoredBlock[] {
    const key = `${this.#prefix}/${segmentName}`;
    const known = this.#blocks.get(key);
    if (known) return known;
    const { placed, endByte } = placeTensors(weightNames.map((name) => this.#entry(name)));
    const tensors = placed.map(({ name, dtype, shape, offsetBytes }) => ({
      name,
      stored: { dtype, shape },
      offsetBytes,
    }));
    const blocks = [{ key, storedBytes: alignUp(endByte, TENSOR_ALIGNMENT_BYTES), tensors }];
    this.#blocks.set(key, blocks);
    return blocks;
  }

  async read(block: StoredBlock, startByte: number, into: Uint8Array, signal?: AbortSignal): Promise<ReadReport> {
    const endByte = startByte + into.byteLength;
    const parts: { readonly entry: TensorEntry; readonly fromByte: number; readonly bytes: Uint8Array }[] = [];
    const whole: { readonly entry: TensorEntry; readonly bytes: Uint8Array }[] = [];
    for (const { name, offsetBytes } of block.tensors) {
      const entry = this.#entry(name);
      const from = Math.max(startByte, offsetBytes);
      const to = Math.min(endByte, offsetBytes + entry.endByte - entry.startByte);
      if (from >= to) continue;
      const bytes = into.subarray(from - startByte, to - startByte);
      for (let at = 0; at < bytes.byteLength; at += PART_BYTES) {
        parts.push({
          entry,
          fromByte: entry.startByte + from - offsetBytes + at,
          bytes: bytes.subarray(at, Math.min(bytes.byteLength, at + PART_BYTES)),
        });
      }
      whole.push({ entry, bytes });
    }
    let next = 0;
    const readSome = async () => {
      for (let part = parts[next++]; part; part = parts[next++]) {
        await part.entry.source.read(part.fromByte, part.bytes, signal);
        this.#readBytes += part.bytes.byteLength;
      }
    };
    // All of them end before a failure is passed on: a late read must not write into memory that is someone else's by then.
    const ended = await Promise.allSettled(Array.from({ length: Math.min(READS_AT_ONCE, parts.length) }, readSome));
    for (const result of ended) if (result.status === "rejected") throw result.reason;
    for (const { entry, bytes } of whole) this.#finite.check(entry, entry.source.name, bytes);
    return { diskBytes: parts.reduce((sum, { bytes }) => sum + bytes.byteLength, 0), decodeMs: 0 };
  }

  #entry(name: string): TensorEntry {
    const entry = this.#table.get(name);
    if (!entry) throw new Error(`no weight named ${name} in the table`);
    return entry;
  }
}

/** For people: a tensor of an adapter has a name of ours, made of the layer that it is for and what it is there. */
function toldName(name: string): string {
  const own = adapterTensor(name);
  return own ? `the ${own.role} for layer "${own.layer}"` : `tensor "${name}"`;
}

/** Looks for NaN and infinities, once a tensor. */
export class FiniteCheck {
  readonly #checked = new Set<string>();

  /**
   * Throws ArtifactError `E_NONFINITE`. A tensor that arrives in parts is looked at each time it passes: parts are few, and only
   * on devices with staging.
   */
  check(tensor: Pick<TensorEntry, "name" | "dtype" | "shape">, source: string, bytes: Uint8Array): void {
    const { name, dtype } = tensor;
    if (this.#checked.has(name)) return;
    const bad = firstNonFinite(dtype, bytes);
    if (bad !== undefined) {
      throw new ArtifactError({
        code: "E_NONFINITE",
        subject: source,
        problem: `${toldName(name)} holds ${bad.count} values that are NaN or infinite, first at index ${bad.index}`,
        next: "fetch this file again, or use another one",
      });
    }
    if (bytes.byteLength === tensorBytes(tensor)) this.#checked.add(name);
  }
}
