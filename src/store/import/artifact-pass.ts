/**
 * @file The pass over an LZR2 artifact. Its records come in its own order and the blocks are in execution order, so each tensor is
 * written at the place that its block's layout gives it; a block that has all its tensors is hashed while the next records are
 * decoded. What the artifact leaves alone comes from the base model at the end.
 */
import { type Lzr2Position, type Lzr2Record, readLzr2 } from "../container/lzr2.ts";
import { ArtifactError } from "../errors.ts";
import { type RecordLine, recordItem, takeUp } from "./artifact-journal.ts";
import { findShared, publish, tableReader } from "./build-table.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { ChunkSums } from "./chunk-sums.ts";
import type { Hasher } from "./hashing.ts";
import {
  type BuildContext,
  type BuiltComponent,
  type ImportComponent,
  manifestBlocks,
  type PlacedBlock,
} from "./import-types.ts";
import type { ArtifactFacts } from "./manifest.ts";
import type { PackBlock } from "./pack-format.ts";
import { finishPack, type PlainReader } from "./pack-writer.ts";
import type { Place, PlacedFile } from "./placed-file.ts";
import type { WeightRing } from "./weight-ring.ts";

/** Blocks that wait to be hashed; beyond this, decoding waits. */
const MAX_WAITING_BLOCKS = 2;

export class ArtifactBuild {
  readonly #context: BuildContext;
  readonly #key: string;
  readonly #component: ImportComponent;
  readonly #placed: PlacedFile;
  readonly #ring: WeightRing;
  readonly #hasher: Hasher;
  readonly #checkpoint: Checkpoint;
  readonly #resumed: boolean;
  readonly #records: RecordLine[] = [];
  readonly #done = new Map<number, PackBlock>();
  /** Tensors of each block that are not in place. */
  readonly #missing: readonly Set<string>[];
  readonly #sums = new Map<number, ChunkSums>();
  /** Of tensors that are being written or hashed, in the order in which they were decoded. */
  readonly #inUse: Promise<void>[] = [];
  /** Records become lines in their order, each once its tensor is hashed. */
  #recorded: Promise<void> = Promise.resolve();
  /** Of hashing, of records or of blocks; reported at the next record. */
  #failure: { readonly error: unknown } | undefined;
  #finishing: Promise<void> = Promise.resolve();
  #waitingBlocks = 0;

  constructor(
    context: BuildContext,
    key: string,
    component: ImportComponent,
    placed: PlacedFile,
    ring: WeightRing,
    hasher: Hasher,
    checkpoint: Checkpoint,
    resumed: boolean,
  ) {
    this.#context = context;
    this.#key = key;
    this.#component = component;
    this.#placed = placed;
    this.#ring = ring;
    this.#hasher = hasher;
    this.#checkpoint = checkpoint;
    this.#resumed = resumed;
    this.#missing = placed.layouts.map((layout) => new Set(layout.tensors.map(({ name }) => name)));
  }

  /** `path`: of the part, as it lies in the work folder. */
  async publish(path: string): Promise<BuiltComponent> {
    const { file, layouts, endByte } = this.#placed;
    await this.#readArtifact(await this.#resume(), true);
    const shared = await this.#fillFromBase();
    await this.#checkpoint.flush();
    for (const [index, place] of await this.#elsewhere()) shared.set(index, place);
    const own = await this.#ownBlocks(shared);
    const name = own.size === 0 ? "" : await finishPack(file, [...own.values()], endByte);
    const placed = layouts.map((_, i) => shared.get(i) ?? { id: this.#done.get(i)!.id, pack: name });
    const facts = this.#facts();
    await publish(this.#context, { key: this.#key, path, name, placed, sharedBlocks: shared.size, facts });
    const blocks = manifestBlocks(layouts, placed, facts);
    const writtenBytes = [...own.values()].reduce((sum, block) => sum + block.plainBytes, 0);
    return { blocks, sharedBlocks: shared.size, writtenBytes, artifact: facts };
  }

  async scratch(): Promise<{ readers: PlainReader[]; facts: ArtifactFacts }> {
    const { table } = this.#component;
    const { signal } = this.#context;
    await this.#readArtifact(await this.#resume(), false);
    const readers: PlainReader[] = [];
    for (const [index, layout] of this.#placed.layouts.entries()) {
      const untouched = this.#isUntouched(index);
      if (!untouched) for (const name of this.#missing[index]!) await this.#placed.copy(name, table, signal);
      readers.push(untouched ? tableReader(layout, table, signal) : this.#placed.reader(index));
    }
    return { readers, facts: this.#facts() };
  }

  /** Takes up records and blocks that are in place and sound; returns where the artifact goes on. */
  async #resume(): Promise<Lzr2Position | undefined> {
    const { journal, signal, onEvent } = this.#context;
    if (!this.#resumed) return undefined;
    const { done, records } = await takeUp(journal, this.#key, this.#placed, signal);
    for (const [index, block] of done) {
      this.#done.set(index, block);
      this.#missing[index]!.clear();
      this.#context.advance(this.#component.name, block.plainBytes);
    }
    for (const record of records) {
      this.#records.push(record);
      const place = this.#placed.places.get(record.key);
      if (record.crcs && place) this.#missing[place.block]!.delete(record.key);
    }
    const last = records.at(-1);
    const [blocks, count] = [done.size, records.length];
    if (blocks + count > 0) onEvent({ type: "resume", component: this.#component.name, blocks, records: count });
    if (!last) return undefined;
    const keys = new Map(records.map(({ key, startByte }) => [key, startByte]));
    return { startByte: last.endByte, number: count + 1, keys };
  }

  async #readArtifact(from: Lzr2Position | undefined, finishBlocks: boolean): Promise<void> {
    const { source, compat } = this.#component.artifact!;
    const { signal, onEvent } = this.#context;
    const ring = this.#ring;
    let count = this.#records.length;
    const options = {
      compat,
      expectedShape: (key: string) => this.#placed.places.get(key)?.tensor.shape,
      allocateWeights: (elements: number, name: string) =>
        ring.take(elements, this.#placed.places.get(name)?.startByte),
      ...(from ? { from } : {}),
      ...(signal ? { signal } : {}),
    };
    try {
      for await (const record of readLzr2(source, options)) {
        const { key, weight, startByte, endByte, skippedOverlayRows: skippedRows } = record;
        const place = this.#requirePlace(record);
        const sums = weight && this.#take(place, weight);
        this.#recordSoon({ key, startByte, endByte, skippedRows }, sums, weight?.byteLength ?? 0);
        while (!ring.hasRoom) await this.#inUse[0];
        if (this.#failure) throw this.#failure.error;
        this.#placed.throwFailure();
        if (finishBlocks && weight && this.#missing[place.block]!.size === 0) await this.#finishSoon(place.block);
        count++;
        onEvent({ type: "record", count, key, readBytes: endByte, totalBytes: source.byteLength });
        await this.#checkpoint.flushIfDue(() => this.#placed.written());
      }
      await this.#recorded;
      await this.#finishing;
      await this.#placed.written();
      await this.#checkpoint.flush();
    } finally {
      // Nothing may write to the part once it is closed.
      await Promise.allSettled([...this.#inUse, this.#recorded, this.#finishing]);
    }
    if (this.#records.length > 0) return;
    throw new ArtifactError({
      code: "E_LZR_EMPTY",
      subject: source.name,
      problem: "the artifact holds no record",
      next: "fetch the artifact again",
    });
  }

  #requirePlace({ key, shape, startByte }: Lzr2Record<ArrayBufferLike>): Place {
    const place = this.#placed.places.get(key);
    const expected = place?.tensor.shape;
    if (place && expected!.length === shape.length && expected!.every((dim, axis) => dim === shape[axis])) return place;
    const name = JSON.stringify(key.slice(0, 120));
    const problem = place
      ? `record ${name}: shape [${shape}] expected [${expected}] at byte ${startByte}`
      : `record ${name} is no parameter of this ${this.#component.name} at byte ${startByte}`;
    const next = "use the artifact with the base model it was made for";
    throw new ArtifactError({ code: "E_SCHEMA", subject: this.#component.artifact!.source.name, problem, next });
  }

  /** Starts to write a tensor and to take its checksums. Resolves to the CRC32 of its pieces. */
  #take({ block, tensor, startByte }: Place, weight: Uint16Array): Promise<number[]> {
    const bytes = new Uint8Array(weight.buffer, weight.byteOffset, weight.byteLength);
    const sums = this.#sums.get(block) ?? new ChunkSums(this.#placed.layouts[block]!.plainBytes);
    this.#sums.set(block, sums);
    // Else taken up from an earlier attempt: these very bytes are there.
    const written = this.#done.has(block) ? undefined : this.#placed.write(startByte, bytes);
    const crcs = sums.add(tensor.offsetBytes, bytes, this.#hasher);
    const done = Promise.allSettled([written, crcs]).then(() => {
      void this.#inUse.splice(this.#inUse.indexOf(done), 1);
      this.#ring.give(weight);
    });
    this.#inUse.push(done);
    this.#missing[block]!.delete(tensor.name);
    return crcs;
  }

  #recordSoon(line: RecordLine, sums: Promise<number[]> | undefined, weightBytes: number): void {
    this.#recorded = Promise.all([sums, this.#recorded]).then(([crcs]) => {
      const whole = { ...line, ...(crcs ? { crcs } : {}) };
      this.#records.push(whole);
      this.#checkpoint.add(recordItem(this.#key, whole), weightBytes);
    });
    this.#recorded.catch((error: unknown) => {
      this.#failure ??= { error };
    });
  }

  /** Hashes a block that has all its tensors, after those before it. */
  async #finishSoon(index: number): Promise<void> {
    if (this.#done.has(index)) return;
    const ready = Promise.all([this.#placed.written(), this.#recorded]);
    this.#waitingBlocks++;
    this.#finishing = this.#finishing
      .then(async () => {
        await ready;
        await this.#finishBlock(index);
      })
      .finally(() => {
        this.#waitingBlocks--;
      });
    ready.catch(() => undefined);
    this.#finishing.catch((error: unknown) => {
      this.#failure ??= { error };
    });
    if (this.#waitingBlocks > MAX_WAITING_BLOCKS) await this.#finishing;
  }

  async #finishBlock(index: number): Promise<void> {
    const { plainBytes } = this.#placed.layouts[index]!;
    const sums = this.#sums.get(index) ?? new ChunkSums(plainBytes);
    this.#sums.delete(index);
    const { id, crcs } = await sums.finish(this.#placed.reader(index), this.#context.signal);
    const startByte = this.#placed.starts[index]!;
    const block: PackBlock = { id, codec: "plain", startByte, plainBytes, headCrc: crcs[0]!, crcs };
    this.#done.set(index, block);
    this.#checkpoint.add({ t: "block", key: this.#key, i: index, block }, 0);
    this.#context.advance(this.#component.name, plainBytes);
  }

  /** What the artifact left alone. Blocks that it left alone entirely may be in the store already. */
  async #fillFromBase(): Promise<Map<number, PlacedBlock>> {
    const { signal } = this.#context;
    const { table } = this.#component;
    const shared = new Map<number, PlacedBlock>();
    for (const [index, layout] of this.#placed.layouts.entries()) {
      if (this.#done.has(index)) continue;
      signal?.throwIfAborted();
      const found = this.#isUntouched(index)
        ? await findShared(this.#context, layout, tableReader(layout, table, signal))
        : undefined;
      if (found) {
        shared.set(index, found);
        this.#context.advance(this.#component.name, layout.plainBytes);
        continue;
      }
      for (const name of this.#missing[index]!) await this.#placed.copy(name, table, signal);
      await this.#finishBlock(index);
      await this.#checkpoint.flushIfDue();
    }
    return shared;
  }

  /** All blocks of this file, if the store has every one of them: then there is no need for a new pack. */
  async #elsewhere(): Promise<ReadonlyMap<number, PlacedBlock>> {
    const { catalog, packed, codec, signal } = this.#context;
    const wanted = packed === "auto" ? undefined : codec;
    const found = new Map<number, PlacedBlock>();
    for (const [index, { id }] of this.#done) {
      const pack = await catalog.find(id, this.#placed.layouts[index]!.label, wanted, signal);
      if (pack === undefined) return new Map();
      found.set(index, { id, pack });
    }
    return found;
  }

  #isUntouched(index: number): boolean {
    return this.#missing[index]!.size === this.#placed.layouts[index]!.tensors.length;
  }

  /** Blocks of this file by content; the room of all others is zero. */
  async #ownBlocks(shared: ReadonlyMap<number, PlacedBlock>): Promise<Map<string, PackBlock>> {
    const own = new Map<string, PackBlock>();
    for (const index of this.#placed.layouts.keys()) {
      const block = shared.has(index) ? undefined : this.#done.get(index);
      if (block && !own.has(block.id)) own.set(block.id, block);
      // A hole is zero anyway, unless an earlier attempt wrote there.
      else if (block || (shared.has(index) && this.#resumed)) await this.#placed.zero(index);
    }
    return own;
  }

  #facts(): ArtifactFacts {
    const applied = this.#records.filter(({ crcs }) => crcs !== undefined);
    return {
      applied: applied.length,
      untouched: this.#records.length - applied.length,
      missing: this.#placed.places.size - this.#records.length,
      skippedOverlayRows: this.#records.reduce((sum, { skippedRows }) => sum + skippedRows, 0),
      records: applied.map(({ key, startByte }) => [key, startByte] as const),
    };
  }
}
