/**
 * @file A phase's weights on the device as its residency says: pinned blocks stay where the pool has put them, the others pass
 * through the ring, read ahead of compute. Knows no model.
 */
import type { Device, DeviceWeight, Span } from "../backend/device.ts";
import { layOutBlock, type StoredBlock } from "../plan/describe.ts";
import type { BlockReader } from "./blocks.ts";
import { ReadWatch } from "./read-watch.ts";
import type { LoadTiming } from "./telemetry.ts";

/** Blocks on their way at a time: the next one, and the one after it where there is room. */
const LOADS_AT_ONCE = 2;

/** Blocks that a segment needs at once, and who reads them. */
export interface WeightUse {
  readonly blocks: readonly StoredBlock[];
  readonly reader: BlockReader;
}

/** By parameter name. */
export type BlockWeights = ReadonlyMap<string, DeviceWeight>;

export interface LoadClock {
  readonly now: () => number;
  readonly onLoad: (timing: LoadTiming) => void;
}

/** Where a phase's weights go, and what is there already. */
export interface WeightPlaces {
  /** Of every block of the phase. */
  readonly places: ReadonlyMap<string, Span>;
  /** Blocks that have come before the phase; none of them is in anything's way. */
  readonly arrived: ReadonlyMap<string, BlockWeights>;
  /** Told of each block that has come. */
  readonly onArrived: (key: string, weights: BlockWeights) => void;
}

interface Load {
  readonly key: string;
  readonly span: Span;
  readonly weights: Promise<BlockWeights>;
  /** Whether the block is still to be read by compute; a block in the ring may be overwritten when it is not. */
  needed: boolean;
  settled: boolean;
}

export class ResidentWeights implements AsyncDisposable {
  readonly #device: Device;
  readonly #memory: WeightPlaces;
  readonly #clock: LoadClock;
  readonly #scope: AsyncDisposableStack;
  #loads: Load[];

  /** `scope` is given back once nothing is on its way any more. */
  constructor(device: Device, memory: WeightPlaces, clock: LoadClock, scope: AsyncDisposableStack) {
    this.#device = device;
    this.#memory = memory;
    this.#clock = clock;
    this.#scope = scope;
    this.#loads = [...memory.arrived].map(([key, weights]) => ({
      key,
      span: this.#place(key),
      weights: Promise.resolve(weights),
      needed: false,
      settled: true,
    }));
  }

  /**
   * The weights of `use`, and reads ahead for `next`, what is used after it in its order. Each block may be overwritten once
   * `computed` is called for it.
   */
  async weights(
    { blocks, reader }: WeightUse,
    next: readonly WeightUse[],
    signal?: AbortSignal,
  ): Promise<BlockWeights> {
    const loads: Load[] = [];
    for (const block of blocks) {
      let load = this.#find(block.key);
      if (!load) {
        await this.#makeRoom(block.key);
        load = this.#start(block, reader, signal);
      }
      load.needed = true;
      loads.push(load);
    }
    this.ahead(next, signal);
    const weights = await Promise.all(loads.map((load) => load.weights));
    return new Map(weights.flatMap((some) => [...some]));
  }

  /** Starts reading the blocks to come, in their order, as far as there is room. */
  ahead(next: readonly WeightUse[], signal?: AbortSignal): void {
    for (const { blocks, reader } of next) {
      for (const block of blocks) {
        const known = this.#find(block.key);
        if (known) {
          known.needed = true;
          continue;
        }
        const busy = this.#loads.filter((load) => !load.settled).length;
        if (busy >= LOADS_AT_ONCE || !this.#isFree(this.#place(block.key))) return;
        this.#start(block, reader, signal);
      }
    }
  }

  computed(key: string): void {
    const load = this.#find(key);
    if (load) load.needed = false;
  }

  /** Keys of the phase's blocks: those that are there, whole, and those on their way. */
  get keys(): { readonly resident: readonly string[]; readonly loading: readonly string[] } {
    const keysOf = (settled: boolean) => this.#loads.flatMap((load) => (load.settled === settled ? [load.key] : []));
    return { resident: keysOf(true), loading: keysOf(false) };
  }

  /** Blocks of the phase that are there, whole. */
  get residentBytes(): number {
    return this.#loads.reduce((bytes, load) => bytes + (load.settled ? load.span.lengthBytes : 0), 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.allSettled(this.#loads.map((load) => load.weights));
    this.#loads = [];
    await this.#scope.disposeAsync();
  }

  #find(key: string): Load | undefined {
    return this.#loads.find((load) => load.key === key);
  }

  #place(key: string): Span {
    const place = this.#memory.places.get(key);
    if (!place) throw new Error(`the plan has no place for ${key}`);
    return place;
  }

  /** Whether nothing that is still needed, or still arriving, lies there. */
  #isFree(place: Span): boolean {
    return !this.#loads.some((load) => overlap(load.span, place) && (load.needed || !load.settled));
  }

  /** Waits for what is arriving there; whatever lies there has been computed, or was read ahead in vain. */
  async #makeRoom(key: string): Promise<void> {
    const place = this.#place(key);
    await Promise.allSettled(this.#loads.filter((load) => overlap(load.span, place)).map((load) => load.weights));
  }

  #start(block: StoredBlock, reader: BlockReader, signal: AbortSignal | undefined): Load {
    const place = this.#place(block.key);
    this.#loads = this.#loads.filter((load) => !overlap(load.span, place));
    const weights = this.#upload(block, reader, place, signal);
    const load: Load = { key: block.key, span: place, weights, needed: true, settled: false };
    this.#loads.push(load);
    weights.then(
      (arrived) => {
        load.settled = true;
        this.#memory.onArrived(block.key, arrived);
      },
      () => {
        // Told to whoever waits for it. A failed or stopped read must not stand for the weights of a later run.
        load.settled = true;
        this.#loads = this.#loads.filter((other) => other !== load);
      },
    );
    return load;
  }

  async #upload(block: StoredBlock, reader: BlockReader, place: Span, signal?: AbortSignal): Promise<BlockWeights> {
    const { offsets } = layOutBlock(this.#device, block);
    const watch = new ReadWatch(this.#clock.now);
    const tensors = block.tensors.map(({ name, stored, offsetBytes }, i) => ({
      name,
      stored,
      storedOffsetBytes: offsetBytes,
      span: {
        arena: place.arena,
        offsetBytes: place.offsetBytes + offsets[i]!,
        lengthBytes: (offsets[i + 1] ?? place.lengthBytes) - offsets[i]!,
      },
    }));
    await this.#device.upload(
      {
        label: block.key,
        storedBytes: block.storedBytes,
        tensors,
        read: (startByte, into) => watch.reading(() => reader.read(block, startByte, into, signal)),
      },
      signal,
    );
    this.#clock.onLoad({ key: block.key, storedBytes: block.storedBytes, ...watch.timing() });
    return new Map(tensors.map(({ name, stored, span }) => [name, { stored, span }]));
  }
}

function overlap(a: Span, b: Span): boolean {
  return (
    a.arena === b.arena &&
    a.offsetBytes < b.offsetBytes + b.lengthBytes &&
    b.offsetBytes < a.offsetBytes + a.lengthBytes
  );
}
