/**
 * @file Carries out one phase of a plan: takes its memory from the ledger, runs its passes segment by segment with weights
 * that stay or stream, and gives everything back. Knows no model.
 */
import type { Arena, DataOrder, Device, HostData, Span } from "../backend/device.ts";
import { HostMemory } from "../backend/host-memory.ts";
import type { Graph, Segment, ValueId } from "../ir/graph.ts";
import type { Ledger } from "../ledger/ledger.ts";
import { segmentBlocks, storedWeights } from "../plan/describe.ts";
import type { PassPlan, PhasePlan } from "../plan/plan.ts";
import { wholePassId } from "../plan/plan-input.ts";
import { elementCount } from "../tensor/dtype.ts";
import type { BlockReader } from "./blocks.ts";
import { takeMemory } from "./device-memory.ts";
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

export interface PassOptions {
  readonly signal?: AbortSignal | undefined;
  /** Ids of the passes that run after this, in their order: their first weights are read ahead, and shared ones kept. */
  readonly upcoming?: readonly string[];
  /** Gets each segment's results, read back through RAM that the ledger must give meanwhile. What it throws ends the pass. */
  readonly onSegment?: (segment: string, values: Float32Array) => void;
  /** Results go there by name; others are allocated. */
  readonly into?: ReadonlyMap<string, Float32Array<ArrayBuffer>>;
  /** Inputs and results that lie on the host in the device's order. */
  readonly inDeviceOrder?: ReadonlySet<string>;
}

export class PhaseRun implements AsyncDisposable {
  readonly #context: PhaseContext;
  readonly #passes: ReadonlyMap<string, PhasePass>;
  readonly #links: ReadonlyMap<string, Span>;
  readonly #activations: Arena | undefined;
  readonly #spilled: HostMemory;
  readonly #scope: AsyncDisposableStack;

  private constructor(
    context: PhaseContext,
    passes: readonly PhasePass[],
    memory: {
      readonly links: ReadonlyMap<string, Span>;
      readonly activations: Arena | undefined;
      readonly spilled: HostMemory;
    },
    scope: AsyncDisposableStack,
  ) {
    this.#context = context;
    this.#passes = new Map(passes.map((pass) => [pass.plan.id, pass]));
    this.#links = memory.links;
    this.#activations = memory.activations;
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
  ): Promise<PhaseRun> {
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
    const activations = await arena(plan.activationBytes, "activations");
    const linkArena = await arena(plan.linkBytes, "links");
    await take(plan.scratchBytes, "scratch", () => device.createScratch(plan.sharedScratchBytes));
    const links = new Map<string, Span>();
    for (const [name, place] of plan.links) links.set(name, { arena: linkArena!, ...place });
    return new PhaseRun(context, passes, { links, activations, spilled }, scope.move());
  }

  /** Host memory for activations while bands of them pass through the device, as long as the plan says. */
  get spilled(): Float32Array<ArrayBuffer> {
    return new Float32Array(this.#spilled.buffer);
  }

  /** Of the device: how images in its order lie. */
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

  /**
   * Runs one pass. Feeds the graph's inputs by name (links come from earlier passes) and resolves to its outputs by name, links
   * excepted. Rejects with the signal's reason on abort; RangeError for a pass or an input that is not there.
   */
  async run(
    passId: string,
    inputs: ReadonlyMap<string, HostData>,
    options: PassOptions = {},
  ): Promise<Map<string, Float32Array<ArrayBuffer>>> {
    const { device, telemetry, now } = this.#context;
    const pass = this.#pass(passId);
    const { graph } = pass;
    const { signal, inDeviceOrder } = options;
    const orderOf = (name: string): DataOrder => (inDeviceOrder?.has(name) ? "device" : "logical");
    const beganMs = now();
    telemetry.beginPass(wholePassId(passId));
    const spans = this.#spans(pass);
    for (const [name, id] of graph.inputs) {
      if (isLink(pass, id)) continue;
      const data = inputs.get(name);
      if (!data) throw new RangeError(`${passId}: no input ${name}`);
      await device.write(graph, id, spans.get(id)!, data, orderOf(name));
    }
    const own = weightUses(pass);
    const after = upcomingUses((options.upcoming ?? []).map((id) => this.#pass(id)));
    for (const [index, segment] of graph.segments.entries()) {
      signal?.throwIfAborted();
      const following = [...own.slice(index + 1), ...after].filter(({ blocks }) => blocks.length > 0);
      await this.#runSegment(pass, segment, { use: own[index]!, next: following.slice(0, LOOK_AHEAD) }, spans, signal);
      if (options.onSegment) await this.#show(graph, segment, spans, options.onSegment);
    }
    const outputs = new Map<string, Float32Array<ArrayBuffer>>();
    for (const [name, id] of graph.outputs) {
      if (isLink(pass, id)) continue;
      const into = options.into?.get(name) ?? new Float32Array(elementCount(graph.values[id]!.shape));
      await device.read(graph, id, spans.get(id)!, into, orderOf(name));
      outputs.set(name, into);
    }
    telemetry.endPass(wholePassId(passId), now() - beganMs);
    return outputs;
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
    spans: ReadonlyMap<ValueId, Span>,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const { device, weights, telemetry, now, pause } = this.#context;
    const askedMs = now();
    const byName = await weights.weights(use, next, signal);
    const startedMs = now();
    const pick = (ids: readonly ValueId[]) => new Map(ids.map((id) => [id, spans.get(id)!]));
    await device.run(
      {
        graph,
        segment,
        inputs: pick(segment.inputs),
        weights: new Map(segment.weights.map((id) => [id, byName.get(graph.values[id]!.name)!])),
        outputs: pick(segment.outputs),
      },
      signal,
    );
    const keys = use.blocks.map(({ key }) => key);
    const neededNext = new Set(next[0]?.blocks.map(({ key }) => key));
    for (const key of keys) if (!neededNext.has(key)) weights.computed(key);
    const endedMs = now();
    telemetry.segment({
      pass: wholePassId(plan.id),
      segment: segment.name,
      keys,
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
  #spans({ graph, plan }: PhasePass): Map<ValueId, Span> {
    const { device } = this.#context;
    const spans = new Map<ValueId, Span>();
    for (const [id, offsetBytes] of plan.offsets) {
      spans.set(id, { arena: this.#activations!, offsetBytes, lengthBytes: device.activationBytes(graph, id) });
    }
    for (const [name, id] of [...graph.inputs, ...graph.outputs]) {
      if (!plan.offsets.has(id)) spans.set(id, this.#links.get(name)!);
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

/** Segments with weights looked at ahead of compute; how many of them are read is a matter of room. */
const LOOK_AHEAD = 3;

/** Links have no place among the pass's own values. */
function isLink({ plan }: PhasePass, id: ValueId): boolean {
  return !plan.offsets.has(id);
}

/** By segment. */
function weightUses({ graph, reader }: PhasePass): WeightUse[] {
  return graph.segments.map((segment) => ({
    blocks: segmentBlocks(graph, segment, (name, weights) => reader.blocks(name, weights)),
    reader,
  }));
}

/** The first few; segments in a row that read the same blocks count once. */
function upcomingUses(passes: readonly PhasePass[]): WeightUse[] {
  const uses: WeightUse[] = [];
  for (const use of passes.flatMap((pass) => weightUses(pass))) {
    if (use.blocks.length > 0 && !readsSame(use, uses.at(-1))) uses.push(use);
    if (uses.length >= LOOK_AHEAD) break;
  }
  return uses;
}

function readsSame({ blocks }: WeightUse, other: WeightUse | undefined): boolean {
  return blocks.length === other?.blocks.length && blocks.every(({ key }, i) => key === other.blocks[i]!.key);
}
