/** @file GB/s from host memory to a GPU, and how much of it hides behind computing. */

import { closeGpu } from "../backend/webgpu/adapter/opened-gpu.ts";
import type { WebGpuDevice } from "../backend/webgpu/run/device.ts";
import { USAGE } from "../backend/webgpu/run/gpu-flags.ts";
import { openDawn } from "../node/gpu/dawn.ts";
import { fastest, prepareCall, type RateOptions } from "./rates.ts";
import type { BenchProblem } from "./shapes.ts";

export interface UploadRates {
  /** Through the ring of mapped staging buffers, as the engine does. */
  readonly ringGbps: number;
  /** Through queue.writeBuffer. */
  readonly writeBufferGbps: number;
}

async function uploadTo(device: WebGpuDevice, bytes: number, signal?: AbortSignal) {
  const arena = await device.createArena(bytes, "bench upload");
  const source = new Uint8Array(bytes).fill(1);
  const stored = { dtype: "f16" as const, shape: [bytes / 2] };
  const tensors = [{ name: "w", stored, storedOffsetBytes: 0, span: { arena, offsetBytes: 0, lengthBytes: bytes } }];
  const read = async (start: number, into: Uint8Array) => into.set(source.subarray(start, start + into.length));
  const upload = () => device.upload({ label: "bench", storedBytes: bytes, tensors, read }, signal);
  return { arena, source, upload };
}

export async function uploadRates(device: WebGpuDevice, bytes: number, options: RateOptions): Promise<UploadRates> {
  const { arena, source, upload } = await uploadTo(device, bytes, options.signal);
  const ringMs = await fastest(async () => {
    await upload();
    await device.settle();
  }, options);
  arena[Symbol.dispose]();
  // A device of its own: Solvay's doesn't lend its queue.
  const opened = await openDawn(device.adapter.device);
  const target = opened.device.createBuffer({ size: bytes, usage: USAGE.storage | USAGE.copyTarget });
  const writeMs = await fastest(async () => {
    opened.device.queue.writeBuffer(target, 0, source);
    await opened.device.queue.onSubmittedWorkDone();
  }, options);
  await closeGpu(opened);
  return { ringGbps: bytes / ringMs / 1e6, writeBufferGbps: bytes / writeMs / 1e6 };
}

export interface Overlap {
  readonly uploadMs: number;
  readonly computeMs: number;
  /** Both at once. */
  readonly bothMs: number;
  /** Of the shorter one, what hides behind the longer one: 0 where one waits for the other, 1 where it costs nothing. */
  readonly hiddenShare: number;
}

/** Uploads `bytes` while the problem is computed so many times. */
export async function measureOverlap(
  device: WebGpuDevice,
  problem: BenchProblem,
  { bytes, repeats }: { readonly bytes: number; readonly repeats: number },
  options: RateOptions,
): Promise<Overlap> {
  const { arena, upload } = await uploadTo(device, bytes, options.signal);
  await using prepared = await prepareCall(device, problem, options.signal);
  const compute = async () => {
    for (let i = 0; i < repeats; i++) await device.run(prepared.call, options.signal);
  };
  const timed = (work: () => Promise<unknown>) =>
    fastest(async () => {
      await work();
      await device.settle();
    }, options);
  const uploadMs = await timed(upload);
  const computeMs = await timed(compute);
  const bothMs = await timed(() => Promise.all([compute(), upload()]));
  arena[Symbol.dispose]();
  return { uploadMs, computeMs, bothMs, hiddenShare: hiddenShare(uploadMs, computeMs, bothMs) };
}

export function hiddenShare(uploadMs: number, computeMs: number, bothMs: number): number {
  const share = (uploadMs + computeMs - bothMs) / Math.min(uploadMs, computeMs);
  return Math.min(1, Math.max(0, share));
}
