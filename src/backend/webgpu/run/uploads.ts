/** @file Blocks of weights to their spans: reads into plain memory, staging slots, copies, and the repacking of convolutions' weights. */
import type { BlockTensor, BlockUpload, Span } from "../../device.ts";
import { type Kernel, MAX_WORKGROUPS, RECORD_BYTES, writeRecord } from "../kernels/kernel.ts";
import { COPY_ITEMS, repackKernel } from "../kernels/movement.ts";
import {
  planUpload,
  READ_BUFFERS,
  RECORDS_BYTES,
  type StagedPiece,
  type StagedRepack,
  type StagingSize,
} from "../lower/upload-plan.ts";
import type { DeviceHealth } from "./device-health.ts";
import { USAGE } from "./gpu-flags.ts";
import type { DeviceMemory, GpuArena } from "./memory.ts";
import type { PipelineCache } from "./pipelines.ts";
import { ReadBuffers } from "./read-buffers.ts";
import { StagingRing, type StagingSlot } from "./staging.ts";

/** A longer read is cut, so that several threads of the system share it. */
const READ_BYTES = 4 * 1024 ** 2;

export class Uploader {
  readonly #device: GPUDevice;
  readonly #memory: DeviceMemory;
  readonly #pipelines: PipelineCache;
  readonly #ring: StagingRing;
  readonly #readBuffers: ReadBuffers;
  readonly #landing: GPUBuffer;
  readonly #records: GPUBuffer;
  /** By arena and span. */
  readonly #bindGroups = new Map<GpuArena, Map<string, GPUBindGroup>>();
  /** What a slot has room for before the parameter records at its end. */
  readonly #pieceBytes: number;

  constructor(
    device: GPUDevice,
    parts: { readonly health: DeviceHealth; readonly memory: DeviceMemory; readonly pipelines: PipelineCache },
    size: StagingSize,
  ) {
    this.#device = device;
    this.#memory = parts.memory;
    this.#pipelines = parts.pipelines;
    this.#ring = new StagingRing(device, parts.health, size.slots, size.slotBytes);
    this.#pieceBytes = size.slotBytes - RECORDS_BYTES;
    this.#readBuffers = new ReadBuffers(READ_BUFFERS, this.#pieceBytes);
    this.#landing = device.createBuffer({
      label: "landing",
      size: size.slotBytes,
      usage: USAGE.storage | USAGE.copyTarget,
    });
    this.#records = device.createBuffer({
      label: "repacking",
      size: RECORDS_BYTES,
      usage: USAGE.uniform | USAGE.copyTarget,
    });
  }

  /** Bytes of slots that came back from the device. */
  get returnedBytes(): number {
    return this.#ring.returnedBytes;
  }

  async upload(block: BlockUpload, signal?: AbortSignal): Promise<void> {
    for (const piece of planUpload(block.tensors, this.#pieceBytes)) {
      const kernels = new Set(piece.repacks.map(({ halves }) => halves));
      for (const halves of kernels) await this.#pipelines.get(repackKernel(halves));
      const slot = await this.#readBuffers.lend(async (buffer) => {
        await this.#read(block, piece, buffer, signal);
        const taken = await this.#ring.take(signal);
        taken.bytes.set(buffer.subarray(0, usedBytes(piece)));
        return taken;
      });
      await this.#submit(block.tensors, piece, slot);
    }
  }

  /** Forgets what is bound to an arena that is gone. */
  forget(arena: GpuArena): void {
    this.#bindGroups.delete(arena);
  }

  /** Forgets bindings of spans (their arenas may be gone). */
  release(): void {
    this.#bindGroups.clear();
  }

  destroy(): void {
    this.#ring.destroy();
    this.#landing.destroy();
    this.#records.destroy();
  }

  /** All reads of a piece at once; waits for each, also after a failure, because they write into the buffer. */
  async #read(
    block: BlockUpload,
    piece: StagedPiece,
    buffer: Uint8Array<ArrayBuffer>,
    signal?: AbortSignal,
  ): Promise<void> {
    const reads = piece.reads.flatMap(({ startByte, slotOffset, length }) =>
      Array.from({ length: Math.ceil(length / READ_BYTES) }, (_, i) => {
        const from = i * READ_BYTES;
        const to = Math.min(length, from + READ_BYTES);
        return block.read(startByte + from, buffer.subarray(slotOffset + from, slotOffset + to), signal);
      }),
    );
    const results = await Promise.allSettled(reads);
    signal?.throwIfAborted();
    for (const result of results) if (result.status === "rejected") throw result.reason;
    for (const { slotOffset, readBytes, bytes, narrow } of [...piece.copies, ...piece.repacks]) {
      if (narrow) narrowToF32(buffer, slotOffset, readBytes);
      else buffer.fill(0, slotOffset + readBytes, slotOffset + bytes);
    }
  }

  async #submit(tensors: readonly BlockTensor[], piece: StagedPiece, slot: StagingSlot): Promise<void> {
    const repacks = await Promise.all(
      piece.repacks.map(async (repack) => {
        const kernel = repackKernel(repack.halves);
        return { repack, kernel, pipeline: await this.#pipelines.get(kernel) };
      }),
    );
    const runs = repacks.flatMap(({ repack, kernel, pipeline }) => {
      const items = repack.halves ? Math.ceil(repack.values / 2) : repack.values;
      const workgroups = Math.ceil(items / COPY_ITEMS);
      if (workgroups > MAX_WORKGROUPS) throw new RangeError("staging slots are too large for one repacking");
      return [{ repack, kernel, pipeline, items, workgroups }];
    });
    const view = new DataView(slot.bytes.buffer);
    runs.forEach(({ repack, kernel, items }, i) => {
      writeRepack(view, this.#pieceBytes + i * RECORD_BYTES, kernel, repack, items);
    });
    slot.buffer.unmap();
    const encoder = this.#device.createCommandEncoder();
    for (const { tensor, slotOffset, targetOffset, bytes } of piece.copies) {
      const { span } = tensors[tensor]!;
      const { buffer } = this.#memory.arenaOf(span);
      encoder.copyBufferToBuffer(slot.buffer, slotOffset, buffer, span.offsetBytes + targetOffset, bytes);
    }
    if (runs.length > 0) {
      for (const { repack } of runs)
        encoder.copyBufferToBuffer(slot.buffer, repack.slotOffset, this.#landing, repack.slotOffset, repack.bytes);
      encoder.copyBufferToBuffer(slot.buffer, this.#pieceBytes, this.#records, 0, runs.length * RECORD_BYTES);
      const pass = encoder.beginComputePass();
      runs.forEach(({ repack, pipeline, workgroups }, i) => {
        pass.setPipeline(pipeline);
        pass.setBindGroup(0, this.#bindGroup(tensors[repack.tensor]!.span), [i * RECORD_BYTES]);
        pass.dispatchWorkgroups(workgroups);
      });
      pass.end();
    }
    this.#device.queue.submit([encoder.finish()]);
    this.#ring.submitted(
      slot,
      [...piece.copies, ...piece.repacks].reduce((sum, { readBytes }) => sum + readBytes, 0),
    );
  }

  #bindGroup(span: Span): GPUBindGroup {
    const arena = this.#memory.arenaOf(span);
    const groups = this.#bindGroups.get(arena) ?? new Map<string, GPUBindGroup>();
    this.#bindGroups.set(arena, groups);
    const key = `${span.offsetBytes}:${span.lengthBytes}`;
    let group = groups.get(key);
    if (!group) {
      const out = { buffer: arena.buffer, offset: span.offsetBytes, size: span.lengthBytes };
      group = this.#device.createBindGroup({
        layout: this.#pipelines.bindingLayout(2),
        entries: [
          { binding: 0, resource: { buffer: this.#landing } },
          { binding: 1, resource: out },
          { binding: 2, resource: { buffer: this.#records, offset: 0, size: RECORD_BYTES } },
        ],
      });
      groups.set(key, group);
    }
    return group;
  }
}

/** Up to the end of the last byte that is copied or repacked. */
function usedBytes({ copies, repacks }: StagedPiece): number {
  return Math.max(...[...copies, ...repacks].map(({ slotOffset, bytes }) => slotOffset + bytes));
}

function writeRepack(view: DataView, at: number, kernel: Kernel, repack: StagedRepack, items: number): void {
  const { values, taps, channels, slotOffset, targetOffset } = repack;
  const params = { items, values, taps, channels, source: slotOffset / 4, place: targetOffset / 4 };
  writeRecord(view, at, kernel, 0, [0, 0], params);
}

/** f64 to f32 in place, from the front: a value's place is never beyond its source. */
function narrowToF32(bytes: Uint8Array<ArrayBuffer>, offset: number, length: number): void {
  const doubles = new Float64Array(bytes.buffer, bytes.byteOffset + offset, length / 8);
  const floats = new Float32Array(bytes.buffer, bytes.byteOffset + offset, length / 8);
  for (let i = 0; i < floats.length; i++) floats[i] = doubles[i]!;
}
