/** @file Inputs of the passes of a step, as the UNet and the networks beside it take them: rows put together, time embeddings by call. */
import { timestepEmbedding } from "../embedding.ts";
import { timeEmbeddingDim, type UNetHalf } from "./unet-blocks.ts";

/** A call to come: its timestep, and what is added to it for each answer of the batch [A]. */
export interface CallRows {
  readonly timestep: number;
  readonly additions: readonly Float32Array[];
}

/** What a time graph reads for these calls: rows are call-major. */
export function timeRows(calls: readonly CallRows[], config: UNetHalf): Map<string, Float32Array> {
  const timesteps = calls.flatMap(({ timestep, additions }) => additions.map(() => timestep));
  return new Map([
    ["sinusoid", timestepEmbedding(timesteps, timeEmbeddingDim(config), config)],
    ["addition", concatenated(calls.flatMap(({ additions }) => additions))],
  ]);
}

/** The part of each that belongs to one of `count` calls. */
export function* ofCall(
  values: ReadonlyMap<string, Float32Array>,
  { index, count }: { readonly index: number; readonly count: number },
): Generator<readonly [string, Float32Array], void, undefined> {
  for (const [name, rows] of values) {
    const stride = rows.length / count;
    yield [name, rows.subarray(index * stride, (index + 1) * stride)];
  }
}

export function concatenated(rows: readonly Float32Array[]): Float32Array<ArrayBuffer> {
  const whole = new Float32Array(rows.reduce((sum, row) => sum + row.length, 0));
  let offset = 0;
  for (const row of rows) {
    whole.set(row, offset);
    offset += row.length;
  }
  return whole;
}
