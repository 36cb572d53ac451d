/** @file Runs one graph on a device with all the memory it wants: what tests of networks and backends need. */
import type { Device, HostData } from "../src/backend/device.ts";
import { HostMemory } from "../src/backend/host-memory.ts";
import type { BandProgram } from "../src/ir/bands.ts";
import type { Graph } from "../src/ir/graph.ts";
import { Ledger } from "../src/ledger/ledger.ts";
import { describePass } from "../src/plan/describe.ts";
import type { Machine } from "../src/plan/machine.ts";
import { makePlan } from "../src/plan/plan.ts";
import { bandStorage, runBands } from "../src/stream/banded.ts";
import type { BlockReader } from "../src/stream/blocks.ts";
import { PhaseRun } from "../src/stream/phase.ts";
import { Telemetry } from "../src/stream/telemetry.ts";
import { ResidentWeights } from "../src/stream/weights.ts";

const PLENTY_BYTES = 2 ** 40;

export const TEST_MACHINE: Machine = {
  name: "test",
  kind: "described",
  deviceBytes: PLENTY_BYTES,
  ramBytes: PLENTY_BYTES,
  gflops: 100,
  memoryGBps: 10,
  linkGBps: 10,
  diskGBps: 2,
  overlaps: true,
  hardware: "a test",
  basis: "for tests",
};

/** Results by name. */
export async function runGraph(
  device: Device,
  reader: BlockReader,
  graph: Graph,
  inputs: ReadonlyMap<string, HostData>,
): Promise<Map<string, Float32Array<ArrayBuffer>>> {
  const catalog = reader.block.bind(reader);
  const plan = makePlan({
    device,
    machine: TEST_MACHINE,
    budgets: { deviceBytes: PLENTY_BYTES, ramBytes: PLENTY_BYTES },
    processBytes: 0,
    phases: [
      { name: graph.name, passes: [describePass(device, graph, catalog)], links: [], hostBytes: 0, waitingBytes: 0 },
    ],
  });
  const phase = plan.phases[0]!;
  const ledger = new Ledger({ device: PLENTY_BYTES, ram: PLENTY_BYTES, disk: 0 });
  const clock = { now: () => performance.now(), onLoad: () => {} };
  await using weights = await ResidentWeights.open(phase.residency, device, ledger, clock);
  const context = { device, ledger, weights, telemetry: new Telemetry(), now: clock.now, pause: async () => {} };
  await using run = await PhaseRun.open(phase, new Map(), context);
  return await run.run({ graph, plan: phase.passes[0]!, reader }, inputs);
}

/** As `runGraph`, in bands. */
export async function runBandProgram(
  device: Device,
  reader: BlockReader,
  program: BandProgram,
  inputs: ReadonlyMap<string, HostData>,
): Promise<Map<string, Float32Array<ArrayBuffer>>> {
  const storage = bandStorage(program);
  using waiting = new HostMemory("waiting", storage.waitingBytes);
  using gathered = new HostMemory("gathered", storage.gatherBytes);
  const memory = { waiting: new Float32Array(waiting.buffer), gathered: new Float32Array(gathered.buffer) };
  return await runBands(program, inputs, {
    storage,
    memory,
    run: async (_, graph, bandInputs, outputs) => {
      for (const [name, data] of await runGraph(device, reader, graph, bandInputs)) outputs.get(name)!.set(data);
    },
  });
}
