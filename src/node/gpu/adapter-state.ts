/**
 * @file What is remembered of each adapter from one start to the next: how fast it works, and its tiles. A file that is missing
 * or damaged remembers nothing; what it holds is checked.
 */
import { isPositive, isRecord, readKeptRecord, writeKept } from "../../state/kept-file.ts";
import { type AdapterFacts, describeAdapter } from "./adapter.ts";
import { TILE_NAMES, type TileName } from "./kernels/gemm-tiles.ts";
import type { PacingState } from "./pacing.ts";
import type { TileTable } from "./tuning.ts";

export interface AdapterState {
  readonly pacing?: PacingState;
  readonly tiles?: TileTable;
}

/** By adapter, driver included: a new driver starts anew. */
export async function loadAdapterState(file: string, adapter: AdapterFacts): Promise<AdapterState> {
  return parseState((await readKeptRecord(file))[describeAdapter(adapter)]);
}

/** What `state` doesn't name stays as it is. */
export async function saveAdapterState(file: string, adapter: AdapterFacts, state: AdapterState): Promise<void> {
  const before = await readKeptRecord(file);
  const key = describeAdapter(adapter);
  await writeKept(file, { ...before, [key]: { ...parseState(before[key]), ...state } });
}

function parseState(state: unknown): AdapterState {
  if (!isRecord(state)) return {};
  const { tiles } = state;
  const isTile = (name: unknown): name is TileName => TILE_NAMES.includes(name as TileName);
  const known = isRecord(tiles)
    ? Object.fromEntries(Object.entries(tiles).filter((entry): entry is [string, TileName] => isTile(entry[1])))
    : undefined;
  return {
    ...parsePacing(state.pacing),
    ...(known ? { tiles: known } : {}),
  };
}

function parsePacing(pacing: unknown): Pick<AdapterState, "pacing"> {
  if (!isRecord(pacing) || !isPositive(pacing.costPerMs) || !isPositive(pacing.caution) || pacing.caution > 1)
    return {};
  const { costPerMs, caution, steadyMs } = pacing;
  return { pacing: { costPerMs, caution, ...(isPositive(steadyMs) ? { steadyMs } : {}) } };
}
