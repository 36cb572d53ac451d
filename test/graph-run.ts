/** @file Runs one graph on a device with all the memory it wants: what tests of networks and backends need. */
import type { Device, HostData } from "../src/backend/device.ts";
import { HostMemory } from "../src/backend/host-memory.ts";
import type { BandProgram } from "../src/bands/bands.ts";
import { bandStorage, runBands } from "../src/bands/run.ts";
import type { Graph } from "../src/ir/graph.ts";
import { Ledger } from "../src/ledger/ledger.ts";
import { describePhase } from "../src/plan/describe.ts";
import type { Machine } from "../src/plan/machine.ts";
import { makePlan } from "../src/plan/planner.ts";
import type { BlockReader } from "../src/stream/blocks.ts";
import { OpenPhase } from "../src/stream/phase.ts";
import { Telemetry } from "../src/stream/telemetry.ts";
import { WeightPool } from "../src/stream/weight-pool.ts";

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
  const id = graph.name;
  const pass = { id, graph, component: "any", repeats: 1, cyclic: false, links: [] };
  const phase = { id, title: id, passes: [pass], hostBytes: 0, spilledBytes: 0 };
  const plan = makePlan({
    device,
    machine: TEST_MACHINE,
    budgets: { deviceBytes: PLENTY_BYTES, ramBytes: PLENTY_BYTES },
    processBytes: 0,
    phases: [describePhase(device, phase, () => reader.blocks.bind(reader))],
  });
  const planned = plan.phases[0]!;
  const ledger = new Ledger({ device: PLENTY_BYTES, ram: PLENTY_BYTES, disk: 0 });
  const clock = { now: () => performance.now(), onLoad: () => {} };
  await using pool = new WeightPool(clock);
  await using weights = await pool.open(plan, id, device, ledger);
  const context = { device, ledger, weights, telemetry: new Telemetry(), now: clock.now, pause: async () => {} };
  await using run = await OpenPhase.open(planned, [{ graph, plan: planned.passes[0]!, reader }], context);
  return await run.run(id, inputs);
}

/** As `runGraph`, in bands. */
export async function runBandProgram(
  device: Device,
  reader: BlockReader,
  program: BandProgram,
  inputs: ReadonlyMap<string, HostData>,
): Promise<Map<string, Float32Array<ArrayBuffer>>> {
  const storage = bandStorage(program);
  using spilled = new HostMemory("spilled", storage.spilledBytes);
  using gathered = new HostMemory("gathered", storage.gatherBytes);
  const memory = { spilled: new Float32Array(spilled.buffer), gathered: new Float32Array(gathered.buffer) };
  return await runBands(program, inputs, {
    rowsFirst: false,
    storage,
    memory,
    run: async (passId, bandInputs, { into }) => {
      const { graph } = program.passes.find(({ id }) => id === passId)!;
      for (const [name, data] of await runGraph(device, reader, graph, bandInputs)) into.get(name)!.set(data);
    },
  });
}
