/**
 * @file Tensors as they are decoded: each is written to its place and hashed where it lies, and its memory is free once both are
 * done.
 */
import { ChunkSums } from "../pack/chunk-sums.ts";
import type { Hasher } from "../pack/hasher.ts";
import type { Place, PlacedFile } from "../pack/placed-file.ts";
import type { WeightRing } from "./weight-ring.ts";

export class TensorIntake {
  readonly #placed: PlacedFile;
  readonly #ring: WeightRing;
  readonly #hasher: Hasher;
  /** Of blocks that have some of their tensors. */
  readonly #sums = new Map<number, ChunkSums>();
  /** Of tensors that are being written or hashed, in the order in which they were decoded. */
  readonly #inUse: Promise<void>[] = [];

  constructor(placed: PlacedFile, ring: WeightRing, hasher: Hasher) {
    this.#placed = placed;
    this.#ring = ring;
    this.#hasher = hasher;
  }

  /** Memory for the tensor of this name, whatever it holds. */
  allocate(elements: number, name: string): Uint16Array {
    return this.#ring.take(elements, this.#placed.places.get(name)?.startByte);
  }

  /**
   * Starts to write a tensor, unless these very bytes are in place already, and to take its checksums. Resolves to the CRC32 of its
   * pieces.
   */
  take({ block, tensor, startByte }: Place, weight: Uint16Array, isInPlace: boolean): Promise<number[]> {
    const bytes = new Uint8Array(weight.buffer, weight.byteOffset, weight.byteLength);
    const sums = this.#sums.get(block) ?? new ChunkSums(this.#placed.layouts[block]!.plainBytes);
    this.#sums.set(block, sums);
    const written = isInPlace ? undefined : this.#placed.write(startByte, bytes);
    const crcs = sums.add(tensor.offsetBytes, bytes, this.#hasher);
    const done = Promise.allSettled([written, crcs]).then(() => {
      void this.#inUse.splice(this.#inUse.indexOf(done), 1);
      this.#ring.give(weight);
    });
    this.#inUse.push(done);
    return crcs;
  }

  /** What was hashed of a block so far; given out once. */
  sumsOf(block: number): ChunkSums {
    const sums = this.#sums.get(block) ?? new ChunkSums(this.#placed.layouts[block]!.plainBytes);
    this.#sums.delete(block);
    return sums;
  }

  /** Waits until a tensor of any size has room. */
  async room(): Promise<void> {
    while (!this.#ring.hasRoom) await this.#inUse[0];
  }

  /** Nothing is being written or hashed any more when this resolves. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#inUse);
  }
}
