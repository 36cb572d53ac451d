/** @file The bytes of one LZR2 record from front to back: each claim is checked against what remains, each refusal names the record. */
import { ArtifactError } from "../errors.ts";
import { firstNonFinite } from "../tensor/finite.ts";
import type { SequentialReader } from "./sequential.ts";

export class RecordBytes {
  /** Of the record. */
  readonly startByte: number;
  readonly #reader: SequentialReader;
  readonly #number: number;

  /** `number`: of the record that begins where the reader is, counted from 1. */
  constructor(reader: SequentialReader, number: number) {
    this.#reader = reader;
    this.#number = number;
    this.startByte = reader.offset;
  }

  /** Of the next byte, in the file. */
  get offset(): number {
    return this.#reader.offset;
  }

  /** Fills all of `into`; its length has been checked by `requireRemaining`. */
  async fill(into: Uint8Array): Promise<void> {
    await this.#reader.fill(into);
  }

  /** `what` the bytes are is named in the refusal where they aren't there. */
  async take(lengthBytes: number, what: string): Promise<Uint8Array<ArrayBuffer>> {
    this.requireRemaining(lengthBytes, what);
    return await this.#reader.take(lengthBytes);
  }

  async u32(what: string): Promise<number> {
    this.requireRemaining(4, what);
    return await this.#reader.u32();
  }

  /** Finite ones. */
  async floats(count: number, what: string): Promise<Float32Array> {
    const values = new Float32Array((await this.take(count * 4, what)).buffer);
    this.requireFinite("f32", values, what);
    return values;
  }

  skip(lengthBytes: number, what: string): void {
    this.requireRemaining(lengthBytes, what);
    this.#reader.skip(lengthBytes);
  }

  requireRemaining(neededBytes: number, what: string): void {
    const { remainingBytes, offset } = this.#reader;
    if (neededBytes <= remainingBytes) return;
    const problem = `${what} needs ${neededBytes} bytes at offset ${offset}, file ends after ${remainingBytes}`;
    throw this.refuse("E_TRUNCATED", problem);
  }

  requireFinite(dtype: "f16" | "f32", values: Uint16Array | Float32Array, what: string): void {
    const bad = firstNonFinite(dtype, new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    if (!bad) return;
    const problem = `${what}: ${bad.count} values are NaN or infinite, first at index ${bad.index}`;
    throw this.refuse("E_NONFINITE", problem);
  }

  refuse(code: string, problem: string, next = "fetch the artifact again"): ArtifactError {
    const subject = this.#reader.source.name;
    const place = `record ${this.#number} at byte ${this.startByte}`;
    return new ArtifactError({ code, subject, problem: `${place}: ${problem}`, next });
  }
}
