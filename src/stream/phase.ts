/**
 * @file Carries out one phase of a plan: takes its memory from the ledger, runs its passes segment by segment with weights
 * that stay or stream, and gives everything back. Pictures side by side have activations of their own (lanes) and share each
 * segment's weights: it runs once for each of them before the next one. Knows no model.
 */
import type { DataOrder, Device, HostData, Span } from "../backend/device.ts";
import { HostMemory } from "../backend/host-memory.ts";
import type { Graph, Segment, ValueId } from "../ir/graph.ts";
import type { Ledger } from "../ledger/ledger.ts";
import { storedWeights } from "../plan/describe.ts";
import type { PassPlan, PhasePlan } from "../plan/plan.ts";
import { wholePassId } from "../plan/plan-input.ts";
import { elementCount } from "../tensor/dtype.ts";
import type { BlockReader } from "./blocks.ts";
import { takeMemory } from "./device-memory.ts";
import { type LaneMemory, LaneRuns, type PassOptions, type PassResults, type PassRun, SignalOfAll } from "./lanes.ts";
import { LOOK_AHEAD, upcomingUses, weightUses } from "./pass-weights.ts";
import type { Telemetry } from "./telemetry.ts";
import type { ResidentWeights, WeightUse } from "./weights.ts";

/** A graph of the phase, with what its plan says (its id too) and where its weights come from. */
export interface PhasePass {
  readonly graph: Graph;
  readonly plan: PassPlan;
  readonly reader: BlockReader;
}

export interface PhaseContext {
  readonly device: Device;
  readonly ledger: Ledger;
  readonly weights: ResidentWeights;
  readonly telemetry: Telemetry;
  readonly now: () => number;
  /** Lets messages (an abort, above all) be handled between segments. */
  readonly pause: () => Promise<void>;
}

/** A phase's memory, taken, as one picture sees it. */
export interface PhaseRun extends AsyncDisposable {
  /** Host memory for activations while bands of them pass through the device, as long as the plan says. */
  readonly spilled: Float32Array<ArrayBuffer>;
  /** Of the device: how images in its order lie. */
  readonly rowsFirst: boolean;
  /**
   * Runs one pass. Feeds the graph's inputs by name (links come from earlier passes) and resolves to its outputs by name, links
   * excepted. Rejects with the signal's reason on abort; RangeError for a pass or an input that is not there.
   */
  run(passId: string, inputs: ReadonlyMap<string, HostData>, options?: PassOptions): Promise<PassResults>;
}

export class OpenPhase implements PhaseRun {
  readonly #context: PhaseContext;
  readonly #passes: ReadonlyMap<string, PhasePass>;
  readonly #lanes: readonly LaneMemory[];
  readonly #spilled: HostMemory;
  readonly #scope: AsyncDisposableStack;

  private constructor(
    context: PhaseContext,
    passes: readonly PhasePass[],
    memory: { readonly lanes: readonly LaneMemory[]; readonly spilled: HostMemory },
    scope: AsyncDisposableStack,
  ) {
    this.#context = context;
    this.#passes = new Map(passes.map((pass) => [pass.plan.id, pass]));
    this.#lanes = memory.lanes;
    this.#spilled = memory.spilled;
    this.#scope = scope;
  }

  /**
   * Takes the phase's memory besides its weights, which `context.weights` holds. `beneath` becomes the phase's: it is given back
   * after that memory, also if opening fails. Rejects with BudgetError.
   */
  static async open(
    plan: PhasePlan,
    passes: readonly PhasePass[],
    context: PhaseContext,
    beneath = new AsyncDisposableStack(),
  ): Promise<OpenPhase> {
    const { device, ledger } = context;
    await using scope = new AsyncDisposableStack();
    scope.use(beneath);
    const spilledLabel = `${plan.id}: spilled activations`;
    scope.use(ledger.reserve(plan.spillTier, plan.spilledBytes, spilledLabel));
    const spilled = scope.use(new HostMemory(spilledLabel, plan.spilledBytes));
    const take = <Memory extends Disposable>(bytes: number, label: string, from: (label: string) => Promise<Memory>) =>
      takeMemory(scope, ledger, { bytes, label: `${plan.id}: ${label}` }, from);
    const arena = async (lengthBytes: number, label: string) =>
      lengthBytes === 0 ? undefined : await take(lengthBytes, label, (full) => device.createArena(lengthBytes, full));
    const lanes: LaneMemory[] = [];
    while (lanes.length < plan.lanes) {
      const activations = await arena(plan.activationBytes, "activations");
      const linkArena = await arena(plan.linkBytes, "links");
      const links = new Map<string, Span>();
      for (const [name, place] of plan.links) links.set(name, { arena: linkArena!, ...place });
      lanes.push({ activations, links });
    }
    await take(plan.scratchBytes, "scratch", () => device.createScratch(plan.sharedScratchBytes));
    return new OpenPhase(context, passes, { lanes, spilled }, scope.move());
  }

  get spilled(): Float32Array<ArrayBuffer> {
    return new Float32Array(this.#spilled.buffer);
  }

  get rowsFirst(): boolean {
    return this.#context.device.rowsFirst;
  }

  /** Has the device compile what the passes need, in their order, while their first weights are on their way. */
  async prepare(signal?: AbortSignal): Promise<void> {
    const { device, weights, pause } = this.#context;
    const uses = [...this.#passes.values()].flatMap((pass) =>
      weightUses(pass).map((use, i) => ({ graph: pass.graph, segment: pass.graph.segments[i]!, use })),
    );
    const first = uses.flatMap(({ use }) => (use.blocks.length > 0 ? [use] : []));
    for (const { graph, segment, use } of uses) {
      signal?.throwIfAborted();
      weights.ahead(first, signal);
      await device.prepare(graph, segment, storedWeights(graph, segment, use.blocks));
      await pause();
    }
  }

  async run(passId: string, inputs: ReadonlyMap<string, HostData>, options: PassOptions = {}): Promise<PassResults> {
    const [result] = await this.runTogether(passId, [{ lane: 0, picture: 0, inputs, options }]);
    if (result!.status === "rejected") throw result!.reason;
    return result!.value;
  }

  /**
   * Runs one pass for pictures in lanes of their own, each as `run` does; the results are in the order of `runs`. What goes wrong
   * with one of them leaves the others as they are, and its signal stops it alone.
   */
  async runTogether(passId: string, runs: readonly PassRun[]): Promise<readonly PromiseSettledResult<PassResults>[]> {
    const { device, telemetry, now } = this.#context;
    const pass = this.#pass(passId);
    const { graph } = pass;
    const pictures = runs.map(({ picture }) => picture);
    const spans = runs.map(({ lane }) => this.#spans(pass, this.#lanes[lane]!));
    const going = new LaneRuns(runs);
    const beganMs = now();
    telemetry.beginPass(wholePassId(passId), pictures);
    await going.each(async ({ inputs, options }, at) => {
      for (const [name, id] of graph.inputs) {
        if (isLink(pass, id)) continue;
        const data = inputs.get(name);
        if (!data) throw new RangeError(`${passId}: no input ${name}`);
        await device.write(graph, id, spans[at]!.get(id)!, data, orderOf(options, name));
      }
    });
    const own = weightUses(pass);
    // Who goes on longest says what comes.
    const upcoming = runs
      .map(({ options }) => options.upcoming ?? [])
      .reduce((longest, ids) => (ids.length > longest.length ? ids : longest));
    const after = upcomingUses(upcoming.map((id) => this.#pass(id)));
    using stop = new SignalOfAll(runs.map(({ options }) => options.signal));
    for (const [index, segment] of graph.segments.entries()) {
      going.dropAborted();
      if (going.isOver) break;
      const following = [...own.slice(index + 1), ...after].filter(({ blocks }) => blocks.length > 0);
      const weights = { use: own[index]!, next: following.slice(0, LOOK_AHEAD) };
      await this.#runSegment(pass, segment, weights, spans, { going, signal: stop.signal });
      if (!runs.some(({ options }) => options.onSegment)) continue;
      await going.each(async ({ options }, at) => {
        if (options.onSegment) await this.#show(graph, segment, spans[at]!, options.onSegment);
      });
    }
    await going.each(async ({ options }, at) => {
      const outputs: PassResults = new Map();
      for (const [name, id] of graph.outputs) {
        if (isLink(pass, id)) continue;
        const into = options.into?.get(name) ?? new Float32Array(elementCount(graph.values[id]!.shape));
        await device.read(graph, id, spans[at]!.get(id)!, into, orderOf(options, name));
        outputs.set(name, into);
      }
      going.finish(at, outputs);
    });
    const finished = going.finished;
    if (finished.length > 0) telemetry.endPass(wholePassId(passId), now() - beganMs, finished);
    return going.results;
  }

  #pass(id: string): PhasePass {
    const pass = this.#passes.get(id);
    if (!pass) throw new RangeError(`the phase has no pass ${id}`);
    return pass;
  }

  async #runSegment(
    { graph, plan }: PhasePass,
    segment: Segment,
    { use, next }: { readonly use: WeightUse; readonly next: readonly WeightUse[] },
    spans: readonly ReadonlyMap<ValueId, Span>[],
    { going, signal }: { readonly going: LaneRuns; readonly signal: AbortSignal | undefined },
  ): Promise<void> {
    const { device, weights, telemetry, now, pause } = this.#context;
    const askedMs = now();
    const byName = await going.all(() => weights.weights(use, next, signal));
    if (!byName) return;
    const pictures = going.pictures;
    const startedMs = now();
    await going.each(async ({ options }, at) => {
      const pick = (ids: readonly ValueId[]) => new Map(ids.map((id) => [id, spans[at]!.get(id)!]));
      await device.run(
        {
          graph,
          segment,
          inputs: pick(segment.inputs),
          weights: new Map(segment.weights.map((id) => [id, byName.get(graph.values[id]!.name)!])),
          outputs: pick(segment.outputs),
        },
        options.signal,
      );
    });
    if (going.isOver) return;
    const keys = use.blocks.map(({ key }) => key);
    const neededNext = new Set(next[0]?.blocks.map(({ key }) => key));
    for (const key of keys) if (!neededNext.has(key)) weights.computed(key);
    const endedMs = now();
    telemetry.segment({
      pass: wholePassId(plan.id),
      segment: segment.name,
      keys,
      pictures,
      waitMs: startedMs - askedMs,
      computeMs: endedMs - startedMs,
      endedMs,
      weightBytes: weights.residentBytes,
    });
    await pause();
  }

  async #show(
    graph: Graph,
    segment: Segment,
    spans: ReadonlyMap<ValueId, Span>,
    onSegment: NonNullable<PassOptions["onSegment"]>,
  ): Promise<void> {
    const { device, ledger } = this.#context;
    for (const id of segment.outputs) {
      const values = elementCount(graph.values[id]!.shape);
      using _ = ledger.reserve("ram", values * BYTES_TO_SHOW, `${segment.name}: a look at its result`);
      const into = new Float32Array(values);
      await device.read(graph, id, spans.get(id)!, into);
      onSegment(segment.name, into);
    }
  }

  /** Of every value that is not a weight. */
  #spans({ graph, plan }: PhasePass, { activations, links }: LaneMemory): Map<ValueId, Span> {
    const { device } = this.#context;
    const spans = new Map<ValueId, Span>();
    for (const [id, offsetBytes] of plan.offsets) {
      spans.set(id, { arena: activations!, offsetBytes, lengthBytes: device.activationBytes(graph, id) });
    }
    for (const [name, id] of [...graph.inputs, ...graph.outputs]) {
      if (!plan.offsets.has(id)) spans.set(id, links.get(name)!);
    }
    return spans;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // A device that is gone settles nothing; its memory is given back all the same.
    await using _ = this.#scope;
    await this.#context.device.settle();
  }
}

/** Of a value, as it is read back. */
const BYTES_TO_SHOW = 4;

function orderOf({ inDeviceOrder }: PassOptions, name: string): DataOrder {
  return inDeviceOrder?.has(name) ? "device" : "logical";
}

/** Links have no place among the pass's own values. */
function isLink({ plan }: PhasePass, id: ValueId): boolean {
  return !plan.offsets.has(id);
}
