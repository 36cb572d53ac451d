/** @file What computes on this machine: a graphics card through Dawn, ONNX Runtime on the CPU, or plain loops. */
import type { Backend } from "../backend/backend.ts";
import { HostDevice } from "../backend/host-device.ts";
import type { Precision } from "../backend/precision.ts";
import { createReferenceBackend } from "../backend/reference/backend.ts";
import { describeAdapter, requireAdapterUse } from "../backend/webgpu/adapter/adapter.ts";
import { describePrecision } from "../backend/webgpu/lower/paths.ts";
import type { Compute } from "../engine/engine.ts";
import { DeviceError } from "../errors.ts";
import type { OpenRequest } from "../job/checked.ts";
import { openRecoverable } from "./gpu/recoverable.ts";
import { gpuMachine, hostMachine } from "./host-machine.ts";
import { loadRates, saveRates } from "./machine-rates.ts";
import { openOnnxBackend } from "./onnx.ts";
import { defaultStateFolder } from "./state/folder.ts";

type ComputeOptions = Pick<OpenRequest, "backend" | "adapter" | "precision">;

/** With what earlier runs measured of it. Rejects with DeviceError or UsageError. */
export async function openCompute(options: ComputeOptions): Promise<Compute> {
  const compute = await openDevice(options);
  const folder = defaultStateFolder(process.env);
  const { backend, machine, precision } = compute;
  const key = `${backend}: ${machine.name}, ${machine.hardware}, ${precision}`;
  return {
    ...compute,
    rates: await loadRates(folder, key),
    // Remembering is a help, not a need: a folder that can't be written costs no picture.
    saveRates: (size, rates) => saveRates(folder, key, size, rates).catch(() => undefined),
  };
}

/** "auto" takes a real graphics card, or the adapter that is named; else the CPU, and says why. */
async function openDevice({ backend = "auto", adapter, precision }: ComputeOptions): Promise<Compute> {
  requireAdapterUse(backend, adapter);
  switch (backend) {
    case "reference":
      return hostCompute(backend, createReferenceBackend(), precision);
    case "cpu":
      return hostCompute(backend, await openOnnxBackend(), precision);
    case "webgpu": {
      const stateFolder = defaultStateFolder(process.env);
      const { device, reopen } = await openRecoverable({
        adapter,
        precision,
        stateFolder,
        wallClock: () => Date.now(),
      });
      const { paths, notes } = device.chosen;
      return {
        backend,
        device,
        reopen,
        machine: gpuMachine(describeAdapter(device.adapter)),
        precision: describePrecision(paths),
        note: notes.length > 0 ? notes.map((text) => `${text}.`).join(" ") : undefined,
      };
    }
    case "auto":
      try {
        return await openDevice({ backend: "webgpu", adapter, precision });
      } catch (error) {
        if (adapter !== undefined || !(error instanceof DeviceError)) throw error;
        const cpu = await openDevice({ backend: "cpu", precision });
        return { ...cpu, note: [`Computing on the CPU: ${error.problem}.`, cpu.note].filter(Boolean).join(" ") };
      }
  }
}

function hostCompute(backend: "cpu" | "reference", compute: Backend, precision: Precision | undefined): Compute {
  const note = precision === "fp16" ? "The CPU computes in fp32: --precision fp16 is for graphics cards." : undefined;
  return { backend, device: new HostDevice(compute), machine: hostMachine(), precision: "fp32", note };
}
