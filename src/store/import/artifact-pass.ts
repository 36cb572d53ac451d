/**
 * @file The pass over an LZR2 artifact. Its records come in its own order and the blocks are in execution order, so each tensor is
 * written at the place that its block's layout gives it; a block that has all its tensors is hashed while the next records are
 * decoded. What the artifact leaves alone comes from the base model at the end.
 */
import { type Lzr2Position, type Lzr2Record, type ReadLzr2Options, readLzr2 } from "../../container/lzr2.ts";
import { ArtifactError } from "../../errors.ts";
import type { ArtifactFacts, BlockAddress } from "../manifest.ts";
import type { PackBlock } from "../pack/pack-format.ts";
import { finishPack, type PlainReader } from "../pack/pack-writer.ts";
import type { Place, PlacedFile } from "../pack/placed-file.ts";
import { type RecordLine, recordItem, takeUp } from "./artifact-journal.ts";
import { findShared, publish, tableReader } from "./build-table.ts";
import { type BuildContext, type BuiltComponent, type ImportComponent, manifestBlocks } from "./import-types.ts";
import type { SavePoint } from "./save-point.ts";
import { SerialWork } from "./serial-work.ts";
import type { TensorIntake } from "./tensor-intake.ts";

/** Blocks that wait to be hashed; beyond this, decoding waits. */
const MAX_WAITING_BLOCKS = 2;

/** What a pass works on, and with. */
export interface ArtifactWork {
  readonly context: BuildContext;
  /** Names this work in the journal. */
  readonly key: string;
  /** With an artifact. */
  readonly component: ImportComponent;
  readonly placed: PlacedFile;
  readonly intake: TensorIntake;
  readonly savePoint: SavePoint;
  /** Whether an earlier attempt has left its part. */
  readonly resumed: boolean;
}

export class ArtifactPass {
  readonly #work: ArtifactWork;
  /** Of the artifact, in its order; each is listed once its tensor is hashed. */
  readonly #records: RecordLine[] = [];
  readonly #recording = new SerialWork();
  /** Blocks that are in place, by their index. */
  readonly #done = new Map<number, PackBlock>();
  readonly #finishing = new SerialWork();
  /** Tensors of each block that are not in place. */
  readonly #missing: readonly Set<string>[];

  constructor(work: ArtifactWork) {
    this.#work = work;
    this.#missing = work.placed.layouts.map((layout) => new Set(layout.tensors.map(({ name }) => name)));
  }

  /** `path`: of the part, as it lies in the work folder. */
  async publish(path: string): Promise<BuiltComponent> {
    const { context, key, placed: part, savePoint } = this.#work;
    const { file, layouts, endByte } = part;
    await this.#readArtifact(await this.#resume(), true);
    const shared = await this.#fillFromBase();
    await savePoint.flush();
    for (const [index, place] of await this.#elsewhere()) shared.set(index, place);
    const own = await this.#ownBlocks(shared);
    const name = own.size === 0 ? "" : await finishPack(file, [...own.values()], endByte);
    const placed = layouts.map((_, i) => shared.get(i) ?? { id: this.#done.get(i)!.id, pack: name });
    const facts = this.#facts();
    await publish(context, { key, path, name, placed, sharedBlocks: shared.size, facts });
    const blocks = manifestBlocks(layouts, placed, facts);
    const writtenBytes = [...own.values()].reduce((sum, block) => sum + block.plainBytes, 0);
    return { blocks, sharedBlocks: shared.size, writtenBytes, artifact: facts };
  }

  /** Decodes, and gives readers of all blocks: from the part, or from the base model where the artifact left a block alone. */
  async scratch(): Promise<{ readers: PlainReader[]; facts: ArtifactFacts }> {
    const { context, component, placed } = this.#work;
    const { table } = component;
    const { signal } = context;
    await this.#readArtifact(await this.#resume(), false);
    const readers: PlainReader[] = [];
    for (const [index, layout] of placed.layouts.entries()) {
      const untouched = this.#isUntouched(index);
      if (!untouched) for (const name of this.#missing[index]!) await placed.copy(name, table, signal);
      readers.push(untouched ? tableReader(layout, table, signal) : placed.reader(index));
    }
    return { readers, facts: this.#facts() };
  }

  /** Takes up records and blocks that are in place and sound; returns where the artifact goes on. */
  async #resume(): Promise<Lzr2Position | undefined> {
    const { context, key, component, placed, resumed } = this.#work;
    const { journal, signal, onEvent, advance } = context;
    if (!resumed) return undefined;
    const { done, records } = await takeUp(journal, key, placed, signal);
    for (const [index, block] of done) {
      this.#done.set(index, block);
      this.#missing[index]!.clear();
      advance(component.name, block.plainBytes);
    }
    for (const record of records) {
      this.#records.push(record);
      const place = placed.places.get(record.key);
      if (record.crcs && place) this.#missing[place.block]!.delete(record.key);
    }
    const last = records.at(-1);
    const [blocks, count] = [done.size, records.length];
    if (blocks + count > 0) onEvent({ type: "resume", component: component.name, blocks, records: count });
    if (!last) return undefined;
    const keys = new Map(records.map(({ key, startByte }) => [key, startByte]));
    return { startByte: last.endByte, number: count + 1, keys };
  }

  async #readArtifact(from: Lzr2Position | undefined, finishBlocks: boolean): Promise<void> {
    const { context, component, placed, intake, savePoint } = this.#work;
    const { source, compat } = component.artifact!;
    const { signal, onEvent } = context;
    let count = this.#records.length;
    const options: ReadLzr2Options<ArrayBufferLike> = {
      compat,
      expectedShape: (key) => placed.places.get(key)?.tensor.shape,
      allocateWeights: (elements, name) => intake.allocate(elements, name),
      from,
      signal,
    };
    try {
      for await (const record of readLzr2(source, options)) {
        const { key, endByte } = record;
        const { block } = this.#take(record);
        await intake.room();
        this.#recording.throwFailure();
        this.#finishing.throwFailure();
        placed.throwFailure();
        if (finishBlocks && record.weight && this.#missing[block]!.size === 0) await this.#finishSoon(block);
        count++;
        onEvent({ type: "record", count, key, readBytes: endByte, totalBytes: source.byteLength });
        await savePoint.flushIfDue(() => placed.written());
      }
      await this.#recording.done();
      await this.#finishing.done();
      await placed.written();
      await savePoint.flush();
    } finally {
      // Nothing may write to the part once it is closed.
      await Promise.all([intake.settled(), this.#recording.settled(), this.#finishing.settled()]);
    }
    if (this.#records.length > 0) return;
    throw new ArtifactError({
      code: "E_LZR_EMPTY",
      subject: source.name,
      problem: "the artifact holds no record",
      next: "fetch the artifact again",
    });
  }

  /** Of a record, whose shape the reader has held against it. */
  #requirePlace({ key, startByte }: Lzr2Record<ArrayBufferLike>): Place {
    const { placed, component } = this.#work;
    const place = placed.places.get(key);
    if (place) return place;
    throw new ArtifactError({
      code: "E_SCHEMA",
      subject: component.artifact!.source.name,
      problem: `record ${JSON.stringify(key.slice(0, 120))} is no parameter of this ${component.name} at byte ${startByte}`,
      next: "use the artifact with the base model it was made for",
    });
  }

  /** Sends a record's tensor on its way, and writes the record down once it is hashed. Returns the tensor's place. */
  #take(record: Lzr2Record<ArrayBufferLike>): Place {
    const { key, intake, savePoint } = this.#work;
    const { key: name, weight, startByte, endByte, skippedOverlayRows: skippedRows } = record;
    const place = this.#requirePlace(record);
    // A block that is done holds these very bytes since an earlier attempt.
    const sums = weight && intake.take(place, weight, this.#done.has(place.block));
    if (weight) this.#missing[place.block]!.delete(name);
    this.#recording.add(async () => {
      const line: RecordLine = { key: name, startByte, endByte, skippedRows, crcs: await sums };
      this.#records.push(line);
      savePoint.add(recordItem(key, line), weight?.byteLength ?? 0);
    });
    return place;
  }

  /** Hashes a block that has all its tensors, after those before it. */
  async #finishSoon(index: number): Promise<void> {
    if (this.#done.has(index)) return;
    const ready = Promise.all([this.#work.placed.written(), this.#recording.done()]);
    ready.catch(() => undefined); // reported by the work below
    this.#finishing.add(async () => {
      await ready;
      await this.#finishBlock(index);
    });
    if (this.#finishing.waiting > MAX_WAITING_BLOCKS) await this.#finishing.done();
  }

  async #finishBlock(index: number): Promise<void> {
    const { context, key, component, placed, intake, savePoint } = this.#work;
    const { plainBytes } = placed.layouts[index]!;
    const { id, crcs } = await intake.sumsOf(index).finish(placed.reader(index), context.signal);
    const startByte = placed.starts[index]!;
    const block: PackBlock = { id, codec: "plain", startByte, plainBytes, headCrc: crcs[0]!, crcs };
    this.#done.set(index, block);
    savePoint.add({ t: "block", key, i: index, block }, 0);
    context.advance(component.name, plainBytes);
  }

  /** What the artifact left alone. Blocks that it left alone entirely may be in the store already. */
  async #fillFromBase(): Promise<Map<number, BlockAddress>> {
    const { context, component, placed, savePoint } = this.#work;
    const { signal } = context;
    const { table } = component;
    const shared = new Map<number, BlockAddress>();
    for (const [index, layout] of placed.layouts.entries()) {
      if (this.#done.has(index)) continue;
      signal?.throwIfAborted();
      const found = this.#isUntouched(index)
        ? await findShared(context, layout, tableReader(layout, table, signal))
        : undefined;
      if (found) {
        shared.set(index, found);
        context.advance(component.name, layout.plainBytes);
        continue;
      }
      for (const name of this.#missing[index]!) await placed.copy(name, table, signal);
      await this.#finishBlock(index);
      await savePoint.flushIfDue();
    }
    return shared;
  }

  /** All blocks of this file, if the store has every one of them: then there is no need for a new pack. */
  async #elsewhere(): Promise<ReadonlyMap<number, BlockAddress>> {
    const { catalog, packed, codec, signal } = this.#work.context;
    const wanted = packed === "auto" ? undefined : codec;
    const found = new Map<number, BlockAddress>();
    for (const [index, { id }] of this.#done) {
      const pack = await catalog.find(id, this.#work.placed.layouts[index]!.label, wanted, signal);
      if (pack === undefined) return new Map();
      found.set(index, { id, pack });
    }
    return found;
  }

  #isUntouched(index: number): boolean {
    return this.#missing[index]!.size === this.#work.placed.layouts[index]!.tensors.length;
  }

  /** Blocks of this file by content; the room of all others is zero. */
  async #ownBlocks(shared: ReadonlyMap<number, BlockAddress>): Promise<Map<string, PackBlock>> {
    const own = new Map<string, PackBlock>();
    for (const index of this.#work.placed.layouts.keys()) {
      const block = shared.has(index) ? undefined : this.#done.get(index);
      if (block && !own.has(block.id)) own.set(block.id, block);
      // A hole is zero anyway, unless an earlier attempt wrote there.
      else if (block || (shared.has(index) && this.#work.resumed)) await this.#work.placed.zero(index);
    }
    return own;
  }

  #facts(): ArtifactFacts {
    const applied = this.#records.filter(({ crcs }) => crcs !== undefined);
    return {
      applied: applied.length,
      untouched: this.#records.length - applied.length,
      missing: this.#work.placed.places.size - this.#records.length,
      skippedOverlayRows: this.#records.reduce((sum, { skippedRows }) => sum + skippedRows, 0),
      records: applied.map(({ key, startByte }) => [key, startByte] as const),
    };
  }
}
