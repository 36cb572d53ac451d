/** @file This machine as plans see it: its memory, its default budgets, and rates for the CPU backend. */

import { availableParallelism, cpus, totalmem } from "node:os";
import { UsageError } from "../errors.ts";
import type { Budgets } from "../job/checked.ts";
import { resolveBudget } from "../ledger/budget.ts";
import { formatBytes, GiB, MiB } from "../ledger/byte-text.ts";
import { DESCRIBED_MACHINES, describedMachine, type Machine } from "../plan/machine.ts";
import type { PlanBudgets } from "../plan/plan-input.ts";

/** Node with ONNX Runtime, its sessions, the loaded tokenizers: measured 150 to 180 MiB with full-size SDXL. */
export const PROCESS_BYTES = 192 * MiB;

/** Rates of a core, to plan with until something was measured: AVX2 at 3 GHz. */
const GFLOPS_PER_CORE = 60;
const MEMORY_GBPS = 8;
const DISK_GBPS = 2;

/** Without `--vram` and `--ram`: shares of what is available now, and no more than these. */
const DEFAULTS = { deviceShare: 0.6, deviceBytes: 6 * GiB, ramShare: 0.25, ramBytes: 2 * GiB };

/** However little is available: the process is there already, and is counted. */
const LEAST_RAM_BYTES = PROCESS_BYTES + 64 * MiB;

/** Memory that this process may use at most: the container's limit, or the machine's memory. */
function hostMemoryBytes(): number {
  const limit = process.constrainedMemory();
  return limit > 0 && limit < totalmem() ? limit : totalmem();
}

/** The CPU as a device: compute in host memory, weights read beside compute. */
export function hostMachine(): Machine {
  const cores = availableParallelism();
  const bytes = hostMemoryBytes();
  const hardware = `${cores} cores, ${cpus()[0]?.model.trim() ?? "unknown"}`;
  return {
    name: "this machine's CPU",
    kind: "host",
    deviceBytes: bytes,
    ramBytes: bytes,
    gflops: cores * GFLOPS_PER_CORE,
    memoryGBps: MEMORY_GBPS,
    linkGBps: MEMORY_GBPS,
    diskGBps: DISK_GBPS,
    overlaps: true,
    hardware,
    basis: `${hardware}, assumed at ${GFLOPS_PER_CORE} GFLOP/s a core, ${MEMORY_GBPS} GB/s memory, ${DISK_GBPS} GB/s disk`,
  };
}

/** A GPU can't be asked for its memory's size: planned as 6 GB until `--vram` says otherwise, with some left to the desktop. */
const ASSUMED_GPU = { deviceBytes: 6 * GiB, vramBytes: 5.25 * GiB, gflops: 2500, memoryGBps: 190, linkGBps: 10 };

/** A graphics adapter by its name; rates are those of a small card until something is measured. */
export function gpuMachine(name: string): Machine {
  return {
    name,
    kind: "card",
    deviceBytes: ASSUMED_GPU.deviceBytes,
    ramBytes: hostMemoryBytes(),
    gflops: ASSUMED_GPU.gflops,
    memoryGBps: ASSUMED_GPU.memoryGBps,
    linkGBps: ASSUMED_GPU.linkGBps,
    diskGBps: DISK_GBPS,
    overlaps: false,
    hardware: `${formatBytes(ASSUMED_GPU.deviceBytes)} card (give --vram for another)`,
    basis:
      `assumed: ${formatBytes(ASSUMED_GPU.deviceBytes)} card (give --vram for another), ${ASSUMED_GPU.gflops} GFLOP/s, ` +
      `${ASSUMED_GPU.linkGBps} GB/s to the card, ${DISK_GBPS} GB/s disk`,
  };
}

/** Budgets in bytes for `machine`; what is not asked for follows from what is available. Throws UsageError. */
export function resolveBudgets({ vram, ram }: Budgets, machine: Machine): PlanBudgets {
  const described = machine.kind === "described";
  const cpu = machine.kind === "host";
  const available = described ? machine.ramBytes : process.availableMemory();
  const share = Math.min(DEFAULTS.deviceBytes, Math.floor(available * DEFAULTS.deviceShare));
  const deviceDefault = cpu ? share : described ? machine.deviceBytes : ASSUMED_GPU.vramBytes;
  // What waits for a card waits in RAM, and more of it is a gain.
  const ramMost = cpu ? DEFAULTS.ramBytes : machine.ramBytes / 2;
  const ramShare = Math.floor(available * (cpu ? DEFAULTS.ramShare : 0.5));
  const ramDefault = Math.min(ramMost, Math.max(ramShare, LEAST_RAM_BYTES));
  return {
    deviceBytes: vram === undefined ? deviceDefault : resolveBudget("--vram", vram, machine.deviceBytes),
    ramBytes: ram === undefined ? ramDefault : resolveBudget("--ram", ram, machine.ramBytes),
  };
}

/** Throws UsageError for a name that is not described. */
export function machineNamed(name: string): Machine {
  const machine = describedMachine(name);
  if (machine) return machine;
  throw new UsageError({
    code: "E_MACHINE",
    subject: name,
    problem: `no machine of that name is described (allowed ${DESCRIBED_MACHINES.join(", ")})`,
    next: "choose one of them, or leave --as out for this machine",
  });
}
