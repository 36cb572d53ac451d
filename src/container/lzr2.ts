/**
 * @file LZR2 reader: records from front to back, one in memory at a time, each claim checked against the bytes that remain
 * before anything is allocated for it. The byte table is docs/formats/lzr2.md.
 */
import { inflateSync } from "node:zlib";
import { codebookSize, decodeLattice, MAX_LATTICE_DIMENSION } from "../codec/lattice.ts";
import { ArtifactError } from "../errors.ts";
import type { ByteSource } from "../source/source.ts";
import { elementCount, numberToF16 } from "../tensor/dtype.ts";
import { SequentialReader } from "./sequential.ts";

/** Limits with their reasons: SDXL's longest key has 81 characters, its largest tensor 13 M elements. */
export const LZR2_LIMITS = { maxKeyBytes: 1024, maxAxes: 8, maxElements: 2 ** 31, overlayChunkBytes: 4 * 1024 ** 2 };

/** At `max(C, nBlocks) dp` from here on, overlay rows name row and column in u32. */
export const WIDE_OVERLAY_FROM = 65536;

export interface Lzr2Record {
  readonly key: string;
  readonly shape: readonly number[];
  /** 1: with payload. Else the base model's weight stays. */
  readonly tf: number;
  /** fp16 bits, row-major [C, N]; absent without payload. */
  readonly weight?: Uint16Array<ArrayBuffer>;
  /** Lattice dimension; 0 without payload. */
  readonly dp: number;
  readonly overlayRows: number;
  /** Overlay rows outside of the matrix: skipped, as the published loader does. */
  readonly skippedOverlayRows: number;
  readonly startByte: number;
  /** Exclusive. */
  readonly endByte: number;
}

export interface ReadLzr2Options {
  readonly signal?: AbortSignal;
  /** Treat records with an unknown tf as without payload instead of refusing them. */
  readonly compat?: boolean;
  /** Refuses a record whose shape differs before its payload is decoded; undefined: not checked here. */
  readonly expectedShape?: (key: string) => readonly number[] | undefined;
}

/** Yields records in file order. Throws ArtifactError with the record's number and byte. */
export async function* readLzr2(source: ByteSource, options: ReadLzr2Options = {}): AsyncGenerator<Lzr2Record> {
  const reader = new SequentialReader(source, options.signal);
  await requireSignature(source, reader);
  const keys = new Map<string, number>();
  for (let number = 1; reader.remainingBytes > 0; number++) {
    options.signal?.throwIfAborted();
    const record = await new RecordReader(reader, number, options).read();
    const first = keys.get(record.key);
    if (first !== undefined) {
      const problem = `the key ${JSON.stringify(record.key)} stands twice at bytes ${first} and ${record.startByte}`;
      throw refusal(source, "E_DUP_KEY", problem);
    }
    keys.set(record.key, record.startByte);
    yield record;
  }
}

async function requireSignature(source: ByteSource, reader: SequentialReader): Promise<void> {
  const magic = await reader.take(Math.min(4, source.byteLength));
  const found = String.fromCharCode(...magic);
  if (found === "LZR2") return;
  const shown = JSON.stringify(found);
  throw new ArtifactError({
    code: "E_LZR_SIGNATURE",
    subject: source.name,
    problem: `Invalid Signature (found ${shown}, expected "LZR2") at byte 0`,
    next: "fetch the artifact again, or name an LZR2 file",
  });
}

class RecordReader {
  readonly #reader: SequentialReader;
  readonly #number: number;
  readonly #options: ReadLzr2Options;
  readonly #startByte: number;

  constructor(reader: SequentialReader, number: number, options: ReadLzr2Options) {
    this.#reader = reader;
    this.#number = number;
    this.#options = options;
    this.#startByte = reader.offset;
  }

  async read(): Promise<Lzr2Record> {
    const key = await this.#key();
    const shape = await this.#shape(key);
    const [tf] = await this.#take(1, "its kind");
    const head = { key, shape, tf: tf!, startByte: this.#startByte };
    if (tf !== 1) {
      if (tf !== 0 && !this.#options.compat) {
        throw this.#refuse("E_LZR_TYPE", `tf ${tf}, allowed 0 and 1`, "use --compat to keep the base weight for such records");
      }
      return { ...head, dp: 0, overlayRows: 0, skippedOverlayRows: 0, endByte: this.#reader.offset };
    }
    const rows = shape[0]!;
    const columns = elementCount(shape) / rows;
    const dp = await this.#u32("dp");
    if (dp < 1 || dp > MAX_LATTICE_DIMENSION) {
      throw this.#refuse("E_LZR_DP", `dp ${dp}, allowed 1..${MAX_LATTICE_DIMENSION}`);
    }
    await this.#floats(rows * dp, "a");
    const mean = await this.#floats(rows, "mean");
    const scale = await this.#floats(rows, "scale");
    this.#requireFinite(mean, "mean");
    this.#requireFinite(scale, "scale");
    const indices = await this.#indices(rows, columns, dp);
    const blocks = indices.length / rows;
    const weights = decodeLattice({ rows, columns, dp, blocks }, indices, mean, scale);
    const overlay = await this.#overlay(weights, rows, columns, Math.max(rows, blocks) * dp >= WIDE_OVERLAY_FROM);
    const weight = this.#toF16(weights);
    return { ...head, weight, dp, ...overlay, endByte: this.#reader.offset };
  }

  async #key(): Promise<string> {
    const keyBytes = await this.#u32("keyLen");
    const { maxKeyBytes } = LZR2_LIMITS;
    if (keyBytes < 1 || keyBytes > maxKeyBytes) {
      throw this.#refuse("E_LZR_HEADER", `keyLen ${keyBytes}, allowed 1..${maxKeyBytes}`);
    }
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(await this.#take(keyBytes, "its key"));
    } catch (error) {
      if (error instanceof TypeError) throw this.#refuse("E_LZR_HEADER", "the key is not UTF-8");
      throw error;
    }
  }

  async #shape(key: string): Promise<readonly number[]> {
    const axes = await this.#u32("ndim");
    const { maxAxes, maxElements } = LZR2_LIMITS;
    if (axes < 1 || axes > maxAxes) throw this.#refuse("E_LZR_HEADER", `ndim ${axes}, allowed 1..${maxAxes}`);
    const shape: number[] = [];
    let elements = 1;
    for (let axis = 0; axis < axes; axis++) {
      const dim = await this.#u32("shape");
      elements *= dim;
      if (dim < 1 || elements > maxElements) {
        throw this.#refuse("E_LZR_HEADER", `shape [${[...shape, dim]}] has ${elements} elements, allowed 1..${maxElements}`);
      }
      shape.push(dim);
    }
    const expected = this.#options.expectedShape?.(key);
    if (expected && (expected.length !== axes || expected.some((dim, axis) => dim !== shape[axis]))) {
      throw this.#refuse("E_SCHEMA", `${JSON.stringify(key)} has shape [${shape}], expected [${expected}]`);
    }
    return shape;
  }

  async #indices(rows: number, columns: number, dp: number): Promise<Uint16Array> {
    const packedBytes = await this.#u32("zlen");
    const packedAt = this.#reader.offset;
    const packed = await this.#take(packedBytes, "its indices");
    // More blocks than a row needs are legal (rows are cut), but not without bound: one block too many, no more.
    const maxBytes = rows * (Math.ceil(columns / dp) + 1) * 2;
    const wrong = (problem: string) => this.#refuse("E_LZR_ZLIB", `${problem} at byte ${packedAt}`);
    if (packedBytes === 0) return new Uint16Array(0);
    let inflated: Buffer;
    try {
      const result = inflateSync(packed, { maxOutputLength: maxBytes, info: true }) as unknown as {
        readonly buffer: Buffer;
        readonly engine: { readonly bytesWritten: number };
      };
      if (result.engine.bytesWritten !== packedBytes) {
        throw wrong(`${packedBytes - result.engine.bytesWritten} bytes follow the end of the zlib stream`);
      }
      inflated = result.buffer;
    } catch (error) {
      if (error instanceof ArtifactError) throw error;
      const code = error instanceof Error && "code" in error ? error.code : "unreadable";
      throw wrong(code === "ERR_BUFFER_TOO_LARGE" ? `expected at most ${maxBytes} bytes, stream continues` : `zlib stream is damaged (${code})`);
    }
    if (inflated.byteLength % (rows * 2) !== 0) {
      throw wrong(`${inflated.byteLength} bytes of indices are no whole number of blocks for ${rows} rows`);
    }
    const indices = new Uint16Array(inflated.byteLength / 2);
    new Uint8Array(indices.buffer).set(inflated);
    const size = codebookSize(dp);
    const bad = indices.findIndex((index) => index >= size);
    if (bad >= 0) {
      const blocks = indices.length / rows;
      const place = `row ${Math.floor(bad / blocks)} block ${bad % blocks}`;
      throw this.#refuse("E_LZR_INDEX", `${place}: index ${indices[bad]}, codebook has ${size}`);
    }
    return indices;
  }

  /** Overwrites cells chunk by chunk: at full size this section is most of a 22 GB file. */
  async #overlay(
    weights: Float32Array,
    rows: number,
    columns: number,
    wide: boolean,
  ): Promise<{ overlayRows: number; skippedOverlayRows: number }> {
    const overlayRows = await this.#u32("nOverlay");
    const rowBytes = wide ? 12 : 8;
    this.#requireRemaining(overlayRows * rowBytes, `${overlayRows} overlay rows`);
    const rowsAtOnce = Math.floor(LZR2_LIMITS.overlayChunkBytes / rowBytes);
    const chunk = new Uint8Array(Math.min(rowsAtOnce, overlayRows) * rowBytes);
    const words = new Uint32Array(chunk.buffer);
    const floats = new Float32Array(chunk.buffer);
    let skippedOverlayRows = 0;
    for (let done = 0; done < overlayRows; ) {
      const count = Math.min(rowsAtOnce, overlayRows - done);
      await this.#reader.fill(chunk.subarray(0, count * rowBytes));
      this.#options.signal?.throwIfAborted();
      for (let i = 0; i < count; i++) {
        const place = wide ? words[i * 3]! : words[i * 2]! & 0xffff;
        const column = wide ? words[i * 3 + 1]! : words[i * 2]! >>> 16;
        const value = floats[wide ? i * 3 + 2 : i * 2 + 1]!;
        if (place < rows && column < columns) weights[place * columns + column] = value;
        else skippedOverlayRows++;
      }
      done += count;
    }
    return { overlayRows, skippedOverlayRows };
  }

  #toF16(weights: Float32Array): Uint16Array<ArrayBuffer> {
    const out = new Uint16Array(weights.length);
    for (let i = 0; i < weights.length; i++) {
      const bits = numberToF16(weights[i]!);
      if ((bits & 0x7c00) === 0x7c00) {
        throw this.#refuse("E_NONFINITE", `weight ${i} is ${weights[i]}, not finite in fp16 (at most 65504)`);
      }
      out[i] = bits;
    }
    return out;
  }

  #requireFinite(values: Float32Array, what: string): void {
    const bad = values.findIndex((value) => !Number.isFinite(value));
    if (bad >= 0) throw this.#refuse("E_NONFINITE", `${what} of row ${bad} is ${values[bad]}`);
  }

  async #floats(count: number, what: string): Promise<Float32Array> {
    return new Float32Array((await this.#take(count * 4, what)).buffer);
  }

  async #u32(what: string): Promise<number> {
    this.#requireRemaining(4, what);
    return await this.#reader.u32();
  }

  async #take(lengthBytes: number, what: string): Promise<Uint8Array<ArrayBuffer>> {
    this.#requireRemaining(lengthBytes, what);
    return await this.#reader.take(lengthBytes);
  }

  #requireRemaining(neededBytes: number, what: string): void {
    const { remainingBytes, offset } = this.#reader;
    if (neededBytes <= remainingBytes) return;
    const problem = `${what} needs ${neededBytes} bytes at offset ${offset}, file ends after ${remainingBytes}`;
    throw this.#refuse("E_TRUNCATED", problem);
  }

  #refuse(code: string, problem: string, next = "fetch the artifact again"): ArtifactError {
    return refusal(this.#reader.source, code, `record ${this.#number} at byte ${this.#startByte}: ${problem}`, next);
  }
}

function refusal(source: ByteSource, code: string, problem: string, next = "fetch the artifact again"): ArtifactError {
  return new ArtifactError({ code, subject: source.name, problem, next });
}
