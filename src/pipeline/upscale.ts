/** @file Enlarging a picture by itself: one phase, planned by the budgets and carried out as any other. */
import type { Device } from "../backend/device.ts";
import { HostMemory } from "../backend/host-memory.ts";
import type { TensorTable } from "../container/table.ts";
import { SolvayError } from "../errors.ts";
import { Ledger } from "../ledger/ledger.ts";
import { type RgbPicture, UPSCALER_COMPONENT, type UpscaleRunOptions, type Upscaling } from "../models/upscaling.ts";
import { describePhase, type PhaseDescription } from "../plan/describe.ts";
import type { Machine } from "../plan/machine.ts";
import type { Plan } from "../plan/plan.ts";
import type { PlanBudgets, PlanInput } from "../plan/plan-input.ts";
import { makePlan } from "../plan/planner.ts";
import { type BlockReader, TableBlocks } from "../stream/blocks.ts";
import { OpenPhase } from "../stream/phase.ts";
import { BlocksInRam, RamBlocks } from "../stream/ram-blocks.ts";
import { Telemetry } from "../stream/telemetry.ts";
import { WeightPool } from "../stream/weight-pool.ts";
import { causeOf, headline } from "./reaction.ts";

export interface UpscaleSettings {
  readonly device: Device;
  readonly machine: Machine;
  readonly budgets: PlanBudgets;
  /** RAM of the process itself. */
  readonly processBytes: number;
  readonly now: () => number;
  readonly pause: () => Promise<void>;
}

export interface PlannedUpscale {
  readonly upscaling: Upscaling;
  readonly table: TensorTable;
  readonly furtherBytes: number;
  readonly description: PhaseDescription;
  readonly reader: BlockReader;
  readonly input: PlanInput;
  readonly plan: Plan;
}

const PHASE = "upscale";

/**
 * Throws BudgetError where the budgets can't hold it.
 * @param table the network's weights by BasicSR's names
 * @param furtherBytes host memory that the caller holds meanwhile
 */
export function planUpscale(
  { device, machine, budgets, processBytes }: UpscaleSettings,
  upscaling: Upscaling,
  table: TensorTable,
  furtherBytes: number,
): PlannedUpscale {
  const reader = new TableBlocks(UPSCALER_COMPONENT, table);
  const description = upscaling.phase(PHASE, furtherBytes);
  const { name, alignmentBytes, overheadBytes, sharesHostMemory } = device;
  const input: PlanInput = {
    device: { name, alignmentBytes, overheadBytes, sharesHostMemory },
    machine,
    budgets,
    processBytes,
    phases: [describePhase(device, description, () => reader.blocks.bind(reader))],
  };
  return { upscaling, table, furtherBytes, description, reader, input, plan: makePlan(input) };
}

/** What helps where a device breaks. */
export interface UpscaleRecovery {
  /** Ends the device and opens another one. Absent: nothing helps. */
  readonly reopen: (() => Promise<Device>) | undefined;
  readonly onLost: (text: string) => void;
}

/** As `upscale`; on a device that breaks once, goes on with the tiles that are left on another one, to the same pixels. */
export async function recoveredUpscale(
  settings: UpscaleSettings,
  planned: PlannedUpscale,
  picture: RgbPicture,
  options: UpscaleRunOptions,
  { reopen, onLost }: UpscaleRecovery,
): Promise<RgbPicture> {
  const { upscaling, table, furtherBytes } = planned;
  const progress = upscaling.begin();
  try {
    return await upscale(settings, planned, picture, { ...options, progress });
  } catch (failure) {
    const { signal } = options;
    signal?.throwIfAborted();
    const error = await causeOf(failure, settings.device, settings.pause);
    if (!settings.device.failure || !reopen || !(error instanceof SolvayError)) throw error;
    onLost(`${headline(error)} in tile ${progress.tiles + 1} of ${upscaling.tiles}. Going on with a new device`);
    const again = { ...settings, device: await reopen() };
    return await upscale(again, planUpscale(again, upscaling, table, furtherBytes), picture, { ...options, progress });
  }
}

/** Carries a plan out, within its memory. Rejects with the signal's reason on abort, between segments. */
export async function upscale(
  { device, budgets, processBytes, now, pause }: UpscaleSettings,
  { upscaling, description, reader, plan }: PlannedUpscale,
  picture: RgbPicture,
  options: UpscaleRunOptions,
): Promise<RgbPicture> {
  const ledger = new Ledger({ device: budgets.deviceBytes, ram: budgets.ramBytes, disk: Number.MAX_SAFE_INTEGER });
  const [phase] = plan.phases;
  await using scope = new AsyncDisposableStack();
  scope.use(ledger.reserve("ram", Math.min(processBytes, budgets.ramBytes), "process"));
  scope.use(ledger.reserve("ram", description.hostBytes, "pictures"));
  scope.use(ledger.reserve("device", device.overheadBytes, "device overhead"));
  scope.use(ledger.reserve("ram", phase!.cachedBytes, "weights in RAM"));
  const cache = scope.use(new HostMemory("weights in RAM", phase!.cachedBytes));
  const telemetry = new Telemetry();
  const pool = scope.use(new WeightPool({ now, onLoad: (timing) => telemetry.load(timing) }));
  const weights = await pool.open(plan, PHASE, device, ledger);
  scope.defer(() => device.release());
  const phaseScope = new AsyncDisposableStack();
  phaseScope.use(weights);
  const offsets = new Map(phase!.cached.map(({ key, offsetBytes }) => [key, offsetBytes]));
  const blocks = offsets.size === 0 ? reader : new RamBlocks(reader, new BlocksInRam(cache, offsets));
  const passes = description.passes.map(({ graph }, i) => ({ graph, plan: phase!.passes[i]!, reader: blocks }));
  await using run = await OpenPhase.open(
    phase!,
    passes,
    { device, ledger, weights, telemetry, now, pause },
    phaseScope,
  );
  await run.prepare(options.signal);
  return await upscaling.run(run, picture, options);
}
