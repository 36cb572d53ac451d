/**
 * @file What is remembered of each adapter from one start to the next: how fast it works, and its tiles. A file that is missing
 * or damaged remembers nothing; what it holds is checked.
 */
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import path from "node:path";
import { type AdapterFacts, describeAdapter } from "./adapter.ts";
import { TILE_NAMES, type TileName } from "./kernels/gemm-tiles.ts";
import type { PacingState } from "./pacing.ts";
import type { TileTable } from "./tuning.ts";

/** The folder of this and of the record of rebuilds. */
export function defaultStateFolder(env: Readonly<Record<string, string | undefined>>): string {
  return env.SOLVAY_STATE || path.join(env.XDG_STATE_HOME || path.join(homedir(), ".local", "state"), "solvay");
}

export interface AdapterState {
  readonly pacing?: PacingState;
  readonly tiles?: TileTable;
}

/** By adapter, driver included: a new driver starts anew. */
export async function loadAdapterState(file: string, adapter: AdapterFacts): Promise<AdapterState> {
  return parseState((await readStates(file))[describeAdapter(adapter)]);
}

export async function saveAdapterState(file: string, adapter: AdapterFacts, state: AdapterState): Promise<void> {
  const states = { ...(await readStates(file)), [describeAdapter(adapter)]: state };
  await mkdir(path.dirname(file), { recursive: true });
  const temporary = `${file}.${process.pid}.tmp`;
  await writeFile(temporary, JSON.stringify(states));
  await rename(temporary, file);
}

async function readStates(file: string): Promise<Readonly<Record<string, unknown>>> {
  try {
    const states: unknown = JSON.parse(await readFile(file, "utf8"));
    return isRecord(states) ? states : {};
  } catch {
    return {};
  }
}

function parseState(state: unknown): AdapterState {
  if (!isRecord(state)) return {};
  const { pacing, tiles } = state;
  const positive = (value: unknown): value is number =>
    typeof value === "number" && Number.isFinite(value) && value > 0;
  const isTile = (name: unknown): name is TileName => TILE_NAMES.includes(name as TileName);
  const known = isRecord(tiles)
    ? Object.fromEntries(Object.entries(tiles).filter((entry): entry is [string, TileName] => isTile(entry[1])))
    : undefined;
  return {
    ...(isRecord(pacing) && positive(pacing.costPerMs) && positive(pacing.caution) && pacing.caution <= 1
      ? { pacing: { costPerMs: pacing.costPerMs, caution: pacing.caution } }
      : {}),
    ...(known ? { tiles: known } : {}),
  };
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
