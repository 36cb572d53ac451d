/**
 * @file How dispatches get to the device: recorded until a submit is full, at most two full submits in flight. Measures how
 * fast work completes and paces the next submits by it.
 */
import { MAX_WORKGROUPS } from "../kernels/kernel.ts";
import type { Dispatch } from "../lower/dispatches.ts";
import type { DeviceHealth } from "./device-health.ts";
import type { Pacer } from "./pacing.ts";

/** Full submits that may be in flight. */
const IN_FLIGHT = 2;

export class SubmitQueue {
  readonly #device: GPUDevice;
  readonly #health: DeviceHealth;
  readonly #pacer: Pacer;
  readonly #now: () => number;
  #encoder: GPUCommandEncoder | undefined;
  #pass: GPUComputePassEncoder | undefined;
  #recordedCost = 0;
  readonly #inFlight: { readonly cost: number; readonly done: Promise<void> }[] = [];
  #inFlightCost = 0;
  #lastDoneMs = 0;
  #turn: { cost: number; readonly startedMs: number } | undefined;
  #submits = 0;

  /** `now` gives milliseconds. */
  constructor(device: GPUDevice, health: DeviceHealth, pacer: Pacer, now: () => number) {
    this.#device = device;
    this.#health = health;
    this.#pacer = pacer;
    this.#now = now;
  }

  get submits(): number {
    return this.#submits;
  }

  /** Operations that still fit into the current submit; at least one run of workgroups always goes. */
  get room(): number {
    return this.#pacer.budget - this.#recordedCost;
  }

  /** Submits what is recorded if it is full, and waits while too much is in flight. */
  async makeRoom(): Promise<void> {
    if (this.room > 0) return;
    this.flush();
    while (this.#inFlightCost > (IN_FLIGHT - 1) * this.#pacer.budget && this.#inFlight.length > 0)
      await this.#health.answer(this.#inFlight[0]!.done);
  }

  /** Records all parts of a dispatch, cut where a submit is full. */
  async record(
    { parts }: Dispatch,
    pipeline: GPUComputePipeline,
    groups: readonly GPUBindGroup[],
    signal: AbortSignal | undefined,
  ): Promise<void> {
    for (const [i, { runs }] of parts.entries()) {
      for (let at = 0; at < runs.length; ) {
        await this.makeRoom();
        signal?.throwIfAborted();
        const { recordOffset } = runs[at]!;
        let { workgroups, cost } = runs[at]!;
        at++;
        while (at < runs.length) {
          const next = runs[at]!;
          if (cost + next.cost > this.room || workgroups + next.workgroups > MAX_WORKGROUPS) break;
          workgroups += next.workgroups;
          cost += next.cost;
          at++;
        }
        this.#dispatch(pipeline, groups[i]!, recordOffset, workgroups, cost);
      }
    }
  }

  #dispatch(
    pipeline: GPUComputePipeline,
    bindGroup: GPUBindGroup,
    recordOffset: number,
    workgroups: number,
    cost: number,
  ): void {
    this.#pass ??= this.#begin().beginComputePass();
    this.#pass.setPipeline(pipeline);
    this.#pass.setBindGroup(0, bindGroup, [recordOffset]);
    this.#pass.dispatchWorkgroups(workgroups);
    this.#recordedCost += cost;
  }

  copy(from: GPUBuffer, fromOffset: number, to: GPUBuffer, toOffset: number, bytes: number): void {
    this.#pass?.end();
    this.#pass = undefined;
    this.#begin().copyBufferToBuffer(from, fromOffset, to, toOffset, bytes);
  }

  /** Submits what is recorded. */
  flush(): void {
    const encoder = this.#encoder;
    if (!encoder) return;
    this.#pass?.end();
    this.#pass = undefined;
    this.#encoder = undefined;
    const cost = this.#recordedCost;
    this.#recordedCost = 0;
    const startedMs = this.#now();
    this.#device.queue.submit([encoder.finish()]);
    this.#submits++;
    const done = this.#device.queue.onSubmittedWorkDone().then(
      () => {
        this.#ended(cost, startedMs);
        this.#inFlight.shift();
        this.#inFlightCost -= cost;
      },
      // The device is gone: `health` says why.
      () => undefined,
    );
    this.#inFlight.push({ cost, done });
    this.#inFlightCost += cost;
  }

  /** Ends that are reported in one turn count as one piece of work: when each of them was done is not known. */
  #ended(cost: number, startedMs: number): void {
    const turn = this.#turn ?? { cost: 0, startedMs: Math.max(startedMs, this.#lastDoneMs) };
    turn.cost += cost;
    this.#lastDoneMs = this.#now();
    if (this.#turn) return;
    this.#turn = turn;
    setTimeout(() => {
      this.#turn = undefined;
      this.#pacer.observe(turn.cost, this.#lastDoneMs - turn.startedMs);
    });
  }

  /** Submits, and waits until all of it is done. Rejects with DeviceError if any of it failed. */
  async settle(): Promise<void> {
    this.flush();
    await this.#health.answer(this.#device.queue.onSubmittedWorkDone());
  }

  #begin(): GPUCommandEncoder {
    this.#encoder ??= this.#device.createCommandEncoder();
    return this.#encoder;
  }
}
