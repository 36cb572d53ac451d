/** @file A program of bands carried out in a phase: what is spilled lies in the phase's memory, and in its device's order. */

import { HostMemory } from "../backend/host-memory.ts";
import type { BandProgram } from "../bands/bands.ts";
import { type BandStorage, runBands } from "../bands/run.ts";
import type { PhaseRun } from "../stream/phase.ts";

/** Inputs and results by the names of the program's graph. `storage`: its `bandStorage`. Rejects with the signal's reason on abort. */
export async function runProgram(
  phase: PhaseRun,
  program: BandProgram,
  storage: BandStorage,
  inputs: ReadonlyMap<string, Float32Array>,
  signal: AbortSignal | undefined,
): Promise<Map<string, Float32Array<ArrayBuffer>>> {
  using gathered = new HostMemory("rows put together", storage.gatherBytes);
  return await runBands(program, inputs, {
    storage,
    memory: { spilled: phase.spilled, gathered: new Float32Array(gathered.buffer) },
    run: (pass, bandInputs, options) => phase.run(pass, bandInputs, options),
    rowsFirst: phase.rowsFirst,
    signal,
  });
}
