/**
 * @file Phases carried out under random budgets, with reads that end in random order: the numbers must be those of a run with
 * everything resident, to the bit. Faults: failing, stopped and late reads. The ledger ends empty.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { HostDevice } from "../../src/backend/host-device.ts";
import { HostMemory } from "../../src/backend/host-memory.ts";
import { createReferenceBackend } from "../../src/backend/reference/backend.ts";
import type { TensorEntry, TensorTable } from "../../src/container/table.ts";
import { ArtifactError } from "../../src/errors.ts";
import { GraphBuilder, type Tensor } from "../../src/ir/builder.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { Ledger } from "../../src/ledger/ledger.ts";
import { describePhase, type StoredBlock } from "../../src/plan/describe.ts";
import type { PlanInput } from "../../src/plan/plan-input.ts";
import { makePlan } from "../../src/plan/planner.ts";
import { smallestDeviceBytes } from "../../src/plan/requirements.ts";
import type { ByteSource } from "../../src/source/source.ts";
import { type BlockReader, type ReadReport, TableBlocks } from "../../src/stream/blocks.ts";
import { OpenPhase } from "../../src/stream/phase.ts";
import { BlocksInRam, RamBlocks } from "../../src/stream/ram-blocks.ts";
import { Telemetry } from "../../src/stream/telemetry.ts";
import { WeightPool } from "../../src/stream/weight-pool.ts";
import { TEST_MACHINE } from "../graph-run.ts";
import { sameBytes, sameValues } from "../support/same.ts";

const SIZE = 16;
const WEIGHT_BYTES = 4 * SIZE;
const PLENTY = 2 ** 30;

/** x -> ((x + w0) scaled + w1) ...; some segments have two weights, some none. */
function chain(weightsPerSegment: readonly number[]): Graph {
  const g = new GraphBuilder("chain");
  let x = g.input("x", [SIZE]);
  weightsPerSegment.forEach((count, s) => {
    x = g.segment(`s${s}`, () => {
      let y = g.node("scale", [x], { factor: 0.75 });
      for (let w = 0; w < count; w++) y = g.node("add", [y, g.weight(`s${s}.w${w}`, [SIZE])], {});
      return y;
    });
  });
  g.output("y", x);
  return g.build();
}

interface Source {
  readonly table: TensorTable;
  readonly reads: string[];
  /** Tensors whose reads fail. */
  readonly failing: Set<string>;
  /** Set to hold reads back until it resolves. */
  gate: Promise<void> | undefined;
}

/** Weights with values of their own; reads end after `delays` of the event loop's turns. */
function source(graph: Graph, delays: readonly number[] = []): Source {
  const state = { reads: [] as string[], failing: new Set<string>(), gate: undefined as Promise<void> | undefined };
  let turn = 0;
  const entries = graph.values
    .filter((value) => value.kind === "weight")
    .map((value, i): [string, TensorEntry] => {
      const bytes = new Uint8Array(Float32Array.from({ length: SIZE }, (_, k) => Math.sin(i * 37 + k)).buffer);
      const from: ByteSource = {
        name: "test.safetensors",
        byteLength: bytes.byteLength,
        async read(startByte, into, signal) {
          state.reads.push(value.name);
          const wait = delays.length > 0 ? delays[turn++ % delays.length]! : 0;
          for (let k = 0; k < wait; k++) await new Promise((resume) => setImmediate(resume));
          await state.gate;
          signal?.throwIfAborted();
          if (state.failing.has(value.name)) throw new Error("disk hiccup");
          into.set(bytes.subarray(startByte, startByte + into.byteLength));
        },
        async [Symbol.asyncDispose]() {},
      };
      return [
        value.name,
        { name: value.name, dtype: "f32", shape: [SIZE], source: from, startByte: 0, endByte: bytes.length },
      ];
    });
  return Object.assign(state, { table: new Map(entries) });
}

/** Each weight in a block of its own, as an adapter's are beside those of the model. */
class SplitBlocks implements BlockReader {
  readonly #plain: TableBlocks;

  constructor(plain: TableBlocks) {
    this.#plain = plain;
  }

  get readBytes(): number {
    return this.#plain.readBytes;
  }

  blocks(_segment: string, names: readonly string[]): readonly StoredBlock[] {
    return names.flatMap((name) => this.#plain.blocks(name, [name]));
  }

  read(...block: Parameters<BlockReader["read"]>): Promise<ReadReport> {
    return this.#plain.read(...block);
  }
}

function readerOf(table: TensorTable, split: boolean): BlockReader {
  const plain = new TableBlocks("t", table);
  return split ? new SplitBlocks(plain) : plain;
}

function planFor(graph: Graph, blocks: BlockReader, device: HostDevice, deviceBytes: number): PlanInput {
  const pass = { id: "chain", graph, component: "t", repeats: 3, cyclic: true, links: [] };
  const phase = { id: "run", title: "run", passes: [pass], hostBytes: 0, spilledBytes: 0 };
  return {
    device,
    machine: TEST_MACHINE,
    budgets: { deviceBytes, ramBytes: PLENTY },
    processBytes: 0,
    phases: [describePhase(device, phase, () => blocks.blocks.bind(blocks))],
  };
}

/** Opens the phase, hands it to `body`, closes it, and holds that nothing is left in the ledger. */
async function withPhase(
  graph: Graph,
  from: Source,
  deviceBytes: number,
  body: (run: (x: Float32Array, signal?: AbortSignal, again?: boolean) => Promise<Float32Array>) => Promise<void>,
  split = false,
): Promise<Ledger> {
  const device = new HostDevice(createReferenceBackend());
  const reader = readerOf(from.table, split);
  const plan = makePlan(planFor(graph, reader, device, deviceBytes));
  const phase = plan.phases[0]!;
  const ledger = new Ledger({ device: deviceBytes, ram: 0, disk: 0 });
  const clock = { now: () => 0, onLoad: () => {} };
  {
    await using pool = new WeightPool(clock);
    await using weights = await pool.open(plan, "run", device, ledger);
    const context = { device, ledger, weights, telemetry: new Telemetry(), now: clock.now, pause: async () => {} };
    await using run = await OpenPhase.open(phase, [{ graph, plan: phase.passes[0]!, reader }], context);
    await body(async (x, signal, again = true) => {
      const options = { upcoming: again ? ["chain"] : [], signal };
      return (await run.run("chain", new Map([["x", x]]), options)).get("y")!;
    });
  }
  assert.deepEqual(ledger.held(), []);
  assert.ok(ledger.state("device").peakBytes <= deviceBytes);
  return ledger;
}

const INPUT = Float32Array.from({ length: SIZE }, (_, i) => i / 7);

function leastBytes(graph: Graph, split = false): number {
  const device = new HostDevice(createReferenceBackend());
  return smallestDeviceBytes(planFor(graph, readerOf(source(graph).table, split), device, PLENTY));
}

test("any budget, any order in which reads end: the same bits", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 1, maxLength: 14 }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      fc.array(fc.nat(4), { minLength: 1, maxLength: 7 }),
      fc.boolean(),
      async (shape, share, delays, split) => {
        const graph = chain(shape);
        const results: Float32Array[] = [];
        const least = leastBytes(graph, split);
        for (const [bytes, waits] of [
          [PLENTY, [0]],
          [least + Math.floor(share * 4000), delays],
          [least, delays],
        ] as const) {
          const body = async (run: Parameters<Parameters<typeof withPhase>[3]>[0]) => {
            let x: Float32Array = INPUT;
            for (let step = 0; step < 3; step++) x = await run(x, undefined, step < 2);
            results.push(x);
          };
          await withPhase(graph, source(graph, waits), bytes, body, split);
        }
        sameValues(results[1]!, results[0]!);
        sameValues(results[2]!, results[0]!);
      },
    ),
    { numRuns: 150 },
  );
});

test("segments that share a block with different ones beside it: the same bits in the least memory", async () => {
  const g = new GraphBuilder("shared");
  let x = g.input("x", [SIZE]);
  const weights = new Map<string, Tensor>();
  for (const [segment, names] of [
    ["ab", "ab"],
    ["c", "c"],
    ["ad", "ad"],
    ["cb", "cb"],
    ["e", "e"],
  ] as const) {
    x = g.segment(segment, () => {
      let y = g.node("scale", [x], { factor: 0.75 });
      for (const name of names) {
        const weight = weights.get(name) ?? g.weight(name, [SIZE]);
        weights.set(name, weight);
        y = g.node("add", [y, weight], {});
      }
      return y;
    });
  }
  g.output("y", x);
  const graph = g.build();
  const least = leastBytes(graph, true);
  // a, b, c and d belong together: no two of them may be in each other's way.
  assert.equal(least, leastBytes(chain([2]), true) + 2 * WEIGHT_BYTES);
  const results: Float32Array[] = [];
  for (const bytes of [PLENTY, least + 64, least]) {
    await withPhase(
      graph,
      source(graph, [3, 0, 1]),
      bytes,
      async (run) => {
        results.push(await run(await run(INPUT), undefined, false));
      },
      true,
    );
  }
  sameValues(results[1]!, results[0]!);
  sameValues(results[2]!, results[0]!);
});

test("with room for all, weights are read once; with room for one, in every step", async () => {
  const graph = chain([1, 1, 1]);
  const names = ["s0.w0", "s1.w0", "s2.w0"];
  const plenty = source(graph);
  await withPhase(graph, plenty, PLENTY, async (run) => {
    await run(INPUT);
    await run(INPUT, undefined, false);
  });
  assert.deepEqual(plenty.reads, names);
  const little = source(graph);
  await withPhase(graph, little, leastBytes(graph), async (run) => {
    await run(INPUT);
    await run(INPUT, undefined, false);
  });
  assert.deepEqual(little.reads, [...names, ...names]);
});

test("in the least memory, a block that the next segment, or the next pass, begins with is not given up and read again", async () => {
  const g = new GraphBuilder("again");
  let x = g.input("x", [SIZE]);
  const weights = new Map<string, Tensor>();
  for (const [segment, name] of ["a", "a", "", "a", "b", "b", "c", "a"].entries()) {
    x = g.segment(`s${segment}`, () => {
      const scaled = g.node("scale", [x], { factor: 0.75 });
      if (name === "") return scaled;
      const weight = weights.get(name) ?? g.weight(name, [SIZE]);
      weights.set(name, weight);
      return g.node("add", [scaled, weight], {});
    });
  }
  g.output("y", x);
  const graph = g.build();
  const from = source(graph);
  await withPhase(
    graph,
    from,
    leastBytes(graph, true),
    async (run) => {
      await run(INPUT);
      await run(INPUT, undefined, false);
    },
    true,
  );
  // The last segment's block is the first one's of the next pass.
  assert.deepEqual(from.reads, ["a", "b", "c", "a", "b", "c", "a"]);
});

test("a failed read is told, and is read again by the next run", async () => {
  const graph = chain([1, 1, 1, 1]);
  for (const bytes of [PLENTY, leastBytes(graph)]) {
    const from = source(graph);
    from.failing.add("s2.w0");
    await withPhase(graph, from, bytes, async (run) => {
      await assert.rejects(run(INPUT), /disk hiccup/);
      from.failing.clear();
      const good = await run(INPUT, undefined, false);
      await withPhase(graph, source(graph), PLENTY, async (clean) => {
        assert.deepEqual(await clean(INPUT, undefined, false), good);
      });
    });
  }
});

test("an abort ends the run with the signal's reason; a late read never lands in later weights", async () => {
  const graph = chain([2, 2, 2, 2]);
  const from = source(graph);
  await withPhase(graph, from, leastBytes(graph), async (run) => {
    const gate = Promise.withResolvers<void>();
    from.gate = gate.promise;
    const stop = new AbortController();
    const stopped = run(INPUT, stop.signal);
    await new Promise((resume) => setImmediate(resume));
    stop.abort(new Error("enough"));
    gate.resolve();
    await assert.rejects(stopped, /enough/);
    from.gate = undefined;
    const after = await run(INPUT, undefined, false);
    await withPhase(graph, source(graph), PLENTY, async (clean) => {
      assert.deepEqual(await clean(INPUT, undefined, false), after);
    });
  });
});

test("a read that no abort stops has landed before another block takes its place", async () => {
  const graph = chain([1, 1, 1, 1, 1]);
  for (const extraBytes of [0, WEIGHT_BYTES]) {
    const from = source(graph);
    const gates = new Map<string, PromiseWithResolvers<void>>();
    const begun: string[] = [];
    const deaf = new Map(
      [...from.table].map(([name, entry]) => {
        const read: ByteSource["read"] = async (startByte, into) => {
          begun.push(name);
          await gates.get(name)?.promise;
          await entry.source.read(startByte, into);
        };
        return [name, { ...entry, source: { ...entry.source, read } }] as const;
      }),
    );
    await withPhase(graph, { ...from, table: deaf }, leastBytes(graph) + extraBytes, async (run) => {
      for (const held of ["s2.w0", "s3.w0"]) gates.set(held, Promise.withResolvers<void>());
      const stop = new AbortController();
      const stopped = assert.rejects(run(INPUT, stop.signal), /enough/);
      while (!begun.includes("s2.w0")) await new Promise((resume) => setImmediate(resume));
      for (let turn = 0; turn < 20; turn++) await new Promise((resume) => setImmediate(resume));
      stop.abort(new Error("enough"));
      const again = run(INPUT, undefined, false);
      for (let turn = 0; turn < 20; turn++) await new Promise((resume) => setImmediate(resume));
      const early = begun.filter((name) => name === "s0.w0").length;
      for (const gate of gates.values()) gate.resolve();
      await stopped;
      assert.equal(early, 1, "read into the place of one that is under way");
      const found = await again;
      await withPhase(graph, source(graph), PLENTY, async (clean) => {
        assert.deepEqual(found, await clean(INPUT, undefined, false));
      });
    });
  }
});

test("reads go ahead of compute: past segments without weights, and into the pass to come, if there is one", async () => {
  const graph = chain([1, 0, 0, 0, 1, 1, 1]);
  const twoSlots = leastBytes(graph) + WEIGHT_BYTES;
  const from = source(graph);
  await withPhase(graph, from, twoSlots, async (run) => {
    const gate = Promise.withResolvers<void>();
    from.gate = gate.promise;
    const running = run(INPUT);
    for (let turn = 0; turn < 20; turn++) await new Promise((resume) => setImmediate(resume));
    const early = [...from.reads];
    gate.resolve();
    await running;
    assert.deepEqual(early, ["s0.w0", "s4.w0"]);
    const order = ["s0.w0", "s4.w0", "s5.w0", "s6.w0"];
    assert.deepEqual(from.reads, [...order, "s0.w0"]);
    await run(INPUT, undefined, false);
    assert.deepEqual(from.reads, [...order, ...order]);
  });
});

test("NaN in a weight is refused the first time it passes", async () => {
  const graph = chain([1]);
  const from = source(graph);
  const [name, entry] = [...from.table][0]!;
  const bad = new Uint8Array(new Float32Array(SIZE).fill(1).buffer);
  new Float32Array(bad.buffer)[5] = Number.NaN;
  const table = new Map(from.table).set(name, {
    ...entry,
    source: { ...entry.source, read: async (start, into) => into.set(bad.subarray(start, start + into.byteLength)) },
  });
  await withPhase(graph, { ...from, table }, PLENTY, async (run) => {
    await assert.rejects(run(INPUT), (error) => error instanceof ArtifactError && error.code === "E_NONFINITE");
  });
});

test("blocks that stay in RAM are read once, from any byte on; a failed reading is read again", async () => {
  const graph = chain([2, 1]);
  const from = source(graph);
  const plain = new TableBlocks("t", from.table);
  const [kept, other] = [plain.blocks("s0", ["s0.w0", "s0.w1"])[0]!, plain.blocks("s1", ["s1.w0"])[0]!];
  using memory = new HostMemory("cache", kept.storedBytes);
  const blocks = new RamBlocks(plain, new BlocksInRam(memory, new Map([[kept.key, 0]])));
  const whole = new Uint8Array(kept.storedBytes);
  from.failing.add("s0.w1");
  await assert.rejects(blocks.read(kept, 0, whole), /disk hiccup/);
  from.failing.clear();
  from.reads.length = 0;
  const reports = await Promise.all([blocks.read(kept, 0, whole), blocks.read(kept, 64, new Uint8Array(16))]);
  // What comes from RAM is told as such: the machine's rates are learned from it.
  assert.deepEqual(
    reports.map(({ diskBytes }) => diskBytes),
    [kept.storedBytes, 0],
  );
  assert.deepEqual(from.reads, ["s0.w0", "s0.w1"]);
  const part = new Uint8Array(64);
  await blocks.read(kept, 64, part);
  assert.deepEqual(part, whole.subarray(64, 128));
  const expected = new Uint8Array(kept.storedBytes);
  await plain.read(kept, 0, expected);
  sameBytes(whole, expected);
  // Also where a part of it is what is read first.
  using later = new HostMemory("cache", kept.storedBytes);
  const partFirst = new RamBlocks(plain, new BlocksInRam(later, new Map([[kept.key, 0]])));
  for (const start of [64, 0]) {
    await partFirst.read(kept, start, part);
    sameBytes(part, expected.subarray(start, start + 64));
  }
  from.reads.length = 0;
  for (let i = 0; i < 2; i++) await blocks.read(other, 0, new Uint8Array(other.storedBytes));
  assert.deepEqual(from.reads, ["s1.w0", "s1.w0"]);
});

test("a phase that ends while weights are on their way has not ended before they have landed", async () => {
  const graph = chain([1, 1]);
  const from = source(graph);
  const device = new HostDevice(createReferenceBackend());
  const reader = readerOf(from.table, false);
  const plan = makePlan(planFor(graph, reader, device, leastBytes(graph)));
  const ledger = new Ledger({ device: leastBytes(graph), ram: 0, disk: 0 });
  await using pool = new WeightPool({ now: () => 0, onLoad: () => {} });
  const weights = await pool.open(plan, "run", device, ledger);
  const gate = Promise.withResolvers<void>();
  from.gate = gate.promise;
  weights.ahead([{ blocks: reader.blocks("s0", ["s0.w0"]), reader }]);
  let ended = false;
  const end = weights[Symbol.asyncDispose]().then(() => {
    ended = true;
  });
  for (let turn = 0; turn < 20; turn++) await new Promise((resume) => setImmediate(resume));
  assert.deepEqual(from.reads, ["s0.w0"]);
  assert.equal(ended, false);
  assert.ok(ledger.held().length > 0, "its memory is still taken");
  gate.resolve();
  await end;
  assert.deepEqual(ledger.held(), []);
});

test("a look at a segment's result takes RAM for as long as it lasts, as much as the result has bytes, or is refused", async () => {
  const graph = chain([1, 2]);
  for (const ramBytes of [4 * SIZE, 4 * SIZE - 1]) {
    const device = new HostDevice(createReferenceBackend());
    const reader = readerOf(source(graph).table, false);
    const plan = makePlan(planFor(graph, reader, device, PLENTY));
    const phase = plan.phases[0]!;
    const ledger = new Ledger({ device: PLENTY, ram: ramBytes, disk: 0 });
    const clock = { now: () => 0, onLoad: () => {} };
    await using pool = new WeightPool(clock);
    await using weights = await pool.open(plan, "run", device, ledger);
    const context = { device, ledger, weights, telemetry: new Telemetry(), now: clock.now, pause: async () => {} };
    await using run = await OpenPhase.open(phase, [{ graph, plan: phase.passes[0]!, reader }], context);
    const looks: [segment: string, ramBytes: number][] = [];
    const onSegment = (segment: string, values: Float32Array) => {
      assert.equal(values.length, SIZE);
      looks.push([segment, ledger.state("ram").usedBytes]);
    };
    const looked = run.run("chain", new Map([["x", INPUT]]), { onSegment });
    if (ramBytes < 4 * SIZE) {
      await assert.rejects(looked, { code: "E_RAM" });
      assert.deepEqual(looks, []);
    } else {
      await looked;
      assert.deepEqual(looks, [
        ["s0", 4 * SIZE],
        ["s1", 4 * SIZE],
      ]);
    }
    assert.equal(ledger.state("ram").usedBytes, 0);
  }
});
