/**
 * @file A graphics device that can be opened anew after a loss, with what is remembered of its adapter: how fast it works, how
 * careful to be, its tiles. Rebuilds are counted on disk.
 */
import path from "node:path";
import { describeAdapter } from "../../backend/webgpu/adapter/adapter.ts";
import type { OpenedGpu } from "../../backend/webgpu/adapter/opened-gpu.ts";
import { tableChoice } from "../../backend/webgpu/adapter/tuning.ts";
import { createWebGpuDevice, type WebGpuDevice, type WebGpuOptions } from "../../backend/webgpu/run/device.ts";
import { adapterStateFile, loadAdapterState, saveAdapterState } from "./adapter-state.ts";
import { openDawn } from "./dawn.ts";
import { noteRebuild, requireStable } from "./rebuild-limiter.ts";

export interface RecoverableOptions {
  /** Part of an adapter's name; needed for software adapters. */
  readonly adapter?: string;
  readonly precision?: WebGpuOptions["precision"];
  /** For what is remembered; made when something is. */
  readonly stateFolder: string;
  /** Milliseconds of the wall clock, which processes share. */
  readonly wallClock: () => number;
  /** Opens a device by part of its adapter's name: for tests. */
  readonly open?: (adapter: string | undefined) => Promise<OpenedGpu>;
  readonly staging?: WebGpuOptions["staging"];
}

export interface RecoverableDevice {
  /** The first one. The caller disposes it, or the last that `reopen` gave. */
  readonly device: WebGpuDevice;
  /**
   * Ends the device before and opens another on the same adapter. Rejects with DeviceError `E_GPU_UNSTABLE` after too many, or
   * as opening does; it may be called again then.
   */
  readonly reopen: () => Promise<WebGpuDevice>;
}

/** Rejects with DeviceError: no adapter that suffices, or too many losses a moment ago. */
export async function openRecoverable(options: RecoverableOptions): Promise<RecoverableDevice> {
  const { stateFolder, wallClock, open = openDawn, precision, staging } = options;
  const stateFile = adapterStateFile(stateFolder);
  const rebuildFile = path.join(stateFolder, "rebuilds.json");

  const openOn = async (adapter: string | undefined, before?: WebGpuDevice): Promise<WebGpuDevice> => {
    const opened = await open(adapter);
    const { pacing = before?.pacing, tiles } = await loadAdapterState(stateFile, opened.facts);
    return await createWebGpuDevice(opened, {
      staging,
      precision,
      // The kernels of the one before: a retry must not change a bit.
      paths: before?.chosen.paths,
      // A loss counts even where it could not be written down.
      pacing: pacing && { ...pacing, caution: Math.min(pacing.caution, before?.pacing.caution ?? 1) },
      chooseTile: tiles && tableChoice(tiles),
      keepPacing: (measured) => saveAdapterState(stateFile, opened.facts, { pacing: measured }),
    });
  };

  await requireStable(rebuildFile, wallClock());
  const device = await openOn(options.adapter);
  let current = device;
  return {
    device,
    async reopen() {
      await noteRebuild(rebuildFile, wallClock());
      await current[Symbol.asyncDispose]();
      current = await openOn(describeAdapter(current.adapter), current);
      return current;
    },
  };
}
