/**
 * @file Carries out one phase of a plan: takes its memory from the ledger, runs its passes segment by segment with weights
 * that stay or stream, and gives everything back. Knows no model.
 */
import type { Arena, Device, DeviceWeight, HostData, Span } from "../backend/device.ts";
import type { Graph, Segment, ValueId } from "../ir/graph.ts";
import type { Ledger } from "../ledger/ledger.ts";
import { type BlockCatalog, segmentBlock, storedWeights } from "../plan/describe.ts";
import type { PassPlan, PhasePlan } from "../plan/plan.ts";
import { elementCount } from "../tensor/dtype.ts";
import type { BlockReader } from "./blocks.ts";
import { takeMemory } from "./device-memory.ts";
import type { Telemetry } from "./telemetry.ts";
import type { BlockUse, ResidentWeights } from "./weights.ts";

/** A graph of the phase, with what its plan says and where its weights come from. */
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
  readonly signal?: AbortSignal;
  /** What runs after this, in its order: its first weights are read ahead, and shared ones kept. */
  readonly upcoming?: readonly PhasePass[];
  /** Gets each segment's results, read back through RAM that the ledger must give meanwhile. What it throws ends the pass. */
  readonly onSegment?: (segment: string, values: Float32Array) => void;
  /** Results go there by name; others are allocated. */
  readonly into?: ReadonlyMap<string, Float32Array<ArrayBuffer>>;
}

export class PhaseRun implements AsyncDisposable {
  readonly #context: PhaseContext;
  readonly #links: ReadonlyMap<string, Span>;
  readonly #activations: Arena | undefined;
  readonly #scope: AsyncDisposableStack;

  private constructor(
    context: PhaseContext,
    links: ReadonlyMap<string, Span>,
    activations: Arena | undefined,
    scope: AsyncDisposableStack,
  ) {
    this.#context = context;
    this.#links = links;
    this.#activations = activations;
    this.#scope = scope;
  }

  /** Takes the phase's memory besides its weights, which `context.weights` holds. Rejects with BudgetError. */
  static async open(plan: PhasePlan, linkBytes: ReadonlyMap<string, number>, context: PhaseContext): Promise<PhaseRun> {
    const { device, ledger } = context;
    await using scope = new AsyncDisposableStack();
    const take = <Memory extends Disposable>(bytes: number, label: string, from: (label: string) => Promise<Memory>) =>
      takeMemory(scope, ledger, { bytes, label: `${plan.name}: ${label}` }, from);
    const arena = async (lengthBytes: number, label: string) =>
      lengthBytes === 0 ? undefined : await take(lengthBytes, label, (full) => device.createArena(lengthBytes, full));
    const activations = await arena(plan.activationBytes, "activations");
    const linkArena = await arena(plan.linkBytes, "links");
    await take(plan.scratchBytes, "scratch", () => device.createScratch(plan.givenBytes));
    const links = new Map<string, Span>();
    for (const [name, offsetBytes] of plan.links) {
      links.set(name, { arena: linkArena!, offsetBytes, lengthBytes: linkBytes.get(name)! });
    }
    return new PhaseRun(context, links, activations, scope.move());
  }

  /** Has the device compile what these passes need, while their first weights are on their way. */
  async prepare(passes: readonly PhasePass[], signal?: AbortSignal): Promise<void> {
    const { device, weights, pause } = this.#context;
    const uses = passes.flatMap(blockUses);
    const first = uses.filter((use) => use !== undefined);
    const segments = passes.flatMap(({ graph }) => graph.segments.map((segment) => ({ graph, segment })));
    for (const [i, { graph, segment }] of segments.entries()) {
      signal?.throwIfAborted();
      weights.ahead(first, signal);
      const block = uses[i]?.block;
      await device.prepare(graph, segment, block ? storedWeights(graph, segment, block) : []);
      await pause();
    }
  }

  /**
   * Runs one pass. Feeds the graph's inputs by name (links come from earlier passes) and resolves to its outputs by name, links
   * excepted. Rejects with the signal's reason on abort.
   */
  async run(
    pass: PhasePass,
    inputs: ReadonlyMap<string, HostData>,
    options: PassOptions = {},
  ): Promise<Map<string, Float32Array<ArrayBuffer>>> {
    const { device, telemetry, now } = this.#context;
    const { graph } = pass;
    const { signal } = options;
    const beganMs = now();
    telemetry.beginPass(graph.name);
    const spans = this.#spans(pass);
    for (const [name, id] of graph.inputs) {
      if (this.#links.has(name)) continue;
      const data = inputs.get(name);
      if (!data) throw new RangeError(`${graph.name}: no input ${name}`);
      await device.write(graph, id, spans.get(id)!, data);
    }
    const own = blockUses(pass);
    const after = upcomingUses(options.upcoming ?? []);
    for (const [index, segment] of graph.segments.entries()) {
      signal?.throwIfAborted();
      const use = own[index];
      const next = [...own.slice(index + 1), ...after].filter((other) => other !== undefined).slice(0, LOOK_AHEAD);
      await this.#runSegment(pass, segment, { use, next }, spans, signal);
      if (options.onSegment) await this.#show(graph, segment, spans, options.onSegment);
    }
    const outputs = new Map<string, Float32Array<ArrayBuffer>>();
    for (const [name, id] of graph.outputs) {
      if (this.#links.has(name)) continue;
      const into = options.into?.get(name) ?? new Float32Array(elementCount(graph.values[id]!.shape));
      await device.read(graph, id, spans.get(id)!, into);
      outputs.set(name, into);
    }
    telemetry.endPass(graph.name, now() - beganMs);
    return outputs;
  }

  async #runSegment(
    { graph }: PhasePass,
    segment: Segment,
    { use, next }: { readonly use: BlockUse | undefined; readonly next: readonly BlockUse[] },
    spans: ReadonlyMap<ValueId, Span>,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const { device, weights, telemetry, now, pause } = this.#context;
    const askedMs = now();
    const byName = use ? await weights.weights(use, next, signal) : new Map<string, DeviceWeight>();
    if (!use) weights.ahead(next, signal);
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
    if (use && next[0]?.block.key !== use.block.key) weights.computed(use.block.key);
    const endedMs = now();
    telemetry.segment({
      pass: graph.name,
      segment: segment.name,
      key: use?.block.key,
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
      const link = this.#links.get(name);
      if (link) spans.set(id, link);
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

/** Blocks looked at ahead of compute; how many of them are read is a matter of room. */
const LOOK_AHEAD = 3;

function blockUses({ graph, reader }: PhasePass): (BlockUse | undefined)[] {
  const catalog: BlockCatalog = (segmentName, names) => reader.block(segmentName, names);
  return graph.segments.map((segment) => {
    const block = segmentBlock(graph, segment, catalog);
    return block && { block, reader };
  });
}

/** The first few, by block. */
function upcomingUses(passes: readonly PhasePass[]): BlockUse[] {
  const uses: BlockUse[] = [];
  for (const pass of passes) {
    for (const use of blockUses(pass)) if (use && use.block.key !== uses.at(-1)?.block.key) uses.push(use);
    if (uses.length >= LOOK_AHEAD) break;
  }
  return uses;
}
