/**
 * @file What a pipeline computes with: a model, a device, the components' blocks of weights, a ledger, and plans by job shape. A
 * phase is opened, runs its passes and gives its memory back; weights stay from image to image only where the plan says so.
 */

import type { Device } from "../backend/device.ts";
import { HostMemory } from "../backend/host-memory.ts";
import { MiB } from "../ledger/byte-text.ts";
import { Ledger } from "../ledger/ledger.ts";
import type { Conditioning } from "../models/conditioning.ts";
import { type Checkpoint, type DescribedJob, PROMPT_CACHE_ENTRIES } from "../models/family.ts";
import { type JobShape, joinedShape } from "../models/job-shape.ts";
import type { DeviceSizes } from "../plan/device-sizes.ts";
import type { Machine } from "../plan/machine.ts";
import type { Plan } from "../plan/plan.ts";
import type { PlanBudgets, PlanInput } from "../plan/plan-input.ts";
import { makePlan } from "../plan/planner.ts";
import { type RatesTable, ratedMachine } from "../plan/rates.ts";
import { hostBytes, smallestDeviceBytes } from "../plan/requirements.ts";
import { planSideBySide } from "../plan/side-by-side.ts";
import { AdaptedBlocks, AdapterReaders } from "../stream/adapted-blocks.ts";
import type { BlockReader } from "../stream/blocks.ts";
import { OpenPhase, type PhaseRun } from "../stream/phase.ts";
import { BlocksInRam, RamBlocks } from "../stream/ram-blocks.ts";
import { Telemetry } from "../stream/telemetry.ts";
import { WeightPool } from "../stream/weight-pool.ts";
import { alignUp } from "../tensor/align.ts";
import { BoundedCache } from "./bounded-cache.ts";
import { CompiledPlans } from "./compiled-plans.ts";
import { JobGraphCache } from "./job-graphs.ts";

export interface RuntimeSettings {
  readonly budgets: PlanBudgets;
  readonly machine: Machine;
  /** What earlier runs measured. The same for as long as the runtime lives: weights that stay need plans that agree. */
  readonly rates: RatesTable;
  /** RAM of the process itself. */
  readonly processBytes: number;
  readonly now: () => number;
  /** Lets waiting messages be handled between segments. */
  readonly pause: () => Promise<void>;
}

/** A job's graphs with their plan; or those of several jobs whose pictures are drawn side by side, as many as the plan says. */
export interface PlannedJob {
  readonly shape: JobShape;
  readonly described: DescribedJob;
  readonly input: PlanInput;
  readonly plan: Plan;
  /** For one of several by itself. */
  readonly alone?: Plan | undefined;
}

/** What a task computes with: a runtime, or its part in one where pictures are drawn side by side. */
export interface PhaseHost {
  readonly checkpoint: Checkpoint;
  readonly promptCache: BoundedCache<string, Conditioning>;
  openPhase(job: PlannedJob, id: string, signal?: AbortSignal): Promise<PhaseRun>;
}

const PLANS_KEPT = 4;

export class Runtime implements PhaseHost, AsyncDisposable {
  readonly checkpoint: Checkpoint;
  readonly telemetry = new Telemetry();
  /** Of the jobs to come. */
  readonly adapters = new AdapterReaders();
  readonly promptCache = new BoundedCache<string, Conditioning>(PROMPT_CACHE_ENTRIES);
  /** By component. */
  readonly #readers: Map<string, BlockReader>;
  readonly #settings: RuntimeSettings;
  readonly #jobs = new BoundedCache<string, PlannedJob>(PLANS_KEPT);
  readonly #graphs = new JobGraphCache();
  readonly #compiled = new CompiledPlans();
  /** Weights that outlive their phase. */
  readonly #weights: WeightPool;
  #device: Device;
  #budgets: PlanBudgets;
  #ledger: Ledger;
  #process: Disposable;

  constructor(
    checkpoint: Checkpoint,
    device: Device,
    readers: ReadonlyMap<string, BlockReader>,
    settings: RuntimeSettings,
  ) {
    this.checkpoint = checkpoint;
    this.#device = device;
    this.#readers = new Map(
      [...readers].map(([component, reader]) => [component, new AdaptedBlocks(reader, this.adapters)]),
    );
    this.#settings = settings;
    this.#weights = new WeightPool({ now: settings.now, onLoad: (timing) => this.telemetry.load(timing) });
    this.#budgets = settings.budgets;
    this.#ledger = newLedger(settings.budgets);
    this.#process = this.#ledger.reserve("ram", Math.min(settings.processBytes, settings.budgets.ramBytes), "process");
  }

  get device(): Device {
    return this.#device;
  }

  get ledger(): Ledger {
    return this.#ledger;
  }

  get budgets(): PlanBudgets {
    return this.#budgets;
  }

  /** Keys of the blocks that are on the device, and of those on their way. */
  get weightKeys(): WeightPool["keys"] {
    return this.#weights.keys;
  }

  /** Weight bytes read so far, of all components. */
  get readBytes(): number {
    return [...this.#readers.values()].reduce((sum, reader) => sum + reader.readBytes, this.adapters.readBytes);
  }

  /** The plan for a job's shape. Throws BudgetError if it can't be done within the budgets. */
  plan(shape: JobShape): PlannedJob {
    const key = JSON.stringify(shape);
    const known = this.#jobs.get(key);
    if (known) return known;
    const { described, input } = this.planInput(shape);
    const job = { shape, described, input, plan: makePlan(input) };
    this.#jobs.set(key, job);
    return job;
  }

  /**
   * The plan for the first of these jobs and as many of those after it as it pays to draw beside it; those must have graphs of the first
   * one's kind. Throws BudgetError if not even the first can be done.
   */
  planSeries(shapes: readonly JobShape[]): PlannedJob {
    const joined = shapes.length > 1 ? joinedShape(shapes) : undefined;
    if (!joined) return this.plan(shapes[0]!);
    const key = JSON.stringify([joined, shapes.length]);
    const known = this.#jobs.get(key);
    if (known) return known;
    const { described, input } = this.planInput(joined);
    const plan = planSideBySide(input, shapes.length);
    const { lanes } = plan;
    if (lanes === 1) return this.plan(shapes[0]!);
    if (lanes < shapes.length) return this.planSeries(shapes.slice(0, lanes));
    const alone = makePlan({ ...input, lanes: 1 });
    const job = { shape: joined, described, input: { ...input, lanes }, plan, alone };
    this.#jobs.set(key, job);
    return job;
  }

  /** What `plan` plans from; another machine or budget can be put in its place. */
  planInput(
    shape: JobShape,
    device: DeviceSizes = this.device,
  ): { readonly described: DescribedJob; readonly input: PlanInput } {
    const { machine, rates, processBytes } = this.#settings;
    const { described, phases } = this.#graphs.of(this, shape, device, (component) => this.reader(component));
    const { name, alignmentBytes, overheadBytes, sharesHostMemory } = device;
    const input = {
      ...{ device: { name, alignmentBytes, overheadBytes, sharesHostMemory }, phases },
      ...{ machine: ratedMachine(machine, rates, phases), budgets: this.#budgets },
      processBytes: processBytes + device.hostBytes,
    };
    return { described, input };
  }

  /** Half of the device memory that a plan takes, but what one picture needs at least, in whole MiB; undefined if that is no less. */
  lessDeviceBytes({ plan, input }: PlannedJob): number | undefined {
    const bytes = alignUp(Math.max(smallestDeviceBytes({ ...input, lanes: 1 }), plan.peak.deviceBytes / 2), MiB);
    return bytes < plan.peak.deviceBytes ? bytes : undefined;
  }

  /** Goes on with another device, between phases and with all weights released. */
  replaceDevice(device: Device): void {
    for (const known of [this.#jobs, this.#graphs, this.#compiled]) known.clear();
    this.#device = device;
  }

  /** Other budgets from the next image on. All weights are given back. */
  async setBudgets(budgets: PlanBudgets): Promise<void> {
    await this.releaseWeights();
    this.#jobs.clear();
    this.#process[Symbol.dispose]();
    this.#budgets = budgets;
    this.#ledger = newLedger(budgets);
    this.#process = this.#ledger.reserve("ram", Math.min(this.#settings.processBytes, budgets.ramBytes), "process");
  }

  /** Takes a phase's memory. The caller disposes it before the next one. */
  async openPhase(job: PlannedJob, id: string, signal?: AbortSignal): Promise<OpenPhase> {
    const { device, telemetry } = this;
    const { now, pause } = this.#settings;
    const ledger = this.#ledger;
    const { plan } = job;
    const phase = plan.phases.find((other) => other.id === id)!;
    const description = job.described.phases.find((other) => other.id === id)!;
    await this.#compiled.begin(job, device);
    await using scope = new AsyncDisposableStack();
    scope.use(ledger.reserve("ram", hostBytes(description, plan.lanes), `${id}: host buffers`));
    scope.use(ledger.reserve("device", device.overheadBytes, "device overhead"));
    scope.use(ledger.reserve("ram", device.hostBytes, "uploads"));
    // Given back after the weights, whose last reads may still be on their way into it.
    scope.use(ledger.reserve("ram", phase.cachedBytes, `${id}: weights in RAM`));
    const cache = scope.use(new HostMemory(`${id}: weights in RAM`, phase.cachedBytes));
    if (await this.#weights.makeRoom(plan, id)) await this.#compiled.release(device);
    const weights = await this.#weights.open(plan, id, device, ledger);
    if (!plan.keepsAll) scope.defer(() => device.release());
    scope.use(weights);
    const offsets = new Map(phase.cached.map(({ key, offsetBytes }) => [key, offsetBytes]));
    const inRam = new BlocksInRam(cache, offsets);
    const readerOf = (component: string) =>
      offsets.size === 0 ? this.reader(component) : new RamBlocks(this.reader(component), inRam);
    const components = new Set(description.passes.map(({ component }) => component));
    const readers = new Map([...components].map((component) => [component, readerOf(component)]));
    const passes = description.passes.map(({ graph, component }, i) => ({
      graph,
      plan: phase.passes[i]!,
      reader: readers.get(component)!,
    }));
    const context = { device, ledger, weights, telemetry, now, pause };
    await using opening = new AsyncDisposableStack();
    const run = opening.use(await OpenPhase.open(phase, passes, context, scope.move()));
    // Unless an image before has: then all is kept.
    if (!this.#compiled.isWhole(plan)) await run.prepare(signal);
    if (plan.keepsAll && id === plan.phases.at(-1)!.id) this.#compiled.complete(plan);
    opening.move();
    return run;
  }

  /** The components that a job's shape takes and that `provide` has to bring first. */
  missingComponents(shape: JobShape): readonly string[] {
    const { phases } = this.#graphs.described(this.checkpoint, shape);
    const needed = new Set(phases.flatMap(({ passes }) => passes.map(({ component }) => component)));
    return [...needed].filter((component) => !this.#readers.has(component));
  }

  /** From now on, a component's blocks come from there. */
  provide(component: string, reader: BlockReader): void {
    this.#readers.set(component, new AdaptedBlocks(reader, this.adapters));
  }

  /** Where they come from now. */
  reader(component: string): BlockReader {
    const reader = this.#readers.get(component);
    if (!reader) throw new Error(`no weights of ${component} were opened`);
    return reader;
  }

  /** Once an image has ended, however it did: weights kept for a next phase are given back. */
  async endImage(): Promise<void> {
    await this.#weights.endImage();
    this.telemetry.changed(true);
  }

  /** Gives back the weights that outlive their phases. */
  async releaseWeights(): Promise<void> {
    if (!(await this.#weights.release())) return;
    this.telemetry.changed(true);
    await this.#compiled.release(this.device);
  }

  /** Gives back all that pictures have left, on the device and beside it, for work of another kind within the same budgets. */
  async vacate(): Promise<void> {
    await this.releaseWeights();
    this.#compiled.clear();
    this.promptCache.clear();
    await this.device.release();
  }

  /** The device and the checkpoint are the caller's. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.releaseWeights();
    this.#process[Symbol.dispose]();
  }
}

function newLedger({ deviceBytes, ramBytes }: PlanBudgets): Ledger {
  return new Ledger({ device: deviceBytes, ram: ramBytes, disk: Number.MAX_SAFE_INTEGER });
}
