/** @file The same shapes through ONNX Runtime on the CPU. */
import { HostDevice } from "../backend/host-device.ts";
import { openOnnxBackend } from "../node/onnx.ts";
import { measureRate, type Rate, type RateOptions } from "./rates.ts";
import { type BenchShape, benchProblem, SDXL_SHAPES, shrunk } from "./shapes.ts";

export type HostResult = BenchShape & Rate;

export interface HostBench {
  readonly shrink: number;
  readonly shapes: readonly HostResult[];
}

/** Rejects with DeviceError where ONNX Runtime can't be loaded. */
export async function benchHost(
  options: Omit<RateOptions, "runs" | "leastMs"> & {
    readonly shrink?: number;
    /** Default: SDXL's. */
    readonly shapes?: readonly BenchShape[];
    readonly onShape?: (result: HostResult) => void;
  },
): Promise<HostBench> {
  const { shrink = 1, shapes: all = SDXL_SHAPES } = options;
  await using device = new HostDevice(await openOnnxBackend());
  const shapes: HostResult[] = [];
  for (const full of all) {
    const shape = shrunk(full, shrink);
    const result = {
      ...shape,
      ...(await measureRate(device, benchProblem(shape), { ...options, runs: 2, leastMs: 0 })),
    };
    shapes.push(result);
    options.onShape?.(result);
  }
  return { shrink, shapes };
}
