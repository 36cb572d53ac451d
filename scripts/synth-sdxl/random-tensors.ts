/** @file Files of seeded random fp16 tensors, of such sizes that activations stay finite through many blocks. */
import { type FileHandle, open } from "node:fs/promises";
import { elementCount, numberToF16 } from "../../src/tensor/dtype.ts";
import { safetensorsFront } from "./safetensors-front.ts";
import { uniforms } from "./uniforms.ts";

export type Schema = ReadonlyMap<string, readonly number[]>;

/** Unit normals to cut tensors from: long enough that no two tensors start alike. */
const POOL_ELEMENTS = 2 ** 22;
const WRITE_ELEMENTS = 2 ** 20;

function normals(seed: number): Float32Array {
  const next = uniforms(seed);
  const pool = new Float32Array(POOL_ELEMENTS);
  for (let i = 0; i < pool.length; i += 2) {
    const radius = Math.sqrt(-2 * Math.log(1 - next()));
    const angle = 2 * Math.PI * next();
    pool[i] = radius * Math.cos(angle);
    pool[i + 1] = radius * Math.sin(angle);
  }
  return pool;
}

/** Mean and spread that keep activations finite through 70 transformer blocks: norms near 1, residual branches small. */
function statistics(name: string, shape: readonly number[]): { mean: number; spread: number } {
  if (shape.length === 1) return /norm.*\.weight$/.test(name) ? { mean: 1, spread: 0.05 } : { mean: 0, spread: 0.02 };
  if (/embedding\.weight$/.test(name)) return { mean: 0, spread: 0.02 };
  const fanIn = elementCount(shape) / shape[0]!;
  const residual = /(to_out\.0|net\.2|conv2|proj_out|out_proj|fc2)\.weight$/.test(name);
  return { mean: 0, spread: (residual ? 0.3 : 0.9) / Math.sqrt(fanIn) };
}

export class RandomTensors {
  readonly #pool: Float32Array;
  readonly #offsets: () => number;

  constructor(seed: number) {
    this.#pool = normals(seed);
    this.#offsets = uniforms(seed + 1);
  }

  /** Bytes of the file. */
  async write(file: string, schema: Schema): Promise<number> {
    const tensors = Array.from(schema, ([name, shape]) => ({ name, dtype: "f16" as const, shape }));
    const { front, dataBytes } = safetensorsFront(tensors, { format: "pt" });
    await using handle = await open(file, "w");
    await handle.write(front);
    for (const [name, shape] of schema) await this.#writeTensor(handle, name, shape);
    return front.length + dataBytes;
  }

  /** One pass over the pool a tensor: scaled and rounded once, then written from a random offset, again and again. */
  async #writeTensor(handle: FileHandle, name: string, shape: readonly number[]): Promise<void> {
    const { mean, spread } = statistics(name, shape);
    const count = elementCount(shape);
    const first = Math.floor(this.#offsets() * POOL_ELEMENTS);
    const block = new Uint16Array(Math.min(count, POOL_ELEMENTS));
    for (let i = 0; i < block.length; i++) {
      block[i] = numberToF16(mean + spread * this.#pool[(first + i) % POOL_ELEMENTS]!);
    }
    for (let done = 0; done < count; ) {
      // Each round is shifted by a prime, so that rows of a matrix don't repeat.
      const from = (done * 7919) % block.length;
      const length = Math.min(count - done, block.length - from, WRITE_ELEMENTS);
      await handle.write(new Uint8Array(block.buffer, from * 2, length * 2));
      done += length;
    }
  }
}
