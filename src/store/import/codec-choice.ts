/** @file Plain or packed blocks: a choice by measurement, with its reason in words. */
import { packPlanes, unpackPlanes } from "../../codec/byte-planes.ts";
import { numberToF16 } from "../../tensor/dtype.ts";
import { CHUNK_BYTES } from "../pack/block-layout.ts";
import { forEachConcurrent } from "../pack/concurrency.ts";
import type { BlockCodec } from "../pack/pack-format.ts";
import type { DiskSpeed, Store } from "../store.ts";
import type { PackedChoice } from "./import-types.ts";

export interface CodecChoice {
  readonly codec: BlockCodec;
  readonly reason: string;
}

/** Smaller models stay in the page cache, and a measurement would take longer than it saves. */
const MEASURE_FROM_BYTES = 512 * 1024 ** 2;
/** Less gain isn't worth the processor's time. */
const MIN_GAIN = 1.05;
/** Chunks unpacked to measure. */
const SAMPLE_CHUNKS = 64;

/** `folder`: of the import, where the measurement's file is removed with all else if the process is killed. */
export async function chooseCodec(
  store: Store,
  folder: string,
  packed: PackedChoice,
  totalBytes: number,
  signal?: AbortSignal,
): Promise<CodecChoice> {
  if (packed !== "auto") {
    return { codec: packed === "on" ? "planes" : "plain", reason: `asked for with --packed ${packed}` };
  }
  if (totalBytes < MEASURE_FROM_BYTES) return { codec: "plain", reason: "small enough to stay in memory" };
  if (!store.measureDisk) return { codec: "plain", reason: "the disk's speed can't be measured here" };
  const disk = await store.measureDisk(folder, signal);
  return weigh(disk, await unpackSpeed());
}

/** Pure: packed blocks pay where reading fewer bytes saves more time than unpacking takes. */
function weigh(disk: DiskSpeed, unpack: { readonly bytesPerSecond: number; readonly ratio: number }): CodecChoice {
  const speed = (bytesPerSecond: number) => `${(bytesPerSecond / 1e9).toFixed(2)} GB/s`;
  const read = `the disk reads ${speed(disk.bytesPerSecond)}${disk.direct ? "" : " (through the page cache)"}`;
  const both = Math.min(disk.bytesPerSecond / unpack.ratio, unpack.bytesPerSecond);
  const gain = both / disk.bytesPerSecond;
  const unpacking = `unpacking gives ${speed(unpack.bytesPerSecond)}`;
  return gain >= MIN_GAIN
    ? { codec: "planes", reason: `${read} and ${unpacking}: packed blocks arrive ${gain.toFixed(2)} times as fast` }
    : { codec: "plain", reason: `${read}, ${unpacking}: packed blocks would not arrive faster` };
}

/** Plain bytes a second that this machine unpacks, and the size that is left, on weights of a normal distribution. */
async function unpackSpeed(): Promise<{ readonly bytesPerSecond: number; readonly ratio: number }> {
  const weights = new Uint16Array(CHUNK_BYTES / 2);
  let state = 1;
  const uniform = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state + 1) / 2 ** 32;
  };
  for (let i = 0; i < weights.length; i++) {
    weights[i] = numberToF16(0.03 * Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform()));
  }
  const packed = await packPlanes(new Uint8Array(weights.buffer));
  const targets = Array.from({ length: 4 }, () => new Uint8Array(CHUNK_BYTES));
  const unpack = (count: number) =>
    forEachConcurrent(Array(count).fill(0), targets.length, async () => {
      const target = targets.pop()!;
      await unpackPlanes(packed, target);
      targets.push(target);
    });
  await unpack(targets.length); // the first calls compile
  const startedMs = performance.now();
  await unpack(SAMPLE_CHUNKS);
  const seconds = (performance.now() - startedMs) / 1000;
  return { bytesPerSecond: (SAMPLE_CHUNKS * CHUNK_BYTES) / seconds, ratio: packed.byteLength / CHUNK_BYTES };
}
