/** @file Measured rates of this machine, kept between starts. A file that is missing or damaged remembers nothing. */
import path from "node:path";
import type { MachineRates, RatesTable } from "./plan/rates.ts";
import { readKept, writeKept } from "./state/kept-file.ts";

const FILE = "rates.json";

/** `device`: the backend and what it runs on, since each has its own. */
export async function loadRates(stateFolder: string, device: string): Promise<RatesTable> {
  const all = await readKept(path.join(stateFolder, FILE));
  const table = isRecord(all) ? all[device] : undefined;
  if (!isRecord(table)) return {};
  return Object.fromEntries(
    Object.entries(table).flatMap(([size, value]) => {
      const rates = checkedRates(value);
      return rates ? [[size, rates]] : [];
    }),
  );
}

export async function saveRates(stateFolder: string, device: string, size: string, rates: MachineRates): Promise<void> {
  const file = path.join(stateFolder, FILE);
  const all = await readKept(file);
  const table = isRecord(all) && isRecord(all[device]) ? all[device] : {};
  await writeKept(file, { ...(isRecord(all) ? all : {}), [device]: { ...table, [size]: rates } });
}

function checkedRates(value: unknown): MachineRates | undefined {
  if (!isRecord(value)) return undefined;
  const { gflops, memoryGBps, diskGBps } = value;
  if (!isRate(gflops) || !isRate(memoryGBps)) return undefined;
  return { gflops, memoryGBps, ...(isRate(diskGBps) ? { diskGBps } : {}) };
}

function isRate(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value) && value > 0;
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
