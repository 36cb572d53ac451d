/**
 * @file Where pictures that are drawn side by side meet. Each is a task of its own that opens phases and runs passes; once all that
 * are still drawn wait for something, the earliest of it is done, for all who wait for it: a phase is opened once, a pass of a phase
 * with lanes runs once, segment by segment for one picture after the other. In other phases they have their turns. So host memory
 * and device memory are as the plan has them, and nothing of a picture hangs on the others.
 */
import type { HostData } from "../backend/device.ts";
import type { Conditioning } from "../models/conditioning.ts";
import type { Checkpoint } from "../models/family.ts";
import { type PassOptions, type PassResults, SignalOfAll } from "../stream/lanes.ts";
import type { OpenPhase, PhaseRun } from "../stream/phase.ts";
import type { BoundedCache } from "./bounded-cache.ts";
import type { PhaseHost, PlannedJob, Runtime } from "./runtime.ts";

interface PhaseWish {
  readonly kind: "phase";
  readonly id: string;
  readonly signal: AbortSignal | undefined;
  readonly granted: PromiseWithResolvers<PhaseRun>;
}

interface PassWish {
  readonly kind: "pass";
  readonly id: string;
  readonly signal: AbortSignal | undefined;
  readonly inputs: ReadonlyMap<string, HostData>;
  readonly options: PassOptions;
  readonly granted: PromiseWithResolvers<PassResults>;
}

interface Lane {
  readonly index: number;
  readonly picture: number;
  /** What it waits for; undefined while it is at work itself. */
  wish: PhaseWish | PassWish | undefined;
  /** Its task is over. */
  over: boolean;
}

interface MetPhase {
  readonly run: OpenPhase;
  /** Its passes run for all lanes at once. */
  readonly together: boolean;
  readonly inside: Set<Lane>;
  /** Those whose turn comes yet. */
  readonly queue: Lane[];
}

export class Meeting implements AsyncDisposable {
  readonly #runtime: Runtime;
  readonly #planned: PlannedJob;
  readonly #lanes: readonly Lane[];
  /** Ids of passes: cyclic ones come last, so that whoever has something else to do before them is waited for. */
  readonly #order: readonly string[];
  #phase: MetPhase | undefined;
  /** A phase is being opened or closed. */
  #changing = false;
  readonly #underWay = new Set<Promise<void>>();

  /** `pictures`: what telemetry calls them; as many as the plan has lanes, or fewer. */
  constructor(runtime: Runtime, planned: PlannedJob, pictures: readonly number[]) {
    this.#runtime = runtime;
    this.#planned = planned;
    const passes = planned.described.phases.flatMap((phase) => phase.passes);
    this.#order = [false, true].flatMap((last) => passes.flatMap(({ id, cyclic }) => (cyclic === last ? [id] : [])));
    this.#lanes = pictures.map((picture, index) => ({ index, picture, wish: undefined, over: false }));
  }

  /** What the task of one of them computes with, the first being 0. */
  lane(index: number): PhaseHost {
    return new LaneHost(this.#runtime, (id, signal) => this.#openPhase(this.#lanes[index]!, id, signal));
  }

  /** A task is over, its phases closed: the others don't wait for it any more. */
  leave(index: number): void {
    this.#lanes[index]!.over = true;
    this.#advance();
  }

  #openPhase(lane: Lane, id: string, signal: AbortSignal | undefined): Promise<PhaseRun> {
    return this.#wait(lane, { kind: "phase", id, signal, granted: Promise.withResolvers<PhaseRun>() });
  }

  /** Until it is granted, or the signal says no. */
  #wait<Result>(lane: Lane, wish: (PhaseWish | PassWish) & { readonly granted: PromiseWithResolvers<Result> }) {
    const { signal, granted } = wish;
    if (signal?.aborted) {
      granted.reject(signal.reason);
      return granted.promise;
    }
    const stop = () => {
      if (lane.wish !== wish) return;
      lane.wish = undefined;
      granted.reject(signal!.reason);
    };
    signal?.addEventListener("abort", stop, { once: true });
    const { promise } = granted;
    promise.finally(() => signal?.removeEventListener("abort", stop)).catch(() => {});
    lane.wish = wish;
    this.#advance();
    return promise;
  }

  /** Grants what comes next, unless someone is at work. */
  #advance(): void {
    if (this.#changing || this.#lanes.some(({ over, wish }) => !over && !wish)) return;
    const phase = this.#phase;
    const next = phase ? (phase.inside.size > 0 ? this.#runNext(phase) : this.#giveTurn(phase)) : this.#openNext();
    this.#underWay.add(next);
    void next.finally(() => this.#underWay.delete(next));
  }

  /** With all tasks over: what they have left is given back. */
  async [Symbol.asyncDispose](): Promise<void> {
    while (this.#underWay.size > 0) await Promise.all(this.#underWay);
    if (this.#phase) await this.#close(this.#phase);
  }

  /** Opens the phase that comes first of those that are waited for. */
  async #openNext(): Promise<void> {
    const { phases } = this.#planned.plan;
    const wished = (id: string) => this.#lanes.filter(({ wish }) => wish?.kind === "phase" && wish.id === id);
    const next = phases.find(({ id }) => wished(id).length > 0);
    if (!next) return;
    this.#changing = true;
    try {
      using stop = new SignalOfAll(wished(next.id).map(({ wish }) => wish!.signal));
      const run = await this.#runtime.openPhase(this.#planned, next.id, stop.signal);
      this.#phase = { run, together: next.lanes > 1, inside: new Set(), queue: wished(next.id) };
    } catch (error) {
      for (const lane of wished(next.id)) taken(lane, "phase").granted.reject(error);
    } finally {
      this.#changing = false;
    }
    this.#advance();
  }

  /** Lets in all that wait, or the next one; closes what nobody waits for any more. */
  async #giveTurn(phase: MetPhase): Promise<void> {
    const waiting = phase.queue.filter(({ wish }) => wish?.kind === "phase");
    const entering = phase.together ? waiting : waiting.slice(0, 1);
    phase.queue.splice(0, phase.queue.length, ...waiting.slice(entering.length));
    if (entering.length === 0) {
      this.#changing = true;
      // Whoever waited has been stopped; the next phase tells of a device that is gone.
      await this.#close(phase).catch(() => {});
      this.#changing = false;
      this.#advance();
      return;
    }
    for (const lane of entering) phase.inside.add(lane);
    for (const lane of entering)
      taken(lane, "phase").granted.resolve(new LanePhase(phase.run, this.#insideOf(phase, lane)));
  }

  #insideOf(phase: MetPhase, lane: Lane): Inside {
    const { run, together } = phase;
    return {
      run: async (id, inputs, options) => {
        if (together) {
          const granted = Promise.withResolvers<PassResults>();
          return await this.#wait(lane, { kind: "pass", id, signal: options.signal, inputs, options, granted });
        }
        const [result] = await run.runTogether(id, [{ lane: 0, picture: lane.picture, inputs, options }]);
        if (result!.status === "rejected") throw result!.reason;
        return result!.value;
      },
      leave: async () => {
        phase.inside.delete(lane);
        const isAwaited = phase.queue.some(({ wish }) => wish?.kind === "phase");
        if (phase.inside.size === 0 && !isAwaited) await this.#close(phase);
      },
    };
  }

  async #close(phase: MetPhase): Promise<void> {
    this.#phase = undefined;
    await phase.run[Symbol.asyncDispose]();
  }

  /** Runs the pass that comes first of those that are waited for; an unknown one tells so. */
  async #runNext({ run, inside }: MetPhase): Promise<void> {
    const wishes = [...inside].flatMap((lane) => (lane.wish?.kind === "pass" ? [{ lane, wish: lane.wish }] : []));
    const first = this.#order.find((id) => wishes.some(({ wish }) => wish.id === id)) ?? wishes[0]?.wish.id;
    const runs = wishes
      .filter(({ wish }) => wish.id === first)
      .map(({ lane }) => ({ lane: lane.index, picture: lane.picture, ...taken(lane, "pass") }));
    if (first === undefined) return;
    try {
      const results = await run.runTogether(first, runs);
      for (const [i, { granted }] of runs.entries()) {
        const result = results[i]!;
        if (result.status === "fulfilled") granted.resolve(result.value);
        else granted.reject(result.reason);
      }
    } catch (error) {
      for (const { granted } of runs) granted.reject(error);
    }
  }
}

/** The lane's wish, which is granted or refused now: it is at work again. */
function taken<Kind extends "phase" | "pass">(lane: Lane, kind: Kind): Extract<PhaseWish | PassWish, { kind: Kind }> {
  const { wish } = lane;
  if (wish?.kind !== kind) throw new Error(`lane ${lane.index} waits for no ${kind}`);
  lane.wish = undefined;
  return wish as Extract<PhaseWish | PassWish, { kind: Kind }>;
}

type OpenById = (id: string, signal: AbortSignal | undefined) => Promise<PhaseRun>;

class LaneHost implements PhaseHost {
  readonly checkpoint: Checkpoint;
  readonly promptCache: BoundedCache<string, Conditioning>;
  readonly #open: OpenById;

  constructor({ checkpoint, promptCache }: Runtime, open: OpenById) {
    this.checkpoint = checkpoint;
    this.promptCache = promptCache;
    this.#open = open;
  }

  openPhase(_: PlannedJob, id: string, signal?: AbortSignal): Promise<PhaseRun> {
    return this.#open(id, signal);
  }
}

interface Inside {
  readonly run: (id: string, inputs: ReadonlyMap<string, HostData>, options: PassOptions) => Promise<PassResults>;
  readonly leave: () => Promise<void>;
}

/** A phase as one picture sees it. */
class LanePhase implements PhaseRun {
  readonly spilled: Float32Array<ArrayBuffer>;
  readonly rowsFirst: boolean;
  readonly #inside: Inside;

  constructor({ spilled, rowsFirst }: OpenPhase, inside: Inside) {
    this.spilled = spilled;
    this.rowsFirst = rowsFirst;
    this.#inside = inside;
  }

  run(id: string, inputs: ReadonlyMap<string, HostData>, options: PassOptions = {}): Promise<PassResults> {
    return this.#inside.run(id, inputs, options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#inside.leave();
  }
}
