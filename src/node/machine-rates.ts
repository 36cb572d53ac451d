/** @file Measured rates of this machine, kept between starts. A file that is missing or damaged remembers nothing. */
import path from "node:path";
import type { MachineRates, RatesTable } from "../plan/rates.ts";
import { isJsonObject } from "../source/json-fields.ts";
import { isPositive, readStateRecord, writeStateFile } from "./state/state-file.ts";

const FILE = "rates.json";

/** `device`: the backend and what it runs on, since each has its own. */
export async function loadRates(stateFolder: string, device: string): Promise<RatesTable> {
  const table = (await readStateRecord(path.join(stateFolder, FILE)))[device];
  if (!isJsonObject(table)) return {};
  return Object.fromEntries(
    Object.entries(table).flatMap(([size, value]) => {
      const rates = checkedRates(value);
      return rates ? [[size, rates]] : [];
    }),
  );
}

export async function saveRates(stateFolder: string, device: string, size: string, rates: MachineRates): Promise<void> {
  const file = path.join(stateFolder, FILE);
  const all = await readStateRecord(file);
  const table = isJsonObject(all[device]) ? all[device] : {};
  await writeStateFile(file, { ...all, [device]: { ...table, [size]: rates } });
}

function checkedRates(value: unknown): MachineRates | undefined {
  if (!isJsonObject(value)) return undefined;
  const { gflops, memoryGBps, diskGBps } = value;
  if (!isRate(gflops) || !isRate(memoryGBps)) return undefined;
  return { gflops, memoryGBps, ...(isRate(diskGBps) ? { diskGBps } : {}) };
}

/** No machine is slower or faster: times that follow from such a rate are no numbers to show. */
function isRate(value: unknown): value is number {
  return isPositive(value) && value > 1e-6 && value < 1e9;
}
