/**
 * @file Weights that stay on the device, by block: owns their arenas and ledger entries, lends them to phases, and keeps from
 * phase to phase and image to image what the plans say. A kept block is not allocated or uploaded again while plans agree on what leaves with it.
 */
import type { Arena, Device, Span } from "../backend/device.ts";
import type { Ledger } from "../ledger/ledger.ts";
import type { PhasePlan, Plan } from "../plan/plan.ts";
import type { PinnedBlock } from "../plan/residency.ts";
import { takeMemory } from "./device-memory.ts";
import { type BlockWeights, type LoadClock, ResidentWeights } from "./weights.ts";

/** Blocks that come and go together. */
interface PinnedArena {
  readonly places: ReadonlyMap<string, Span>;
  /** Those that are there, whole. */
  readonly arrived: Map<string, BlockWeights>;
  readonly memory: AsyncDisposableStack;
}

export class WeightPool implements AsyncDisposable {
  readonly #clock: LoadClock;
  #arenas: PinnedArena[] = [];
  #plan: Plan | undefined;
  /** The open phase's. */
  #lent: ResidentWeights | undefined;

  constructor(clock: LoadClock) {
    this.#clock = clock;
  }

  /**
   * Takes the memory of a phase's weights, besides what is there already. Disposing them gives back what the plan doesn't keep.
   * One phase at a time. Rejects with BudgetError if a tier has it not; then only blocks kept from before are held.
   */
  async open(plan: Plan, phaseId: string, device: Device, ledger: Ledger): Promise<ResidentWeights> {
    await this.makeRoom(plan, phaseId);
    this.#plan = plan;
    const phase = phaseOf(plan, phaseId);
    const { residency } = phase;
    await using untilDone = new AsyncDisposableStack();
    const take = (memory: AsyncDisposableStack, bytes: number, label: string): Promise<Arena> =>
      takeMemory(memory, ledger, { bytes, label }, () => device.createArena(bytes, label));

    const fresh: PinnedArena[] = [];
    const held = new Set(this.#arenas.flatMap(({ places }) => [...places.keys()]));
    const missing = residency.pinned.filter(({ key }) => !held.has(key));
    for (const blocks of arenaGroups(plan, phase, missing, device.maxArenaBytes ?? Number.POSITIVE_INFINITY)) {
      const memory = untilDone.use(new AsyncDisposableStack());
      const lengthBytes = blocks.reduce((sum, block) => sum + block.lengthBytes, 0);
      fresh.push({
        places: placesIn(await take(memory, lengthBytes, "pinned weights"), blocks),
        arrived: new Map(),
        memory,
      });
    }
    const scope = untilDone.use(new AsyncDisposableStack());
    const passing = new Map<string, Span>();
    if (residency.ringBytes > 0) {
      const ring = await take(scope, residency.ringBytes, "weights passing through");
      for (const { key, offsetBytes, lengthBytes } of residency.streamed) {
        passing.set(key, { arena: ring, offsetBytes, lengthBytes });
      }
    }

    // All is taken: from here on the arenas are the pool's, and the ring is the phase's.
    untilDone.move();
    this.#arenas.push(...fresh);
    const owners = new Map(
      this.#arenas.flatMap((arena) => [...arena.places.keys()].map((key) => [key, arena] as const)),
    );
    const own = residency.pinned.map(({ key }) => [key, owners.get(key)!] as const);
    const pinned = own.map(([key, arena]) => [key, arena.places.get(key)!] as const);
    const lent = new AsyncDisposableStack();
    const kept = new Set(phase.keptKeys);
    const leaving = new Set(residency.pinned.flatMap(({ key }) => (kept.has(key) ? [] : [key])));
    lent.defer(async () => {
      await this.#giveBack(({ places }) => ![...places.keys()].some((key) => leaving.has(key)));
    });
    lent.use(scope);
    const memory = {
      places: new Map([...pinned, ...passing]),
      arrived: new Map(own.flatMap(([key, { arrived }]) => (arrived.has(key) ? [[key, arrived.get(key)!]] : []))),
      onArrived: (key: string, weights: BlockWeights) => owners.get(key)?.arrived.set(key, weights),
    };
    const weights = new ResidentWeights(device, memory, this.#clock, lent);
    this.#lent = weights;
    lent.defer(() => {
      if (this.#lent === weights) this.#lent = undefined;
    });
    return weights;
  }

  /** Keys of all blocks on the device, and of those on their way there. */
  get keys(): ResidentWeights["keys"] {
    const { resident = [], loading = [] } = this.#lent?.keys ?? {};
    const kept = this.#arenas.flatMap(({ arrived }) => [...arrived.keys()]);
    return { resident: [...new Set([...kept, ...resident])], loading };
  }

  /**
   * Gives back what the phase has no use for, so that its plan's peak holds. True if there was any: then memory was planned
   * otherwise before.
   */
  async makeRoom(plan: Plan, phaseId: string): Promise<boolean> {
    const phases = plan.keepsAll ? plan.phases : [phaseOf(plan, phaseId)];
    const wanted = new Map(
      phases.flatMap(({ residency }) => residency.pinned.map((block) => [block.key, block.lengthBytes])),
    );
    return await this.#giveBack(({ places }) =>
      [...places].every(([key, { lengthBytes }]) => wanted.get(key) === lengthBytes),
    );
  }

  /** Between images: what stays from phase to phase only is given back. */
  async endImage(): Promise<void> {
    if (this.#plan && !this.#plan.keepsAll) await this.release();
  }

  /** Gives all blocks back, between phases. True if there were any. */
  async release(): Promise<boolean> {
    return await this.#giveBack(() => false);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.release().then(() => {});
  }

  async #giveBack(isKept: (arena: PinnedArena) => boolean): Promise<boolean> {
    const leaving = this.#arenas.filter((arena) => !isKept(arena));
    this.#arenas = this.#arenas.filter((arena) => !leaving.includes(arena));
    // The last one taken first; all of them, even if one fails.
    await using stack = new AsyncDisposableStack();
    for (const { memory } of leaving) stack.use(memory);
    return leaving.length > 0;
  }
}

function phaseOf(plan: Plan, phaseId: string): PhasePlan {
  const phase = plan.phases.find(({ id }) => id === phaseId);
  if (!phase) throw new RangeError(`the plan has no phase ${phaseId}`);
  return phase;
}

/**
 * Blocks that fit in one arena each and leave together: of one component, and kept until the same phase's end. An adapter, which
 * is a component of its own, can so leave without the weights that it adapts.
 */
function arenaGroups(
  plan: Plan,
  phase: PhasePlan,
  blocks: readonly PinnedBlock[],
  maxArenaBytes: number,
): PinnedBlock[][] {
  const kept = plan.phases.map(({ keptKeys }) => new Set(keptKeys));
  const opened = plan.phases.indexOf(phase);
  const lastPhase = (key: string) => {
    if (plan.keepsAll) return plan.phases.length;
    let index = opened;
    while (kept[index]!.has(key)) index++;
    return index;
  };
  const leaving = Map.groupBy(blocks, ({ key }) => `${lastPhase(key)} ${key.slice(0, key.indexOf("/"))}`);
  return [...leaving.values()].flatMap((together) => {
    const groups: PinnedBlock[][] = [];
    let roomBytes = 0;
    for (const block of together) {
      if (block.lengthBytes > roomBytes) {
        groups.push([]);
        roomBytes = maxArenaBytes;
      }
      groups.at(-1)!.push(block);
      roomBytes -= block.lengthBytes;
    }
    return groups;
  });
}

/** One after the other. */
function placesIn(arena: Arena, blocks: readonly PinnedBlock[]): ReadonlyMap<string, Span> {
  let offsetBytes = 0;
  return new Map(
    blocks.map(({ key, lengthBytes }) => {
      offsetBytes += lengthBytes;
      return [key, { arena, offsetBytes: offsetBytes - lengthBytes, lengthBytes }] as const;
    }),
  );
}
