/** @file The tensor table: what every container's header boils down to. */
import type { ByteSource } from "../source/source.ts";
import type { DType } from "../tensor/dtype.ts";

/** One stored tensor, uncompressed and contiguous, row-major, little-endian. */
export interface TensorEntry {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly source: ByteSource;
  /** Absolute in `source`. */
  readonly startByte: number;
  /** Exclusive. */
  readonly endByte: number;
}

export type TensorTable = ReadonlyMap<string, TensorEntry>;
