/** @file Bind groups of a dispatch, and lists that are run apart from any device's arenas: by the self-test and by benchmarks. */
import { RECORD_BYTES } from "../kernels/kernel.ts";
import type { Dispatch, DispatchList } from "../lower/dispatches.ts";
import { USAGE } from "./gpu-flags.ts";
import type { PipelineCache } from "./pipelines.ts";

/** Where a storage of a list lies. */
export interface GpuPlace {
  readonly buffer: GPUBuffer;
  readonly offsetBytes: number;
}

/** A bind group for each part of a dispatch. `placeOf` gets the storage's index; `records`: the list's parameter records. */
export function bindDispatch(
  device: GPUDevice,
  pipelines: PipelineCache,
  { kernel, slots, parts }: Dispatch,
  placeOf: (storage: number) => GpuPlace,
  records: GPUBuffer,
): GPUBindGroup[] {
  return parts.map(({ windows }) =>
    device.createBindGroup({
      label: kernel.key,
      layout: pipelines.bindingLayout(slots.length),
      entries: [
        ...slots.map((storage, binding) => {
          const { buffer, offsetBytes } = placeOf(storage);
          const [from, to] = windows[binding]!;
          return { binding, resource: { buffer, offset: offsetBytes + from, size: to - from } };
        }),
        { binding: slots.length, resource: { buffer: records, offset: 0, size: RECORD_BYTES } },
      ],
    }),
  );
}

/** The list's kernels. Rejects with DeviceError, which names the one that doesn't compile. */
export function compileList(pipelines: PipelineCache, { dispatches }: DispatchList): Promise<GPUComputePipeline[]> {
  return Promise.all(dispatches.map(({ kernel }) => pipelines.get(kernel)));
}

/** A list with a buffer for each of its storages. Disposing it destroys them. */
export class LooseList implements Disposable {
  /** In the order of the list's storages. */
  readonly storages: readonly GPUBuffer[];
  readonly #list: DispatchList;
  readonly #compiled: readonly GPUComputePipeline[];
  readonly #records: GPUBuffer;
  readonly #groups: readonly (readonly GPUBindGroup[])[];

  /** `compiled`: of compileList. */
  constructor(
    device: GPUDevice,
    pipelines: PipelineCache,
    list: DispatchList,
    compiled: readonly GPUComputePipeline[],
    label: string,
  ) {
    this.#list = list;
    this.#compiled = compiled;
    this.storages = list.storages.map(({ kind, bytes }) =>
      device.createBuffer({
        label: `${label} ${kind}`,
        size: Math.max(256, bytes),
        usage: USAGE.storage | USAGE.copyTarget | USAGE.copySource,
      }),
    );
    this.#records = device.createBuffer({
      label: `${label} parameters`,
      size: list.records.length,
      usage: USAGE.uniform | USAGE.copyTarget,
    });
    device.queue.writeBuffer(this.#records, 0, list.records);
    const placeOf = (storage: number) => ({ buffer: this.storages[storage]!, offsetBytes: 0 });
    this.#groups = list.dispatches.map((dispatch) => bindDispatch(device, pipelines, dispatch, placeOf, this.#records));
  }

  /** All dispatches, in their order. */
  encode(encoder: GPUCommandEncoder): void {
    const pass = encoder.beginComputePass();
    for (const [i, { parts }] of this.#list.dispatches.entries()) {
      pass.setPipeline(this.#compiled[i]!);
      for (const [part, { runs }] of parts.entries()) {
        for (const { recordOffset, workgroups } of runs) {
          pass.setBindGroup(0, this.#groups[i]![part]!, [recordOffset]);
          pass.dispatchWorkgroups(workgroups);
        }
      }
    }
    pass.end();
  }

  [Symbol.dispose](): void {
    for (const buffer of [...this.storages, this.#records]) buffer.destroy();
  }
}
