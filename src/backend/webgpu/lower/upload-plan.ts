/**
 * @file How the weights of a block get through staging slots: what is read to where, and which copies and repackings follow.
 * Pure. Weights of convolutions larger than 1x1 are transposed from [Co, Ci, kh kw] to [Co, kh kw, Ci] on the device, a run of
 * whole rows (Co) at a time; all others are copied as they are.
 */
import { tensorBytes } from "../../../tensor/dtype.ts";
import type { BlockTensor } from "../../device.ts";
import { RECORD_BYTES } from "../kernels/kernel.ts";
import { STORAGE_BYTES } from "../kernels/wgsl.ts";
import { weightStorage } from "./tensor-layout.ts";

/** Stored bytes [startByte, startByte + length) into the slot at `slotOffset`. */
export interface StagedRead {
  readonly startByte: number;
  readonly slotOffset: number;
  length: number;
}

/** From the slot to the tensor's span. */
export interface StagedCopy {
  readonly tensor: number;
  readonly slotOffset: number;
  /** Within the span. */
  readonly targetOffset: number;
  /** A multiple of 4: padding may follow the last value. */
  readonly bytes: number;
  /** Bytes that were read; what is left up to `bytes` becomes zero. */
  readonly readBytes: number;
  /** f64 that becomes f32 in the slot: the copy moves half of what was read. */
  readonly narrow: boolean;
}

export interface StagedRepack extends StagedCopy {
  /** Values of this run, taps and channels of a row. */
  readonly values: number;
  readonly taps: number;
  readonly channels: number;
  readonly halves: boolean;
}

/** What passes through one slot at once. */
export interface StagedPiece {
  readonly reads: readonly StagedRead[];
  readonly copies: readonly StagedCopy[];
  readonly repacks: readonly StagedRepack[];
}

const SLOT_ALIGNMENT = 16;
/** Repackings of one piece: each has a parameter record. */
const MAX_REPACKS = 32;
/** Bytes of a slot's end that hold those records. */
export const RECORDS_BYTES = MAX_REPACKS * RECORD_BYTES;

export interface StagingSize {
  readonly slots: number;
  /** Of each; a multiple of 256. */
  readonly slotBytes: number;
}

/** Bytes that uploads take besides the arenas: slots, the landing place of what is repacked, its parameters. */
export function stagingBytes({ slots, slotBytes }: StagingSize): number {
  return (slots + 1) * slotBytes + RECORDS_BYTES;
}

/** Pieces that are read at once: one arrives while the one before it goes to its slot. */
export const READ_BUFFERS = 2;

/** RAM that uploads take. */
export function readBufferBytes({ slotBytes }: StagingSize): number {
  return READ_BUFFERS * (slotBytes - RECORDS_BYTES);
}

/** Throws RangeError if a slot can't hold two rows of a convolution's weights. */
export function planUpload(tensors: readonly BlockTensor[], slotBytes: number): readonly StagedPiece[] {
  const pieces: { reads: StagedRead[]; copies: StagedCopy[]; repacks: StagedRepack[] }[] = [];
  let used = slotBytes;
  const piece = () => pieces.at(-1)!;
  /** Takes at least `least` of `wanted` bytes in a multiple of `unit`, in the current slot or a new one. */
  const take = (wanted: number, unit: number, least: number) => {
    let room = slotBytes - used;
    if (room < Math.min(least, wanted) || piece().repacks.length === MAX_REPACKS) {
      pieces.push({ reads: [], copies: [], repacks: [] });
      used = 0;
      room = slotBytes;
    }
    const bytes = wanted <= room ? wanted : Math.floor(room / unit) * unit;
    if (bytes <= 0) throw new RangeError(`staging slots of ${slotBytes} bytes can't hold ${unit} bytes`);
    const slotOffset = used;
    used = Math.ceil((used + bytes) / SLOT_ALIGNMENT) * SLOT_ALIGNMENT;
    return { slotOffset, bytes };
  };
  tensors.forEach(({ stored, storedOffsetBytes, name }, tensor) => {
    const total = tensorBytes(stored);
    if (total === 0) throw new RangeError(`weight ${name} has no values`);
    const size = STORAGE_BYTES[weightStorage(stored.dtype)];
    const [rows, channels, height, width] = stored.shape;
    const taps = stored.shape.length === 4 ? height! * width! : 1;
    const transposed = taps > 1 && channels! > 1;
    const narrow = stored.dtype === "f64";
    // Two rows: an even number of values, so that no word is shared with the next run.
    const rowBytes = transposed ? total / rows! : 0;
    const unit = transposed ? 2 * rowBytes : 16;
    for (let done = 0; done < total; ) {
      const { slotOffset, bytes } = take(total - done, unit, Math.min(unit, total - done));
      addRead(piece().reads, storedOffsetBytes + done, slotOffset, bytes);
      const moved = narrow ? bytes / 2 : bytes;
      const copy: StagedCopy = {
        tensor,
        slotOffset,
        targetOffset: narrow ? done / 2 : done,
        bytes: Math.ceil(moved / 4) * 4,
        readBytes: bytes,
        narrow,
      };
      if (transposed) {
        const values = moved / size;
        piece().repacks.push({ ...copy, values, taps, channels: channels!, halves: size === 2 });
      } else {
        piece().copies.push(copy);
      }
      done += bytes;
    }
  });
  return pieces;
}

/** Joins reads that follow each other in the block and in the slot. */
function addRead(reads: StagedRead[], startByte: number, slotOffset: number, length: number): void {
  const last = reads.at(-1);
  if (last && last.startByte + last.length === startByte && last.slotOffset + last.length === slotOffset) {
    last.length += length;
  } else {
    reads.push({ startByte, slotOffset, length });
  }
}
