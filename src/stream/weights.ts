/**
 * @file Weights on the device as a residency says: pinned blocks stay, the others pass through the ring, read ahead of
 * compute. Owns the arenas and their ledger entries. Knows no model.
 */
import type { Arena, Device, DeviceWeight, Span } from "../backend/device.ts";
import type { Ledger } from "../ledger/ledger.ts";
import { layOutBlock, type StoredBlock } from "../plan/describe.ts";
import type { Residency } from "../plan/residency.ts";
import type { BlockReader, ReadReport } from "./blocks.ts";
import { takeMemory } from "./device-memory.ts";
import type { LoadTiming } from "./telemetry.ts";

/** Blocks on their way at a time: the next one, and the one after it where there is room. */
const LOADS_AT_ONCE = 2;

/** A block and who reads it. */
export interface BlockUse {
  readonly block: StoredBlock;
  readonly reader: BlockReader;
}

/** By parameter name. */
export type BlockWeights = ReadonlyMap<string, DeviceWeight>;

interface Load {
  readonly key: string;
  readonly span: Span;
  readonly weights: Promise<BlockWeights>;
  /** Whether the block is still to be read by compute; a block in the ring may be overwritten when it is not. */
  needed: boolean;
  settled: boolean;
}

export class ResidentWeights implements AsyncDisposable {
  readonly residency: Residency;
  readonly #device: Device;
  readonly #places: ReadonlyMap<string, Span>;
  readonly #scope: AsyncDisposableStack;
  readonly #now: () => number;
  readonly #onLoad: (report: LoadTiming) => void;
  #loads: Load[] = [];

  private constructor(
    residency: Residency,
    device: Device,
    places: ReadonlyMap<string, Span>,
    scope: AsyncDisposableStack,
    clock: { readonly now: () => number; readonly onLoad: (report: LoadTiming) => void },
  ) {
    this.residency = residency;
    this.#device = device;
    this.#places = places;
    this.#scope = scope;
    this.#now = clock.now;
    this.#onLoad = clock.onLoad;
  }

  /** Takes the memory. Rejects with BudgetError if a tier has it not. */
  static async open(
    residency: Residency,
    device: Device,
    ledger: Ledger,
    clock: { readonly now: () => number; readonly onLoad: (report: LoadTiming) => void },
  ): Promise<ResidentWeights> {
    await using scope = new AsyncDisposableStack();
    const arena = (bytes: number, label: string): Promise<Arena> =>
      takeMemory(scope, ledger, { bytes, label }, () => device.createArena(bytes, label));
    const places = new Map<string, Span>();
    for (const group of arenaGroups(residency.pinned, device.maxArenaBytes ?? Number.POSITIVE_INFINITY)) {
      const pins = await arena(
        group.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0),
        "pinned weights",
      );
      let offsetBytes = 0;
      for (const { key, lengthBytes } of group) {
        places.set(key, { arena: pins, offsetBytes, lengthBytes });
        offsetBytes += lengthBytes;
      }
    }
    if (residency.ringBytes > 0) {
      const ring = await arena(residency.ringBytes, "weights passing through");
      for (const { key, offsetBytes, lengthBytes } of residency.streamed) {
        places.set(key, { arena: ring, offsetBytes, lengthBytes });
      }
    }
    return new ResidentWeights(residency, device, places, scope.move(), clock);
  }

  /**
   * The weights of `use`, and reads ahead for `next`, the blocks used after it in their order. The block may be overwritten
   * once `computed` is called for it.
   */
  async weights(use: BlockUse, next: readonly BlockUse[], signal?: AbortSignal): Promise<BlockWeights> {
    const { key } = use.block;
    let load = this.#find(key);
    if (!load) {
      await this.#makeRoom(key);
      load = this.#start(use, signal);
    }
    load.needed = true;
    this.ahead(next, signal);
    return await load.weights;
  }

  /** Starts reading the blocks to come, in their order, as far as there is room. */
  ahead(next: readonly BlockUse[], signal?: AbortSignal): void {
    for (const use of next) {
      const known = this.#find(use.block.key);
      if (known) {
        known.needed = true;
        continue;
      }
      const busy = this.#loads.filter((load) => !load.settled).length;
      if (busy >= LOADS_AT_ONCE || !this.#isFree(this.#place(use.block.key))) return;
      this.#start(use, signal);
    }
  }

  computed(key: string): void {
    const load = this.#find(key);
    if (load) load.needed = false;
  }

  /** Blocks that are there, whole. */
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
    const place = this.#places.get(key);
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

  #start({ block, reader }: BlockUse, signal: AbortSignal | undefined): Load {
    const place = this.#place(block.key);
    this.#loads = this.#loads.filter((load) => !overlap(load.span, place));
    const weights = this.#upload(block, reader, place, signal);
    const load: Load = { key: block.key, span: place, weights, needed: true, settled: false };
    this.#loads.push(load);
    weights.then(
      () => {
        load.settled = true;
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
    const watch = new ReadWatch(this.#now);
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
    this.#onLoad({ key: block.key, storedBytes: block.storedBytes, ...watch.timing() });
    return new Map(tensors.map(({ name, stored, span }) => [name, { stored, span }]));
  }
}

/** Times a load; reads may overlap. */
class ReadWatch {
  readonly #now: () => number;
  readonly #startedMs: number;
  #diskBytes = 0;
  #decodeMs = 0;
  #readMs = 0;
  #active = 0;
  #activeSinceMs = 0;

  constructor(now: () => number) {
    this.#now = now;
    this.#startedMs = now();
  }

  async reading(work: () => Promise<ReadReport>): Promise<void> {
    if (this.#active++ === 0) this.#activeSinceMs = this.#now();
    try {
      const { diskBytes, decodeMs } = await work();
      this.#diskBytes += diskBytes;
      this.#decodeMs += decodeMs;
    } finally {
      if (--this.#active === 0) this.#readMs += this.#now() - this.#activeSinceMs;
    }
  }

  timing(): Omit<LoadTiming, "key" | "storedBytes"> {
    const totalMs = this.#now() - this.#startedMs;
    return {
      diskBytes: this.#diskBytes,
      decodeMs: this.#decodeMs,
      readMs: this.#readMs,
      uploadMs: totalMs - this.#readMs,
    };
  }
}

/** Runs of blocks that fit in one arena each. */
function arenaGroups(pinned: Residency["pinned"], maxArenaBytes: number): Residency["pinned"][number][][] {
  const groups: Residency["pinned"][number][][] = [];
  let roomBytes = 0;
  for (const block of pinned) {
    if (block.lengthBytes > roomBytes) {
      groups.push([]);
      roomBytes = maxArenaBytes;
    }
    groups.at(-1)!.push(block);
    roomBytes -= block.lengthBytes;
  }
  return groups;
}

function overlap(a: Span, b: Span): boolean {
  return (
    a.arena === b.arena &&
    a.offsetBytes < b.offsetBytes + b.lengthBytes &&
    b.offsetBytes < a.offsetBytes + a.lengthBytes
  );
}
