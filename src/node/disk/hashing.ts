/** @file A thread that takes checksums of decoded tensors where they lie in shared memory, and how it is asked. */
import { Worker } from "node:worker_threads";
import { type Hasher, type HashThreads, LOCAL_HASHER, type Piece, type PieceSum } from "../../store/pack/hasher.ts";
import { siblingModule } from "../installation.ts";

/** What hash-thread.ts is asked. */
export interface HashJob {
  readonly id: number;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly pieces: readonly Piece[];
}

/** What it answers. */
export interface HashAnswer {
  readonly id: number;
  readonly sums: readonly PieceSum[];
}

export class HashThread implements Hasher {
  readonly #memory: Uint8Array<SharedArrayBuffer>;
  readonly #worker: Worker;
  readonly #waiting = new Map<number, PromiseWithResolvers<readonly PieceSum[]>>();
  #next = 0;
  #failure: Error | undefined;

  /** `memory`: what the thread can see, and the tensors lie in. */
  constructor(memory: Uint8Array<SharedArrayBuffer>) {
    this.#memory = memory;
    this.#worker = new Worker(siblingModule(import.meta.url, "./hash-thread"), {
      name: "solvay-hash",
      workerData: memory,
      resourceLimits: { maxYoungGenerationSizeMb: 1, maxOldGenerationSizeMb: 16 },
    });
    this.#worker.on("message", ({ id, sums }: HashAnswer) => {
      this.#waiting.get(id)?.resolve(sums);
      this.#waiting.delete(id);
    });
    this.#worker.on("error", (error) => this.#fail(error));
    this.#worker.on("exit", (code) => this.#fail(new Error(`the hash thread ended (code ${code})`)));
  }

  sums(bytes: Uint8Array, pieces: readonly Piece[]): Promise<readonly PieceSum[]> {
    // A tensor that had no room in the ring.
    if (bytes.buffer !== this.#memory.buffer) return LOCAL_HASHER.sums(bytes, pieces);
    if (this.#failure) return Promise.reject(this.#failure);
    const answer = Promise.withResolvers<readonly PieceSum[]>();
    const id = this.#next++;
    this.#waiting.set(id, answer);
    const offsetBytes = bytes.byteOffset - this.#memory.byteOffset;
    this.#worker.postMessage({ id, offsetBytes, lengthBytes: bytes.byteLength, pieces } satisfies HashJob);
    return answer.promise;
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#worker.terminate();
  }
}

export const HASH_THREADS: HashThreads = {
  /** V8 and its stacks. */
  threadBytes: 16 * 1024 ** 2,
  start: (memory) => new HashThread(memory),
};
