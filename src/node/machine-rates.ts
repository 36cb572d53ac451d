/** @file Measured rates of this machine, kept between starts. A file that is missing or damaged remembers nothing. */
import path from "node:path";
import type { MachineRates, RatesTable } from "./plan/rates.ts";
import { isPositive, isRecord, readKeptRecord, writeKept } from "./state/kept-file.ts";

const FILE = "rates.json";

/** `device`: the backend and what it runs on, since each has its own. */
export async function loadRates(stateFolder: string, device: string): Promise<RatesTable> {
  const table = (await readKeptRecord(path.join(stateFolder, FILE)))[device];
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
  const all = await readKeptRecord(file);
  const table = isRecord(all[device]) ? all[device] : {};
  await writeKept(file, { ...all, [device]: { ...table, [size]: rates } });
}

function checkedRates(value: unknown): MachineRates | undefined {
  if (!isRecord(value)) return undefined;
  const { gflops, memoryGBps, diskGBps } = value;
  if (!isRate(gflops) || !isRate(memoryGBps)) return undefined;
  return { gflops, memoryGBps, ...(isRate(diskGBps) ? { diskGBps } : {}) };
}

/** No machine is slower or faster: times that follow from such a rate are no numbers to show. */
function isRate(value: unknown): value is number {
  return isPositive(value) && value > 1e-6 && value < 1e9;
}
