/**
 * @file LZR2 reader: records from front to back, one in memory at a time, each claim checked against the bytes that remain
 * before anything is allocated for it. The byte table is docs/formats/lzr2.md.
 */
import { freeIndices, indexBytes, maxPackedBytes, unpackIndices } from "../codec/indices.ts";
import { decodeLattice, MAX_LATTICE_DIMENSION, mayOverflow } from "../codec/lattice.ts";
import { OverlayTarget, overlayRowBytes } from "../codec/overlay.ts";
import { Scratch } from "../codec/scratch.ts";
import { ArtifactError } from "../errors.ts";
import type { ByteSource } from "../source/source.ts";
import { elementCount } from "../tensor/dtype.ts";
import { RecordBytes } from "./lzr2-bytes.ts";
import { CHUNK_BYTES, SequentialReader } from "./sequential.ts";
import { describeForeign } from "./sniff.ts";

/** Limits with their reasons: SDXL's longest key has 81 characters, its largest tensor 13 M elements. */
export const LZR2_LIMITS = {
  maxKeyBytes: 1024,
  maxAxes: 8,
  maxElements: 2 ** 31,
  /** A shape that no model confirms may not make us allocate more than 64 MiB of fp16. */
  maxUnconfirmedElements: 2 ** 25,
  /** Overlay rows in memory at a time; a multiple of 8 and of 12. */
  overlayChunkBytes: 3 * 1024 ** 2,
};

/** Blocks a row may have beyond twice what it needs: padding matters in short rows only. */
const SPARE_BLOCKS = 16;

/** `B`: the kind of memory that `allocateWeights` gives. */
export interface Lzr2Record<B extends ArrayBufferLike = ArrayBuffer> {
  readonly key: string;
  readonly shape: readonly number[];
  /** 1: with payload. Else the base model's weight stays. */
  readonly tf: number;
  /** fp16 bits, row-major [C, N]; absent without payload, and with `headersOnly`. */
  readonly weight?: Uint16Array<B>;
  /** Lattice dimension; 0 without payload. */
  readonly dp: number;
  /** Lattice blocks stored for each row. */
  readonly blocks: number;
  readonly overlayRows: number;
  /** Overlay rows outside of the matrix: skipped, as the published loader does. Not counted with `headersOnly`. */
  readonly skippedOverlayRows: number;
  readonly startByte: number;
  /** Exclusive. */
  readonly endByte: number;
}

export interface ReadLzr2Options<B extends ArrayBufferLike = ArrayBuffer> {
  readonly signal?: AbortSignal | undefined;
  /**
   * As lenient as the published loader: a record with an unknown tf counts as one without payload, and of two values for
   * one cell the last one wins. Both are refused otherwise.
   */
  readonly compat?: boolean;
  /**
   * Refuses a record whose shape differs before its payload is decoded. Undefined: not known, so that the record is only
   * decoded up to `LZR2_LIMITS.maxUnconfirmedElements`.
   */
  readonly expectedShape?: (key: string) => readonly number[] | undefined;
  /** Jumps over overlays and decodes no weights: lists a 22 GB file in seconds. */
  readonly headersOnly?: boolean;
  /** Default 4 MiB; three such buffers are held. */
  readonly readChunkBytes?: number;
  /** Memory for a record's weights, whatever it holds. Default: new arrays. */
  readonly allocateWeights?: (elements: number, key: string) => Uint16Array<B>;
  /** Goes on at a record that was found before. */
  readonly from?: Lzr2Position;
}

/** A place between two records. */
export interface Lzr2Position {
  readonly startByte: number;
  /** Of the record that begins there, counted from 1. */
  readonly number: number;
  /** Keys of the records before, and where they begin. */
  readonly keys: ReadonlyMap<string, number>;
}

/**
 * Memory that `readLzr2` holds beside weights of up to so many elements: chunks of the file, overlay rows, one bit a cell, and
 * indices of the usual length, packed and not.
 */
export function lzr2MemoryBytes(elements: number): number {
  const indices = Math.ceil(elements / 2) * 2;
  return 3 * CHUNK_BYTES + LZR2_LIMITS.overlayChunkBytes + Math.ceil(elements / 8) + 2 * indices;
}

/** Yields records in file order, one in memory at a time. Throws ArtifactError with the record's number and byte. */
export async function* readLzr2<B extends ArrayBufferLike = ArrayBuffer>(
  source: ByteSource,
  options: ReadLzr2Options<B> = {},
): AsyncGenerator<Lzr2Record<B>> {
  const reader = new SequentialReader(source, options.signal, options.readChunkBytes, options.headersOnly ? 1 : 2);
  await requireSignature(source, reader);
  const { from } = options;
  const rowsBytes = Math.min(LZR2_LIMITS.overlayChunkBytes, source.byteLength);
  const memory: Memory = {
    rows: new Uint32Array(options.headersOnly ? 0 : Math.ceil(rowsBytes / 4)),
    packed: new Scratch(),
    written: new Scratch(),
  };
  const keys = new Map(from?.keys);
  if (from) reader.skip(from.startByte - reader.offset);
  for (let number = from?.number ?? 1; reader.remainingBytes > 0; number++) {
    options.signal?.throwIfAborted();
    yield await new RecordReader(new RecordBytes(reader, number), options, keys, memory).read();
  }
}

async function requireSignature(source: ByteSource, reader: SequentialReader): Promise<void> {
  const magic = await reader.take(Math.min(4, source.byteLength));
  const found = String.fromCharCode(...magic);
  if (found === "LZR2") return;
  const head = new Uint8Array(Math.min(64, source.byteLength));
  await source.read(0, head);
  const foreign = describeForeign(head);
  throw new ArtifactError({
    code: "E_LZR_SIGNATURE",
    subject: source.name,
    problem: `Invalid Signature (found ${JSON.stringify(found)}, expected "LZR2") at byte 0${foreign ? `: ${foreign.problem}` : ""}`,
    next: foreign?.next ?? "fetch the artifact again, or name an LZR2 file",
  });
}

/** What every record uses in its turn. */
interface Memory {
  /** Overlay rows on their way. */
  readonly rows: Uint32Array<ArrayBuffer>;
  readonly packed: Scratch;
  /** One bit a cell. */
  readonly written: Scratch;
}

class RecordReader<B extends ArrayBufferLike> {
  readonly #bytes: RecordBytes;
  readonly #options: ReadLzr2Options<B>;
  /** Keys seen so far, and where. */
  readonly #keys: Map<string, number>;
  readonly #memory: Memory;

  constructor(bytes: RecordBytes, options: ReadLzr2Options<B>, keys: Map<string, number>, memory: Memory) {
    this.#bytes = bytes;
    this.#options = options;
    this.#keys = keys;
    this.#memory = memory;
  }

  async read(): Promise<Lzr2Record<B>> {
    const key = await this.#key();
    const shape = await this.#shape(key);
    const [tf] = await this.#bytes.take(1, "its kind");
    const head = { key, shape, tf: tf!, startByte: this.#bytes.startByte };
    if (tf !== 1) {
      if (tf !== 0 && !this.#options.compat) {
        const next = "use --compat to keep the base weight for such records";
        throw this.#bytes.refuse("E_LZR_TYPE", `tf ${tf}, allowed 0 and 1`, next);
      }
      return { ...head, dp: 0, blocks: 0, overlayRows: 0, skippedOverlayRows: 0, endByte: this.#bytes.offset };
    }
    const rows = shape[0]!;
    const columns = elementCount(shape) / rows;
    this.#requireDecodable(key, shape);
    const dp = await this.#bytes.u32("dp");
    if (dp < 1 || dp > MAX_LATTICE_DIMENSION) {
      throw this.#bytes.refuse("E_LZR_DP", `dp ${dp}, allowed 1..${MAX_LATTICE_DIMENSION}`);
    }
    this.#bytes.skip(rows * dp * 4, "a");
    const mean = await this.#bytes.floats(rows, "mean");
    const scale = await this.#bytes.floats(rows, "scale");
    const indices = await this.#indices(rows, columns, dp);
    const blocks = indices.length / rows;
    const overlayRows = await this.#bytes.u32("nOverlay");
    const rowBytes = overlayRowBytes(rows, blocks, dp);
    this.#bytes.requireRemaining(overlayRows * rowBytes, `${overlayRows} overlay rows`);
    const counts = { dp, blocks, overlayRows };
    if (this.#options.headersOnly) {
      this.#bytes.skip(overlayRows * rowBytes, "its overlay");
      return { ...head, ...counts, skippedOverlayRows: 0, endByte: this.#bytes.offset };
    }
    const out = this.#options.allocateWeights?.(rows * columns, key);
    const weight = decodeLattice({ rows, columns, dp, blocks }, indices, mean, scale, out);
    freeIndices(indices);
    const written = this.#options.compat ? undefined : this.#memory.written;
    const target = new OverlayTarget(weight, rows, columns, written);
    await this.#overlay(target, overlayRows, rowBytes);
    if (target.sawNonFinite || mayOverflow(mean, scale))
      this.#bytes.requireFinite("f16", weight, "its weights in fp16");
    const skippedOverlayRows = target.skippedRows;
    return { ...head, weight, ...counts, skippedOverlayRows, endByte: this.#bytes.offset };
  }

  async #key(): Promise<string> {
    const keyBytes = await this.#bytes.u32("keyLen");
    const { maxKeyBytes } = LZR2_LIMITS;
    if (keyBytes < 1 || keyBytes > maxKeyBytes) {
      throw this.#bytes.refuse("E_LZR_HEADER", `keyLen ${keyBytes}, allowed 1..${maxKeyBytes}`);
    }
    const keyRaw = await this.#bytes.take(keyBytes, "its key");
    let key: string;
    try {
      key = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(keyRaw);
    } catch {
      throw this.#bytes.refuse("E_LZR_HEADER", "the key is not UTF-8");
    }
    const first = this.#keys.get(key);
    if (first !== undefined) {
      throw this.#bytes.refuse(
        "E_DUP_KEY",
        `${JSON.stringify(key)} stands twice, at bytes ${first} and ${this.#bytes.startByte}`,
      );
    }
    this.#keys.set(key, this.#bytes.startByte);
    return key;
  }

  async #shape(key: string): Promise<readonly number[]> {
    const axes = await this.#bytes.u32("ndim");
    const { maxAxes, maxElements } = LZR2_LIMITS;
    if (axes < 1 || axes > maxAxes) throw this.#bytes.refuse("E_LZR_HEADER", `ndim ${axes}, allowed 1..${maxAxes}`);
    const shape: number[] = [];
    let elements = 1;
    for (let axis = 0; axis < axes; axis++) {
      const dim = await this.#bytes.u32("shape");
      elements *= dim;
      if (dim < 1 || elements > maxElements) {
        throw this.#bytes.refuse(
          "E_LZR_HEADER",
          `shape [${[...shape, dim]}] has ${elements} elements, allowed 1..${maxElements}`,
        );
      }
      shape.push(dim);
    }
    const expected = this.#options.expectedShape?.(key);
    if (expected && (expected.length !== axes || expected.some((dim, axis) => dim !== shape[axis]))) {
      throw this.#bytes.refuse("E_SCHEMA", `${JSON.stringify(key)} has shape [${shape}], expected [${expected}]`);
    }
    return shape;
  }

  #requireDecodable(key: string, shape: readonly number[]): void {
    const { maxUnconfirmedElements } = LZR2_LIMITS;
    const elements = elementCount(shape);
    if (elements <= maxUnconfirmedElements || this.#options.expectedShape?.(key)) return;
    const problem = `shape [${shape}] has ${elements} elements, allowed 1..${maxUnconfirmedElements} for a key of no known model`;
    throw this.#bytes.refuse("E_LZR_HEADER", problem);
  }

  async #indices(rows: number, columns: number, dp: number): Promise<Uint16Array<ArrayBuffer>> {
    const packedBytes = await this.#bytes.u32("zlen");
    const packedAt = this.#bytes.offset;
    // Rows are cut to N, so that spare blocks do no harm, but a bomb would: twice what the rows need, and a little.
    const maxBytes = indexBytes({ rows, columns, dp }, Math.ceil(columns / dp) + SPARE_BLOCKS);
    this.#bytes.requireRemaining(packedBytes, "its indices");
    if (packedBytes > maxPackedBytes(maxBytes)) {
      throw this.#bytes.refuse(
        "E_LZR_ZLIB",
        `zlen ${packedBytes}, allowed up to ${maxPackedBytes(maxBytes)} at byte ${packedAt}`,
      );
    }
    const packed = this.#memory.packed.take(packedBytes);
    await this.#bytes.fill(packed);
    const likelyBytes = indexBytes({ rows, columns, dp }, 0);
    const unpacked = await unpackIndices(packed, { rows, dp, likelyBytes, maxBytes });
    if (unpacked instanceof Uint16Array) return unpacked;
    throw this.#bytes.refuse(unpacked.code, `${unpacked.problem} at byte ${packedAt}`);
  }

  /** Chunk by chunk: at full size this section is most of a 22 GB file. The caller checked its length. */
  async #overlay(target: OverlayTarget, overlayRows: number, rowBytes: 8 | 12): Promise<void> {
    const rowsAtOnce = LZR2_LIMITS.overlayChunkBytes / rowBytes;
    const words = this.#memory.rows;
    const chunk = new Uint8Array(words.buffer);
    for (let done = 0; done < overlayRows; ) {
      const count = Math.min(rowsAtOnce, overlayRows - done);
      const startByte = this.#bytes.offset;
      await this.#bytes.fill(chunk.subarray(0, count * rowBytes));
      this.#options.signal?.throwIfAborted();
      const conflict = target.apply(words, count, rowBytes);
      if (conflict >= 0) {
        const at = startByte + conflict * rowBytes;
        const next = "fetch the artifact again, or use --compat to let the last value win";
        throw this.#bytes.refuse(
          "E_LZR_OVERLAY",
          `overlay row ${done + conflict} sets a cell to a second value at byte ${at}`,
          next,
        );
      }
      done += count;
    }
  }
}
