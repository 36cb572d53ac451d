/**
 * @file Lists of dispatches over storages, before any of it meets a device: lifetimes of temporary tensors, parameter records,
 * and the parts into which tensors larger than one binding are cut. Pure.
 */
import { DeviceError } from "../../../errors.ts";
import { alignUp } from "../../../tensor/align.ts";
import { type Kernel, MAX_SLOTS, MAX_WORKGROUPS, RECORD_BYTES, VIEW_BYTES, writeRecord } from "../kernels/kernel.ts";
import { placeScratch } from "./scratch-places.ts";
import { ALIGNMENT_BYTES } from "./tensor-layout.ts";

/** A place that operands can lie in. */
export interface Storage {
  readonly kind: "input" | "output" | "weight" | "scratch";
  /** Its place in the segment's list of inputs, outputs or weights. */
  readonly index?: number;
  readonly bytes: number;
}

/** Bytes [from, to) of an operand that workgroups [first, last) touch. */
export type Window = (first: number, last: number) => readonly [from: number, to: number];

export interface OperandUse {
  readonly name: string;
  /** Index of the storage. */
  readonly storage: number;
  /** Without one, the operand is bound whole. */
  readonly window?: Window;
}

export interface DispatchRequest {
  readonly label: string;
  readonly operands: readonly OperandUse[];
  /** Gets each operand's slot: operands in one storage share one. */
  readonly kernel: (slots: Readonly<Record<string, number>>) => Kernel;
  readonly workgroups: number;
  readonly params: Readonly<Record<string, number>>;
  /** Floating-point operations of a workgroup; memory traffic counts as `BYTE_COST` a byte. */
  readonly costPerWorkgroup: number;
  /** Cuts for large tensors fall on multiples of this many workgroups. Default 1. */
  readonly cutWorkgroups?: number;
}

/** What a byte of traffic costs in operations: a GTX 1060 does 23 per byte. */
export const BYTE_COST = 20;
/**
 * A dispatch can begin anew after about this many operations, so that submits can be kept short: 4 GFLOP are 2 ms of a GTX 1060
 * and 70 ms of a graphics unit of 60 GFLOP/s.
 */
const RESTART_COST = 4e9;

/** A run of workgroups with one bind group. */
export interface Part {
  /** Bytes [from, to) of each slot's storage. */
  readonly windows: readonly (readonly [from: number, to: number])[];
  readonly runs: readonly Run[];
}

/** Workgroups that are always dispatched together, and where their parameters lie. */
export interface Run {
  readonly first: number;
  readonly workgroups: number;
  readonly recordOffset: number;
  readonly cost: number;
}

export interface Dispatch {
  readonly label: string;
  readonly kernel: Kernel;
  /** Storage of each slot. */
  readonly slots: readonly number[];
  readonly parts: readonly Part[];
}

export interface DispatchList {
  readonly storages: readonly Storage[];
  /** Offset in scratch memory by storage; -1 for those that have a span. */
  readonly scratchOffsets: readonly number[];
  readonly scratchBytes: number;
  readonly dispatches: readonly Dispatch[];
  /** All parameter records. */
  readonly records: Uint8Array<ArrayBuffer>;
}

export class DispatchBuilder {
  readonly #storages: Storage[] = [];
  readonly #requests: DispatchRequest[] = [];
  readonly #maxBindingBytes: number;

  /** `maxBindingBytes`: the adapter's limit on one storage binding. */
  constructor(maxBindingBytes: number) {
    this.#maxBindingBytes = Math.floor(maxBindingBytes / ALIGNMENT_BYTES) * ALIGNMENT_BYTES;
  }

  storage(storage: Storage): number {
    this.#storages.push(storage);
    return this.#storages.length - 1;
  }

  scratch(bytes: number): number {
    return this.storage({ kind: "scratch", bytes: alignUp(bytes, ALIGNMENT_BYTES) });
  }

  bytes(storage: number): number {
    return this.#storages[storage]!.bytes;
  }

  add(request: DispatchRequest): void {
    if (request.workgroups > 0) this.#requests.push(request);
  }

  build(): DispatchList {
    const used = this.#storages.map((_, i) => {
      const places = this.#requests.flatMap(({ operands }, at) => (operands.some((o) => o.storage === i) ? [at] : []));
      return { first: places[0] ?? 0, last: places.at(-1) ?? 0 };
    });
    const temporary = this.#storages.flatMap(({ kind }, i) => (kind === "scratch" ? [i] : []));
    const { offsets, bytes } = placeScratch(temporary.map((i) => ({ bytes: this.bytes(i), ...used[i]! })));
    const scratchOffsets = this.#storages.map((_, i) => (temporary.includes(i) ? offsets[temporary.indexOf(i)]! : -1));
    const drafts = this.#requests.map((request) => this.#draft(request));
    let recordOffset = 0;
    const records: { offset: number; kernel: Kernel; first: number; bases: number[]; request: DispatchRequest }[] = [];
    const dispatches = drafts.map(({ request, kernel, slots, parts }): Dispatch => {
      const placed = parts.map(({ windows, first, last }): Part => {
        const bases = windows.map(([from], slot) => from / VIEW_BYTES[kernel.slots[slot]!]);
        const length = runLength(request.costPerWorkgroup);
        const runs: Run[] = [];
        for (let at = first; at < last; at += length) {
          const workgroups = Math.min(length, last - at);
          runs.push({ first: at, workgroups, recordOffset, cost: workgroups * request.costPerWorkgroup });
          records.push({ offset: recordOffset, kernel, first: at, bases, request });
          recordOffset += RECORD_BYTES;
        }
        return { windows, runs };
      });
      return { label: request.label, kernel, slots, parts: placed };
    });
    const bytesOfRecords = new Uint8Array(recordOffset);
    const view = new DataView(bytesOfRecords.buffer);
    for (const { offset, kernel, first, bases, request } of records)
      writeRecord(view, offset, kernel, first, bases, request.params);
    return { storages: this.#storages, scratchOffsets, scratchBytes: bytes, dispatches, records: bytesOfRecords };
  }

  #draft(request: DispatchRequest) {
    const slots = [...new Set(request.operands.map(({ storage }) => storage))];
    if (slots.length > MAX_SLOTS) throw new Error(`${request.label}: ${slots.length} bindings`);
    const kernel = request.kernel(
      Object.fromEntries(request.operands.map(({ name, storage }) => [name, slots.indexOf(storage)])),
    );
    const windowOf = (slot: number, first: number, last: number): readonly [number, number] => {
      const bytes = this.bytes(slots[slot]!);
      if (bytes <= this.#maxBindingBytes) return [0, bytes];
      const uses = request.operands.filter(({ storage }) => storage === slots[slot]);
      const windows = uses.map(({ window }) => window?.(first, last) ?? [0, bytes]);
      const from = Math.min(...windows.map(([start]) => start));
      const to = Math.max(...windows.map(([, end]) => end));
      return [Math.floor(from / ALIGNMENT_BYTES) * ALIGNMENT_BYTES, Math.min(bytes, alignUp(to, ALIGNMENT_BYTES))];
    };
    const windowsOf = (first: number, last: number) => slots.map((_, slot) => windowOf(slot, first, last));
    const fits = (first: number, last: number) =>
      windowsOf(first, last).every(([from, to]) => to - from <= this.#maxBindingBytes);
    const parts: { windows: (readonly [number, number])[]; first: number; last: number }[] = [];
    const multiple = request.cutWorkgroups ?? 1;
    for (let first = 0; first < request.workgroups; ) {
      const last = longestFit(first, request.workgroups, multiple, fits);
      if (last === undefined) {
        const largest = Math.max(...slots.map((storage) => this.bytes(storage)));
        throw new DeviceError({
          code: "E_GPU_LIMIT",
          subject: request.label,
          problem: `a tensor of this block can't be bound in parts (found ${largest} bytes, allowed ${this.#maxBindingBytes})`,
          next: "make a smaller picture, or use --backend cpu",
        });
      }
      parts.push({ windows: windowsOf(first, last), first, last });
      first = last;
    }
    return { request, kernel, slots, parts };
  }
}

function runLength(costPerWorkgroup: number): number {
  return Math.max(1, Math.min(MAX_WORKGROUPS, Math.floor(RESTART_COST / costPerWorkgroup)));
}

/** The largest `last`, all workgroups or a multiple of `multiple` after `first`, whose windows fit; by bisection. */
function longestFit(
  first: number,
  workgroups: number,
  multiple: number,
  fits: (first: number, last: number) => boolean,
): number | undefined {
  if (fits(first, workgroups)) return workgroups;
  let low = 0;
  let high = Math.ceil((workgroups - first) / multiple);
  while (low + 1 < high) {
    const middle = (low + high) >> 1;
    if (fits(first, first + middle * multiple)) low = middle;
    else high = middle;
  }
  return low === 0 ? undefined : first + low * multiple;
}
