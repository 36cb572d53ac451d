/**
 * @file Machines, described by what a plan needs to know of them. The cards' figures are their makers'; `COMPUTE_SHARE`
 * and the link rates are planning figures: what tuned kernels reach of the peak, and what a PCIe slot carries in practice.
 */
import { GiB } from "../ledger/byte-text.ts";

export interface Machine {
  readonly name: string;
  /** "host": this machine's CPU and memory. "card": an adapter of this machine. "described": none that is here. */
  readonly kind: "host" | "card" | "described";
  /** What the device tier has at most. */
  readonly deviceBytes: number;
  readonly ramBytes: number;
  /** Sustained multiply-adds of large products, two operations each, in 1e9 a second. */
  readonly gflops: number;
  /** Device memory, 1e9 bytes a second. */
  readonly memoryGBps: number;
  /** Host to device, 1e9 bytes a second; as fast as memory where the device computes in host memory. */
  readonly linkGBps: number;
  /** From disk (or the operating system's file cache, where it was measured warm). */
  readonly diskGBps: number;
  /** True if weights travel while the device computes; false if times add up (one queue). */
  readonly overlaps: boolean;
  /** What it is, in words. */
  readonly hardware: string;
  /** Where the figures come from, in words. */
  readonly basis: string;
}

interface Gpu {
  readonly label: string;
  readonly vramGiB: number;
  readonly peakTflops: number;
  readonly memoryGBps: number;
}

const GPUS: Readonly<Record<string, Gpu>> = {
  "gtx1060-6g": { label: "GTX 1060 6 GB", vramGiB: 6, peakTflops: 4.37, memoryGBps: 192 },
  "gtx1660s-6g": { label: "GTX 1660 Super 6 GB", vramGiB: 6, peakTflops: 5.03, memoryGBps: 336 },
  "rtx2060-6g": { label: "RTX 2060 6 GB", vramGiB: 6, peakTflops: 6.45, memoryGBps: 336 },
};

/** Share of the fp32 peak that tuned WGSL is planned to reach. */
const COMPUTE_SHARE = 0.6;
/** PCIe 3.0 x16 in practice. */
const PCIE_GBPS = 12;
/** An NVMe drive of the cards' age. */
const NVME_GBPS = 3;
const HOST_GIB = 16;

export const DESCRIBED_MACHINES: readonly string[] = Object.keys(GPUS);

/** A card by the name that `--as` takes, in a PC with 16 GB of RAM; undefined if there is none of that name. */
export function describedMachine(name: string): Machine | undefined {
  const gpu = Object.hasOwn(GPUS, name) ? GPUS[name] : undefined;
  if (!gpu) return undefined;
  return {
    name,
    kind: "described",
    deviceBytes: gpu.vramGiB * GiB,
    ramBytes: HOST_GIB * GiB,
    gflops: gpu.peakTflops * 1000 * COMPUTE_SHARE,
    memoryGBps: gpu.memoryGBps,
    linkGBps: PCIE_GBPS,
    diskGBps: NVME_GBPS,
    overlaps: false,
    hardware: gpu.label,
    basis:
      `${gpu.label}: ${gpu.peakTflops} TFLOP/s fp32 at ${COMPUTE_SHARE * 100} %, ${gpu.memoryGBps} GB/s memory, ` +
      `${PCIE_GBPS} GB/s PCIe added to compute, ${NVME_GBPS} GB/s disk, ${HOST_GIB} GiB RAM (described, not measured)`,
  };
}
