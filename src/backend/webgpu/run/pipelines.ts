/** @file Compiled kernels by variant, and the layouts of their bindings. */
import { SolvayError } from "../../../errors.ts";
import { type Kernel, RECORD_BYTES } from "../kernels/kernel.ts";
import { type DeviceHealth, gpuError } from "./device-health.ts";
import { COMPUTE_STAGE } from "./gpu-flags.ts";

export class PipelineCache {
  readonly #device: GPUDevice;
  readonly #health: DeviceHealth;
  readonly #pipelines = new Map<string, Promise<GPUComputePipeline>>();
  readonly #layouts = new Map<number, { bindings: GPUBindGroupLayout; pipeline: GPUPipelineLayout }>();

  constructor(device: GPUDevice, health: DeviceHealth) {
    this.#device = device;
    this.#health = health;
  }

  /** Number of compiled kernels. */
  get size(): number {
    return this.#pipelines.size;
  }

  /** `slots` storage bindings, then the parameter record at a dynamic offset. */
  bindingLayout(slots: number): GPUBindGroupLayout {
    return this.#layout(slots).bindings;
  }

  /** Compiles at first use. Rejects with DeviceError, which names the kernel. */
  get(kernel: Kernel): Promise<GPUComputePipeline> {
    let pipeline = this.#pipelines.get(kernel.key);
    if (!pipeline) {
      pipeline = this.#compile(kernel);
      pipeline.catch(() => this.#pipelines.delete(kernel.key));
      this.#pipelines.set(kernel.key, pipeline);
    }
    return pipeline;
  }

  async #compile(kernel: Kernel): Promise<GPUComputePipeline> {
    const label = kernel.key;
    const device = this.#device;
    device.pushErrorScope("validation");
    const module = device.createShaderModule({ label, code: kernel.wgsl() });
    const invalid = device.popErrorScope();
    const compiled = device.createComputePipelineAsync({
      label,
      layout: this.#layout(kernel.slots.length).pipeline,
      compute: { module, entryPoint: "main" },
    });
    compiled.catch(() => undefined); // awaited below
    const error = await this.#health.answer(invalid);
    if (error) throw gpuError(label, error.message);
    try {
      return await this.#health.answer(compiled);
    } catch (cause) {
      if (cause instanceof SolvayError) throw cause;
      throw gpuError(label, cause instanceof Error ? cause.message : String(cause), cause);
    }
  }

  #layout(slots: number) {
    let layout = this.#layouts.get(slots);
    if (!layout) {
      const storage = Array.from({ length: slots }, (_, binding) => ({
        binding,
        visibility: COMPUTE_STAGE,
        buffer: { type: "storage" as const },
      }));
      const params = {
        binding: slots,
        visibility: COMPUTE_STAGE,
        buffer: { type: "uniform" as const, hasDynamicOffset: true, minBindingSize: RECORD_BYTES },
      };
      const bindings = this.#device.createBindGroupLayout({ label: `${slots} slots`, entries: [...storage, params] });
      const pipeline = this.#device.createPipelineLayout({ label: `${slots} slots`, bindGroupLayouts: [bindings] });
      layout = { bindings, pipeline };
      this.#layouts.set(slots, layout);
    }
    return layout;
  }
}
