/**
 * @file A graphics device that can be opened anew after a loss, with what is remembered of its adapter: how fast it works, how
 * careful to be, its tiles. Rebuilds are counted on disk.
 */
import path from "node:path";
import { describeAdapter } from "./adapter.ts";
import { type OpenedDevice, openDawn } from "./dawn.ts";
import { createWebGpuDevice, type WebGpuDevice, type WebGpuOptions } from "./device.ts";
import { noteRebuild, requireStable } from "./rebuild-limiter.ts";
import { loadAdapterState, saveAdapterState } from "./state-file.ts";
import { tableChoice } from "./tuning.ts";

export interface RecoverableOptions {
  /** Part of an adapter's name; needed for software adapters. */
  readonly adapter?: string;
  readonly precision?: WebGpuOptions["precision"];
  /** For what is remembered; made when something is. */
  readonly stateFolder: string;
  /** Milliseconds of the wall clock, which processes share. */
  readonly wallClock: () => number;
  /** Opens a device by part of its adapter's name: for tests. */
  readonly open?: (adapter: string | undefined) => Promise<OpenedDevice>;
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
  /** Has the device, and those opened after it, compute in fp32 whatever was declared; or as declared again. */
  readonly useFp32: (on: boolean) => Promise<void>;
}

/** Rejects with DeviceError: no adapter that suffices, or too many losses a moment ago. */
export async function openRecoverable(options: RecoverableOptions): Promise<RecoverableDevice> {
  const { stateFolder, wallClock, open = openDawn, precision, staging } = options;
  const stateFile = path.join(stateFolder, "adapters.json");
  const rebuildFile = path.join(stateFolder, "rebuilds.json");

  const openOn = async (adapter: string | undefined, before?: WebGpuDevice): Promise<WebGpuDevice> => {
    const opened = await open(adapter);
    const { pacing = before?.pacing, tiles } = await loadAdapterState(stateFile, opened.facts);
    return await createWebGpuDevice({
      open: async () => opened,
      ...(staging ? { staging } : {}),
      // The kernels of the one before: a retry must not change a bit.
      ...(before ? { paths: before.chosen.paths } : precision ? { precision } : {}),
      // A loss counts even where it could not be written down.
      ...(pacing ? { pacing: { ...pacing, caution: Math.min(pacing.caution, before?.pacing.caution ?? 1) } } : {}),
      ...(tiles ? { chooseTile: tableChoice(tiles) } : {}),
      keepPacing: (measured) => saveAdapterState(stateFile, opened.facts, { pacing: measured }),
    });
  };

  await requireStable(rebuildFile, wallClock());
  const device = await openOn(options.adapter);
  let current = device;
  let inFp32 = false;
  return {
    device,
    async useFp32(on) {
      inFp32 = on;
      await current.useFp32(on);
    },
    async reopen() {
      await noteRebuild(rebuildFile, wallClock());
      await current[Symbol.asyncDispose]();
      current = await openOn(describeAdapter(current.adapter), current);
      await current.useFp32(inFp32);
      return current;
    },
  };
}
