/** @file A graphics device that fails on purpose: methods of a real one, replaced. */

import type { OpenedGpu } from "../../src/backend/webgpu/adapter/opened-gpu.ts";
import { USAGE } from "../../src/backend/webgpu/run/gpu-flags.ts";

/**
 * Calls `before` each time something asynchronous is asked of the device (in order, counted from 0): error scopes, kernels,
 * maps, waiting for work.
 */
export function watchAwaits({ device }: OpenedGpu, before: (call: number) => void): void {
  let calls = 0;
  const watch = <T extends object>(target: T, name: keyof T & string) => {
    const original = (target[name] as (...args: unknown[]) => unknown).bind(target);
    Object.defineProperty(target, name, {
      // It may fail in other ways, too.
      configurable: true,
      value: (...args: unknown[]) => {
        before(calls++);
        return original(...args);
      },
    });
  };
  watch(device, "popErrorScope");
  watch(device, "createComputePipelineAsync");
  watch(device.queue, "onSubmittedWorkDone");
  const createBuffer = device.createBuffer.bind(device);
  Object.defineProperty(device, "createBuffer", {
    value: (descriptor: GPUBufferDescriptor) => {
      const buffer = createBuffer(descriptor);
      watch(buffer, "mapAsync");
      return buffer;
    },
  });
}

/** From the first time on, the device leaves this question without an answer. */
export type Unanswered =
  | "popErrorScope"
  | "createComputePipelineAsync"
  | "onSubmittedWorkDone"
  | "map to read"
  | "map to write";

export function fallSilent({ device }: OpenedGpu, question: Unanswered, onAsked: () => void = () => {}): void {
  const never = () => {
    onAsked();
    return new Promise<never>(() => undefined);
  };
  if (question === "onSubmittedWorkDone") Object.defineProperty(device.queue, question, { value: never });
  else if (question === "popErrorScope" || question === "createComputePipelineAsync")
    Object.defineProperty(device, question, { value: never });
  else {
    const createBuffer = device.createBuffer.bind(device);
    const isAsked = ({ mappedAtCreation = false, usage }: GPUBufferDescriptor) =>
      question === "map to write" ? mappedAtCreation : (usage & USAGE.mapRead) !== 0;
    Object.defineProperty(device, "createBuffer", {
      value: (descriptor: GPUBufferDescriptor) => {
        const buffer = createBuffer(descriptor);
        if (isAsked(descriptor)) Object.defineProperty(buffer, "mapAsync", { value: never });
        return buffer;
      },
    });
  }
}

/** `refuse` says which allocations (counted from 0) end as if memory were short. */
export function limitMemory({ device }: OpenedGpu, refuse: (allocation: number) => boolean): void {
  const filters: GPUErrorFilter[] = [];
  let allocations = 0;
  const push = device.pushErrorScope.bind(device);
  const pop = device.popErrorScope.bind(device);
  Object.defineProperty(device, "pushErrorScope", {
    value: (filter: GPUErrorFilter) => {
      filters.push(filter);
      push(filter);
    },
  });
  Object.defineProperty(device, "popErrorScope", {
    value: async () => {
      const short = filters.pop() === "out-of-memory" && refuse(allocations++);
      const error = await pop();
      return short ? { message: "not enough memory" } : error;
    },
  });
}

/** Dispatches (counted from 0 over all passes) come to nothing where `drop` says so. */
export function dropDispatches({ device }: Pick<OpenedGpu, "device">, drop = (_dispatch: number) => true): void {
  const createEncoder = device.createCommandEncoder.bind(device);
  let dispatches = 0;
  Object.defineProperty(device, "createCommandEncoder", {
    value: () => {
      const encoder = createEncoder();
      const begin = encoder.beginComputePass.bind(encoder);
      Object.defineProperty(encoder, "beginComputePass", {
        value: () => {
          const pass = begin();
          const dispatch = pass.dispatchWorkgroups.bind(pass);
          Object.defineProperty(pass, "dispatchWorkgroups", {
            value: (...counts: Parameters<typeof dispatch>) => {
              if (!drop(dispatches++)) dispatch(...counts);
            },
          });
          return pass;
        },
      });
      return encoder;
    },
  });
}
