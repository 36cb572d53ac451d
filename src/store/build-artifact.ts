/**
 * @file An LZR2 artifact becomes blocks in one pass over it. Its records come in its own order and the blocks are in execution
 * order, so each tensor is written at the place that its block's layout gives it; a block that has all its tensors is hashed
 * while the next records are decoded. What the artifact leaves alone comes from the base model at the end.
 */
import { type Lzr2Position, readLzr2 } from "../container/lzr2.ts";
import { ArtifactError } from "../errors.ts";
import { findShared, isSound, publish, tableReader } from "./build-table.ts";
import { Checkpoint } from "./checkpoint.ts";
import { crc32 } from "./digest.ts";
import { readFully, type StoreFile, writeFully } from "./fs.ts";
import {
  type BuildContext,
  type BuiltComponent,
  type ImportComponent,
  manifestBlocks,
  type PlacedBlock,
} from "./import-types.ts";
import { type BlockLayout, CHUNK_BYTES, type StoredTensor, tensorBytes } from "./layout.ts";
import type { ArtifactFacts } from "./manifest.ts";
import { decodePackBlock, HEADER_BYTES, type PackBlock } from "./pack-format.ts";
import { digestBlock, finishPack, type PlainReader } from "./pack-writer.ts";
import { WeightBuffers } from "./weight-buffers.ts";

/** Blocks that wait to be hashed; beyond this, decoding waits. */
const MAX_WAITING_BLOCKS = 2;

/** Decoded tensors that wait to be written; beyond this, decoding waits. */
const MAX_WRITING_BYTES = 32 * 1024 ** 2;

interface Place {
  readonly block: number;
  readonly tensor: StoredTensor;
  /** In the part. */
  readonly startByte: number;
}

interface RecordLine {
  readonly key: string;
  readonly startByte: number;
  readonly endByte: number;
  /** CRC32 of the tensor; absent without a payload. */
  readonly crc?: number;
  readonly skippedRows: number;
}

type Artifact = NonNullable<ImportComponent["artifact"]>;

/** One component with an artifact over its table, placed in a file of its own. */
export class ArtifactBuild {
  readonly #context: BuildContext;
  readonly #key: string;
  readonly #component: ImportComponent;
  readonly #artifact: Artifact;
  readonly #layouts: readonly BlockLayout[];
  readonly #starts: readonly number[];
  readonly #endByte: number;
  readonly #places = new Map<string, Place>();
  readonly #records: RecordLine[] = [];
  readonly #done = new Map<number, PackBlock>();
  /** Tensors of each block that are not in place. */
  readonly #missing: Set<string>[];
  #part!: StoreFile;
  #checkpoint!: Checkpoint;
  #resumed = false;
  /** Blocks are not hashed here: they get their names when they are packed. */
  #scratchOnly = false;
  readonly #writing = new Set<Promise<void>>();
  #writingBytes = 0;
  #finishing: Promise<void> = Promise.resolve();
  #waitingBlocks = 0;
  #failure: { readonly error: unknown } | undefined;

  constructor(context: BuildContext, key: string, component: ImportComponent, layouts: readonly BlockLayout[]) {
    if (!component.artifact) throw new Error(`${component.name} has no artifact`);
    this.#context = context;
    this.#key = key;
    this.#component = component;
    this.#artifact = component.artifact;
    this.#layouts = layouts;
    this.#missing = layouts.map((layout) => new Set(layout.tensors.map(({ name }) => name)));
    let end = HEADER_BYTES;
    this.#starts = layouts.map((layout, block) => {
      const start = end;
      for (const tensor of layout.tensors) {
        this.#places.set(tensor.name, { block, tensor, startByte: start + tensor.offsetBytes });
      }
      end += layout.plainBytes;
      return start;
    });
    this.#endByte = end;
  }

  get path(): string {
    return `${this.#context.folder}/${this.#key}.placed`;
  }

  /** Brings everything into place, as a published pack. */
  async run(): Promise<BuiltComponent> {
    return await this.#withPart(async () => {
      await this.#readArtifact(await this.#resume());
      const shared = await this.#fillFromBase();
      await this.#checkpoint.flush();
      const own = await this.#ownBlocks(shared);
      const name = own.size === 0 ? "" : await finishPack(this.#part, [...own.values()], this.#endByte);
      const placed = this.#layouts.map((_, i) => shared.get(i) ?? { id: this.#done.get(i)!.id, pack: name });
      const facts = this.#facts();
      const sharedBlocks = shared.size;
      await publish(this.#context, { key: this.#key, path: this.path, name, placed, sharedBlocks, facts });
      const blocks = manifestBlocks(this.#layouts, placed, facts);
      const writtenBytes = [...own.values()].reduce((sum, block) => sum + block.plainBytes, 0);
      return { blocks, sharedBlocks, writtenBytes, artifact: facts };
    });
  }

  /** Only decodes, into a file that `use` then reads the blocks from: for blocks that are to be packed. */
  async runScratch<T>(use: (readers: PlainReader[], facts: ArtifactFacts) => Promise<T>): Promise<T> {
    this.#scratchOnly = true;
    return await this.#withPart(async () => {
      await this.#readArtifact(await this.#resume());
      const readers = this.#layouts.map((layout, i) =>
        this.#isUntouched(i) ? tableReader(layout, this.#component.table, this.#context.signal) : this.#partReader(i),
      );
      for (const index of this.#layouts.keys()) if (!this.#isUntouched(index)) await this.#copyMissing(index);
      return await use(readers, this.#facts());
    });
  }

  async #withPart<T>(work: () => Promise<T>): Promise<T> {
    const { store, journal, requireLock } = this.#context;
    const there = await store.fs.stat(this.path);
    this.#resumed = there !== undefined;
    this.#part = await store.fs.open(this.path, there ? "edit" : "create");
    try {
      // Lengthening by zeros takes no room: what is never written stays a hole.
      if ((there?.sizeBytes ?? 0) < this.#endByte) await this.#part.truncate(this.#endByte);
      this.#checkpoint = new Checkpoint(this.#part, journal, requireLock);
      return await work();
    } finally {
      await this.#checkpoint?.settle().catch(() => undefined);
      await this.#part.close();
    }
  }

  /** Takes up records and blocks that are in place and sound; returns where the artifact goes on. */
  async #resume(): Promise<Lzr2Position | undefined> {
    const { journal, signal, onEvent } = this.#context;
    if (!this.#resumed) return undefined;
    const entries = journal.entries.filter((entry) => entry.get("key").text() === this.#key);
    for (const entry of entries) {
      if (entry.get("t").text() !== "block") continue;
      const index = entry.get("i").whole(0, this.#layouts.length - 1);
      const block = decodePackBlock(entry.get("block"));
      const fits = block.startByte === this.#starts[index] && block.plainBytes === this.#layouts[index]!.plainBytes;
      if (fits && (await isSound(this.#part, block, signal))) this.#done.set(index, block);
    }
    for (const entry of entries) {
      if (entry.get("t").text() !== "record") continue;
      const line: RecordLine = {
        key: entry.get("name").text(),
        startByte: entry.get("start").whole(4, Number.MAX_SAFE_INTEGER),
        endByte: entry.get("end").whole(4, Number.MAX_SAFE_INTEGER),
        ...(entry.get("crc").exists ? { crc: entry.get("crc").whole(0, 0xffffffff) } : {}),
        skippedRows: entry.get("skipped").whole(0, Number.MAX_SAFE_INTEGER),
      };
      if (line.startByte !== (this.#records.at(-1)?.endByte ?? 4)) continue;
      if (line.crc === undefined || (await this.#recordIsSound(line))) this.#records.push(line);
    }
    for (const [index, layout] of this.#layouts.entries()) {
      const missing = this.#missing[index]!;
      if (this.#done.has(index)) {
        missing.clear();
        this.#context.advance(this.#component.name, layout.plainBytes);
      }
    }
    for (const { key, crc } of this.#records) if (crc !== undefined) this.#tick(key);
    const blocks = this.#done.size;
    if (blocks + this.#records.length > 0) {
      onEvent({ type: "resume", component: this.#component.name, blocks, records: this.#records.length });
    }
    const last = this.#records.at(-1);
    if (!last) return undefined;
    const keys = new Map(this.#records.map(({ key, startByte }) => [key, startByte]));
    return { startByte: last.endByte, number: this.#records.length + 1, keys };
  }

  async #recordIsSound({ key, crc }: RecordLine): Promise<boolean> {
    const place = this.#places.get(key);
    if (!place) return false;
    if (this.#done.has(place.block)) return true;
    const bytes = tensorBytes({ dtype: "f16", shape: place.tensor.shape });
    const buffer = new Uint8Array(Math.min(bytes, CHUNK_BYTES));
    let found = 0;
    for (let done = 0; done < bytes; done += buffer.byteLength) {
      const piece = buffer.subarray(0, Math.min(buffer.byteLength, bytes - done));
      await readFully(this.#part, piece, place.startByte + done, "the part of an import");
      found = crc32(piece, found);
    }
    return found === crc;
  }

  async #readArtifact(from: Lzr2Position | undefined): Promise<void> {
    const { source, compat } = this.#artifact;
    const { signal, onEvent } = this.#context;
    const buffers = new WeightBuffers();
    const options = {
      compat,
      expectedShape: (key: string) => this.#places.get(key)?.tensor.shape,
      allocateWeights: (elements: number) => buffers.take(elements),
      ...(from ? { from } : {}),
      ...(signal ? { signal } : {}),
    };
    try {
      for await (const record of readLzr2(source, options)) {
        const { key, shape, weight, startByte, endByte, skippedOverlayRows: skippedRows } = record;
        const place = this.#requirePlace(key, shape, startByte);
        const line = { key, startByte, endByte, skippedRows };
        if (weight) {
          const bytes = new Uint8Array(weight.buffer, weight.byteOffset, weight.byteLength);
          const crc = crc32(bytes);
          await this.#write(bytes, place, () => buffers.give(weight));
          this.#tick(key);
          this.#record({ ...line, crc }, bytes.byteLength);
          if (this.#missing[place.block]!.size === 0) await this.#finishSoon(place.block);
        } else this.#record(line, 0);
        onEvent({
          type: "record",
          count: this.#records.length,
          key,
          readBytes: endByte,
          totalBytes: source.byteLength,
        });
        this.#throwFailure();
        await this.#checkpoint.flushIfDue(() => Promise.all([...this.#writing]));
      }
      await this.#finishing;
      await this.#flush();
    } finally {
      // Nothing may write to the part once it is closed.
      await Promise.allSettled([...this.#writing, this.#finishing]);
    }
    if (this.#records.length > 0) return;
    throw new ArtifactError({
      code: "E_LZR_EMPTY",
      subject: source.name,
      problem: "the artifact holds no record",
      next: "fetch the artifact again",
    });
  }

  #requirePlace(key: string, shape: readonly number[], startByte: number): Place {
    const place = this.#places.get(key);
    const expected = place?.tensor.shape;
    if (place && expected!.length === shape.length && expected!.every((dim, axis) => dim === shape[axis])) return place;
    const name = JSON.stringify(key.slice(0, 120));
    const problem = place
      ? `record ${name}: shape [${shape}] expected [${expected}] at byte ${startByte}`
      : `record ${name} is no parameter of this ${this.#component.name} at byte ${startByte}`;
    const next = "use the artifact with the base model it was made for";
    throw new ArtifactError({ code: "E_SCHEMA", subject: this.#artifact.source.name, problem, next });
  }

  /** Resolves when there is room for the next tensor; the write may still run. */
  async #write(bytes: Uint8Array, place: Place, after: () => void): Promise<void> {
    if (this.#done.has(place.block)) {
      after(); // taken up from an earlier attempt: these very bytes are there
      return;
    }
    const writing = writeFully(this.#part, bytes, place.startByte).finally(() => {
      this.#writing.delete(writing);
      this.#writingBytes -= bytes.byteLength;
      after();
    });
    writing.catch((error: unknown) => {
      this.#failure ??= { error };
    });
    this.#writing.add(writing);
    this.#writingBytes += bytes.byteLength;
    while (this.#writingBytes > MAX_WRITING_BYTES && !this.#failure) await Promise.race(this.#writing);
    this.#throwFailure();
  }

  /** One tensor is in place. */
  #tick(key: string): void {
    const place = this.#places.get(key);
    if (place) this.#missing[place.block]!.delete(key);
  }

  #record(line: RecordLine, writtenBytes: number): void {
    this.#records.push(line);
    const { key: name, startByte: start, endByte: end, skippedRows: skipped, crc } = line;
    const item = { t: "record", key: this.#key, name, start, end, skipped, ...(crc === undefined ? {} : { crc }) };
    this.#checkpoint.add(item, writtenBytes);
  }

  /** Hashes a block that has all its tensors, after those before it. */
  async #finishSoon(index: number): Promise<void> {
    if (this.#done.has(index) || this.#scratchOnly) return;
    const writes = [...this.#writing];
    this.#waitingBlocks++;
    this.#finishing = this.#finishing
      .then(async () => {
        await Promise.all(writes);
        await this.#finishBlock(index);
      })
      .finally(() => {
        this.#waitingBlocks--;
      });
    this.#finishing.catch((error: unknown) => {
      this.#failure ??= { error };
    });
    if (this.#waitingBlocks > MAX_WAITING_BLOCKS) await this.#finishing;
  }

  async #finishBlock(index: number): Promise<void> {
    const { plainBytes } = this.#layouts[index]!;
    const { id, crcs } = await digestBlock(plainBytes, this.#partReader(index), this.#context.signal);
    const startByte = this.#starts[index]!;
    const block: PackBlock = { id, codec: "plain", startByte, plainBytes, headCrc: crcs[0]!, crcs };
    this.#done.set(index, block);
    this.#checkpoint.add({ t: "block", key: this.#key, i: index, block }, 0);
    this.#context.advance(this.#component.name, plainBytes);
  }

  async #flush(): Promise<void> {
    await Promise.allSettled(this.#writing);
    this.#throwFailure();
    await this.#checkpoint.flush();
  }

  #throwFailure(): void {
    if (this.#failure) throw this.#failure.error;
  }

  #partReader(index: number): PlainReader {
    return (startByte, into) =>
      readFully(this.#part, into, this.#starts[index]! + startByte, `the part of ${this.#component.name}`);
  }

  /** What the artifact left alone. Blocks that it left alone entirely may be in the store already. */
  async #fillFromBase(): Promise<ReadonlyMap<number, PlacedBlock>> {
    const { signal } = this.#context;
    const shared = new Map<number, PlacedBlock>();
    for (const [index, layout] of this.#layouts.entries()) {
      if (this.#done.has(index)) continue;
      signal?.throwIfAborted();
      const base = tableReader(layout, this.#component.table, signal);
      if (this.#isUntouched(index)) {
        const found = await findShared(this.#context, layout, base);
        if (found) {
          shared.set(index, found);
          this.#context.advance(this.#component.name, layout.plainBytes);
          continue;
        }
      }
      await this.#copyMissing(index);
      await this.#finishBlock(index);
      await this.#checkpoint.flushIfDue();
    }
    return shared;
  }

  #isUntouched(index: number): boolean {
    return this.#missing[index]!.size === this.#layouts[index]!.tensors.length;
  }

  async #copyMissing(index: number): Promise<void> {
    const { table } = this.#component;
    const buffer = new Uint8Array(CHUNK_BYTES);
    for (const name of this.#missing[index]!) {
      const { source, startByte, endByte } = table.get(name)!;
      const to = this.#places.get(name)!.startByte;
      for (let at = startByte; at < endByte; at += CHUNK_BYTES) {
        const piece = buffer.subarray(0, Math.min(CHUNK_BYTES, endByte - at));
        await source.read(at, piece, this.#context.signal);
        await writeFully(this.#part, piece, to + (at - startByte));
      }
    }
  }

  /** Blocks of this file by content; the room of all others is zero. */
  async #ownBlocks(shared: ReadonlyMap<number, PlacedBlock>): Promise<Map<string, PackBlock>> {
    const own = new Map<string, PackBlock>();
    for (const index of this.#layouts.keys()) {
      const block = this.#done.get(index);
      if (block && !own.has(block.id)) own.set(block.id, block);
      // A hole is zero anyway, unless an earlier attempt wrote there.
      else if (block || (shared.has(index) && this.#resumed)) await this.#zero(index);
    }
    return own;
  }

  async #zero(index: number): Promise<void> {
    const { plainBytes } = this.#layouts[index]!;
    const zeros = new Uint8Array(Math.min(plainBytes, CHUNK_BYTES));
    for (let done = 0; done < plainBytes; done += zeros.byteLength) {
      const piece = zeros.subarray(0, Math.min(zeros.byteLength, plainBytes - done));
      await writeFully(this.#part, piece, this.#starts[index]! + done);
    }
  }

  #facts(): ArtifactFacts {
    const applied = this.#records.filter(({ crc }) => crc !== undefined);
    return {
      applied: applied.length,
      untouched: this.#records.length - applied.length,
      missing: this.#places.size - this.#records.length,
      skippedOverlayRows: this.#records.reduce((sum, { skippedRows }) => sum + skippedRows, 0),
      records: applied.map(({ key, startByte }) => [key, startByte] as const),
    };
  }
}
