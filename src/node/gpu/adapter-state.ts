/**
 * @file What is remembered of each adapter from one start to the next: how fast it works, and its tiles. A file that is missing
 * or damaged remembers nothing; what it holds is checked.
 */
import path from "node:path";
import { type AdapterFacts, describeAdapter } from "../../backend/webgpu/adapter/adapter.ts";
import type { TileTable } from "../../backend/webgpu/adapter/tuning.ts";
import { TILE_NAMES, type TileName } from "../../backend/webgpu/kernels/gemm-tiles.ts";
import type { PacingState } from "../../backend/webgpu/run/pacing.ts";
import { isJsonObject } from "../../source/json-fields.ts";
import { isPositive, readStateRecord, writeStateFile } from "../state/state-file.ts";

export interface AdapterState {
  readonly pacing?: PacingState;
  readonly tiles?: TileTable;
}

/** Its name among what is kept. */
export function adapterStateFile(stateFolder: string): string {
  return path.join(stateFolder, "adapters.json");
}

/** By adapter, driver included: a new driver starts anew. */
export async function loadAdapterState(file: string, adapter: AdapterFacts): Promise<AdapterState> {
  return parseState((await readStateRecord(file))[describeAdapter(adapter)]);
}

/** What `state` doesn't name stays as it is. */
export async function saveAdapterState(file: string, adapter: AdapterFacts, state: AdapterState): Promise<void> {
  const before = await readStateRecord(file);
  const key = describeAdapter(adapter);
  await writeStateFile(file, { ...before, [key]: { ...parseState(before[key]), ...state } });
}

function parseState(state: unknown): AdapterState {
  if (!isJsonObject(state)) return {};
  const { tiles } = state;
  const isTile = (name: unknown): name is TileName => TILE_NAMES.includes(name as TileName);
  const known = isJsonObject(tiles)
    ? Object.fromEntries(Object.entries(tiles).filter((entry): entry is [string, TileName] => isTile(entry[1])))
    : undefined;
  return {
    ...parsePacing(state.pacing),
    ...(known ? { tiles: known } : {}),
  };
}

function parsePacing(pacing: unknown): Pick<AdapterState, "pacing"> {
  if (!isJsonObject(pacing) || !isPositive(pacing.costPerMs) || !isPositive(pacing.caution) || pacing.caution > 1)
    return {};
  const { costPerMs, caution, steadyMs } = pacing;
  return { pacing: { costPerMs, caution, ...(isPositive(steadyMs) ? { steadyMs } : {}) } };
}
