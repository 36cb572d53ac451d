/**
 * @file What a pipeline computes with: a device, the components' blocks of weights, a ledger, and plans by job shape. A phase
 * is opened, runs its passes and gives its memory back; weights stay from image to image only where the plan says so.
 */
import type { Device } from "../backend/device.ts";
import { HostMemory } from "../backend/host-memory.ts";
import type { SdxlCheckpoint } from "../checkpoint/sdxl-folder.ts";
import type { Graph } from "../ir/graph.ts";
import { MiB } from "../ledger/budget.ts";
import { Ledger } from "../ledger/ledger.ts";
import type { DeviceSizes } from "../plan/describe.ts";
import type { Machine } from "../plan/machine.ts";
import { smallestDeviceBytes } from "../plan/needs.ts";
import { makePlan, type PhasePlan, type Plan, type PlanBudgets, type PlanInput } from "../plan/plan.ts";
import { blocksOf } from "../plan/plan-blocks.ts";
import { type RatesTable, ratedMachine } from "../plan/rates.ts";
import type { BlockReader } from "../stream/blocks.ts";
import { type PhasePass, PhaseRun } from "../stream/phase.ts";
import { RamBlocks } from "../stream/ram-blocks.ts";
import { Telemetry } from "../stream/telemetry.ts";
import { ResidentWeights } from "../stream/weights.ts";
import { alignUp } from "../tensor/align.ts";
import { BoundedCache } from "./bounded-cache.ts";
import {
  type ComponentName,
  describeJob,
  type JobDescription,
  type JobGraphs,
  type JobShape,
  type PhaseName,
  PROMPT_CACHE_ENTRIES,
} from "./job-plan.ts";
import { OpenPhase } from "./open-phase.ts";
import type { PromptEmbedding } from "./prompt-embedding.ts";

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

/** A job's graphs with their plan. */
export interface PlannedJob {
  readonly shape: JobShape;
  readonly plan: Plan;
  readonly graphs: JobGraphs;
  readonly description: JobDescription;
}

const PLANS_KEPT = 4;
/** Plans of one picture size (other numbers of steps, other budgets) whose compiled segments are held at once. */
const COMPILED_PLANS = 4;

export class SdxlRuntime implements AsyncDisposable {
  readonly telemetry = new Telemetry();
  readonly promptCache = new BoundedCache<string, PromptEmbedding>(PROMPT_CACHE_ENTRIES);
  readonly #checkpoint: SdxlCheckpoint;
  readonly #readers: Readonly<Record<ComponentName, BlockReader>>;
  readonly #settings: RuntimeSettings;
  readonly #jobs = new BoundedCache<string, PlannedJob>(PLANS_KEPT);
  /** Plans whose segments the device still holds compiled, all of them. */
  #prepared = new WeakSet<Plan>();
  /** Whose segments the device may hold compiled. */
  readonly #compiled = new Map<Plan, JobShape>();
  /** Weights that outlive their phase, by phase. */
  readonly #kept = new Map<PhaseName, ResidentWeights>();
  #device: Device;
  #budgets: PlanBudgets;
  #ledger: Ledger;
  #process: Disposable;

  constructor(
    checkpoint: SdxlCheckpoint,
    device: Device,
    readers: Readonly<Record<ComponentName, BlockReader>>,
    settings: RuntimeSettings,
  ) {
    this.#device = device;
    this.#checkpoint = checkpoint;
    this.#readers = readers;
    this.#settings = settings;
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

  /** Weight bytes read so far, of all components. */
  get readBytes(): number {
    return Object.values(this.#readers).reduce((sum, reader) => sum + reader.readBytes, 0);
  }

  /** The plan for a job's shape. Throws BudgetError if it can't be done within the budgets. */
  plan(shape: JobShape): PlannedJob {
    const key = JSON.stringify(shape);
    const known = this.#jobs.get(key);
    if (known) return known;
    const { description, input } = this.planInput(shape);
    const job = { shape, description, graphs: description.graphs, plan: makePlan(input) };
    this.#jobs.set(key, job);
    return job;
  }

  /** What `plan` plans from; another machine or budget can be put in its place. */
  planInput(
    shape: JobShape,
    device: DeviceSizes = this.device,
  ): { readonly description: JobDescription; readonly input: PlanInput } {
    const { machine, rates, processBytes } = this.#settings;
    const catalog = (name: ComponentName) => this.#readers[name].block.bind(this.#readers[name]);
    const catalogs = {
      textEncoder: catalog("textEncoder"),
      textEncoder2: catalog("textEncoder2"),
      unet: catalog("unet"),
      vae: catalog("vae"),
    };
    const description = describeJob(this.#checkpoint, device, catalogs, shape);
    const { name, alignmentBytes, overheadBytes, sharesHostMemory } = device;
    const input = {
      device: { name, alignmentBytes, overheadBytes, sharesHostMemory },
      machine: ratedMachine(machine, rates, description.phases),
      budgets: this.#budgets,
      processBytes,
      phases: description.phases,
    };
    return { description, input };
  }

  /** Half of the device memory that a job takes, but what it needs at least, in whole MiB; undefined if that is no less. */
  lessDeviceBytes(shape: JobShape): number | undefined {
    const { peak } = this.plan(shape).plan;
    const bytes = alignUp(Math.max(smallestDeviceBytes(this.planInput(shape).input), peak.deviceBytes / 2), MiB);
    return bytes < peak.deviceBytes ? bytes : undefined;
  }

  /** Goes on with another device, between phases and with all weights released. */
  replaceDevice(device: Device): void {
    this.forgetPlans();
    this.#device = device;
  }

  /** What the device asks for has changed: plans are made anew. */
  forgetPlans(): void {
    this.#jobs.clear();
    this.#prepared = new WeakSet();
    this.#compiled.clear();
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
  async openPhase(job: PlannedJob, name: PhaseName, signal?: AbortSignal): Promise<OpenPhase> {
    const { device, telemetry } = this;
    const { now, pause } = this.#settings;
    const ledger = this.#ledger;
    const plan = job.plan.phases.find((phase) => phase.name === name)!;
    const input = job.description.phases.find((phase) => phase.name === name)!;
    await this.#forgetOthers(job);
    await using scope = new AsyncDisposableStack();
    scope.use(ledger.reserve("ram", input.hostBytes, `${name}: host buffers`));
    scope.use(ledger.reserve("device", device.overheadBytes, "device overhead"));
    // Given back after the weights, whose last reads may still be on their way into it.
    scope.use(ledger.reserve("ram", plan.cachedBytes, `${name}: weights in RAM`));
    const cache = scope.use(new HostMemory(`${name}: weights in RAM`, plan.cachedBytes));
    const weights = await this.#weights(job.plan, plan, name);
    if (!job.plan.keepsAll) {
      scope.defer(() => device.release());
      scope.use(weights);
    }
    scope.use(ledger.reserve(plan.waitingPlace, plan.waitingBytes, `${name}: activations in wait`));
    const waiting = scope.use(new HostMemory(`${name}: activations in wait`, plan.waitingBytes));
    const offsets = cacheOffsets(job.description, plan);
    const readerOf = (component: ComponentName) =>
      offsets.size === 0 ? this.#readers[component] : new RamBlocks(this.#readers[component], cache, offsets);
    const readers = {
      textEncoder: readerOf("textEncoder"),
      textEncoder2: readerOf("textEncoder2"),
      unet: readerOf("unet"),
      vae: readerOf("vae"),
    };
    const links = new Map(input.links.map((link) => [link.name, link.lengthBytes]));
    const context = { device, ledger, weights, telemetry, now, pause };
    const run = scope.use(await PhaseRun.open(plan, links, context));
    const passes = new Map(
      job.description.passes[name].map(({ graph, component }, i): [Graph, PhasePass] => [
        graph,
        { graph, plan: plan.passes[i]!, reader: readers[component] },
      ]),
    );
    // Unless an image before has: then all is kept.
    if (!this.#prepared.has(job.plan)) await run.prepare([...passes.values()], signal);
    if (job.plan.keepsAll && name === "decode") this.#prepared.add(job.plan);
    return new OpenPhase(run, passes, waiting, scope.move());
  }

  /**
   * Where weights stay, what was compiled for them stays as well; but of another picture size nothing is worth its memory, which
   * the budget has no room for a second time.
   */
  async #forgetOthers({ plan, shape }: PlannedJob): Promise<void> {
    const isAlike = (other: JobShape) =>
      other.batch === shape.batch && other.width === shape.width && other.height === shape.height;
    const known = this.#compiled.has(plan);
    const fits = this.#compiled.size < COMPILED_PLANS && [...this.#compiled.values()].every(isAlike);
    if (!known && !fits) {
      await this.device.release();
      this.#prepared = new WeakSet();
      this.#compiled.clear();
    }
    this.#compiled.set(plan, shape);
  }

  async #weights(plan: Plan, phase: PhasePlan, name: PhaseName): Promise<ResidentWeights> {
    const kept = this.#kept.get(name);
    if (kept && plan.keepsAll && JSON.stringify(kept.residency) === JSON.stringify(phase.residency)) return kept;
    // Another picture size keeps the same weights if all of them stay; any other change starts anew.
    if (kept || !plan.keepsAll) await this.releaseWeights();
    const weights = await ResidentWeights.open(phase.residency, this.device, this.#ledger, {
      now: this.#settings.now,
      onLoad: (timing) => this.telemetry.load(timing),
    });
    if (plan.keepsAll) this.#kept.set(name, weights);
    return weights;
  }

  /** Gives back the weights that outlive their phases. */
  async releaseWeights(): Promise<void> {
    if (this.#kept.size === 0) return;
    for (const weights of this.#kept.values()) await weights[Symbol.asyncDispose]();
    this.#kept.clear();
    this.#prepared = new WeakSet();
    await this.device.release();
  }

  /** The device is the caller's. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.releaseWeights();
    this.#process[Symbol.dispose]();
  }
}

/** Cached blocks one after the other. */
function cacheOffsets({ phases }: JobDescription, plan: PhasePlan): Map<string, number> {
  const phase = phases.find(({ name }) => name === plan.name)!;
  const storedBytes = new Map(blocksOf(phase).map((block) => [block.key, block.storedBytes]));
  let offsetBytes = 0;
  return new Map(
    plan.cachedKeys.map((key) => {
      offsetBytes += storedBytes.get(key)!;
      return [key, offsetBytes - storedBytes.get(key)!];
    }),
  );
}

function newLedger({ deviceBytes, ramBytes }: PlanBudgets): Ledger {
  return new Ledger({ device: deviceBytes, ram: ramBytes, disk: Number.MAX_SAFE_INTEGER });
}
