/**
 * @file The null device: each of its rules is seen to fail, and a full-size SDXL step, planned under several budgets, runs on it
 * with the memory that the plan says, to the byte.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Arena, type Device, DeviceMemoryError, type Span } from "../../src/backend/device.ts";
import { createNullDevice, DeviceRuleError, type NullDeviceOptions } from "../../src/backend/null/device.ts";
import { WebGpuSizes } from "../../src/backend/webgpu/lower/sizes.ts";
import { GraphBuilder } from "../../src/ir/builder.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { Ledger } from "../../src/ledger/ledger.ts";
import { SDXL_BASE_UNET } from "../../src/models/sdxl/base.ts";
import { unetStepGraph, unetTextGraph, unetTimeGraph } from "../../src/models/sdxl/unet.ts";
import { describePhase, type PassDescription, type StoredBlock } from "../../src/plan/describe.ts";
import type { PlanInput } from "../../src/plan/plan-input.ts";
import { makePlan } from "../../src/plan/planner.ts";
import { smallestDeviceBytes } from "../../src/plan/requirements.ts";
import type { BlockReader } from "../../src/stream/blocks.ts";
import { OpenPhase } from "../../src/stream/phase.ts";
import { Telemetry } from "../../src/stream/telemetry.ts";
import { WeightPool } from "../../src/stream/weight-pool.ts";
import { alignUp, TENSOR_ALIGNMENT_BYTES } from "../../src/tensor/align.ts";
import { elementCount, tensorBytes } from "../../src/tensor/dtype.ts";
import { TEST_MACHINE } from "../graph-run.ts";

const MiB = 2 ** 20;

/** y = x wT, all of 256 bytes on the device. */
function tinyGraph(): Graph {
  const g = new GraphBuilder("tiny");
  const x = g.input("x", [1, 8]);
  g.output(
    "y",
    g.segment("s", () => g.node("linear", [x, g.weight("w", [8, 8])], {})),
  );
  return g.build();
}

const graph = tinyGraph();
const segment = graph.segments[0]!;
const [x, w, y] = [segment.inputs[0]!, segment.weights[0]!, segment.outputs[0]!];
const stored = { dtype: "f16", shape: [8, 8] } as const;
const X = new Float32Array(8);

/** Everything where it belongs: x, w and y side by side in one arena. */
interface Setup extends AsyncDisposable {
  readonly device: ReturnType<typeof createNullDevice>;
  readonly arena: Arena;
  readonly span: (offsetBytes: number, lengthBytes?: number) => Span;
  readonly upload: (place: Span, dtype?: "f16" | "f32", read?: () => Promise<void>) => Promise<void>;
  readonly run: (places?: { x?: Span; w?: Span; y?: Span }) => Promise<void>;
}

async function setUp(options: NullDeviceOptions = {}): Promise<Setup> {
  const device = createNullDevice(options);
  const arena = await device.createArena(1024, "all");
  const span = (offsetBytes: number, lengthBytes = 256): Span => ({ arena, offsetBytes, lengthBytes });
  return {
    device,
    arena,
    span,
    upload: (place, dtype = "f16", read = async () => {}) =>
      device.upload({
        label: "block",
        storedBytes: 256,
        tensors: [{ name: "w", span: place, stored: { dtype, shape: [8, 8] }, storedOffsetBytes: 0 }],
        read,
      }),
    run: (places = {}) =>
      device.run({
        graph,
        segment,
        inputs: new Map([[x, places.x ?? span(0)]]),
        weights: new Map([[w, { span: places.w ?? span(256), stored }]]),
        outputs: new Map([[y, places.y ?? span(512)]]),
      }),
    async [Symbol.asyncDispose]() {
      arena[Symbol.dispose]();
      await device[Symbol.asyncDispose]();
    },
  };
}

const broken = (work: Promise<unknown>, message: RegExp) =>
  assert.rejects(work, (error) => {
    assert.ok(error instanceof DeviceRuleError, String(error));
    assert.match(error.message, message);
    return true;
  });

/** With x written and w uploaded. */
async function ready(options?: NullDeviceOptions): Promise<Setup> {
  const all = await setUp(options);
  await all.device.write(graph, x, all.span(0), X);
  await all.upload(all.span(256));
  return all;
}

test("what keeps the rules runs, is counted, and reads back as zeros", async () => {
  await using all = await ready();
  await all.run();
  const into = new Float32Array(8).fill(7);
  await all.device.read(graph, y, all.span(512), into);
  assert.deepEqual(into, new Float32Array(8));
  const account = { heldBytes: 1024, peakBytes: 1024, uploads: 1, uploadedBytes: 256, runs: 1 };
  assert.deepEqual(all.device.account, account);
});

test("a span lies in a live arena of this device, aligned, inside, and long enough", async () => {
  await using all = await ready();
  await broken(all.run({ y: all.span(520) }), /starts at no multiple of 256/);
  await broken(all.run({ y: all.span(1024) }), /lies outside of its 1024 bytes/);
  await broken(all.run({ y: all.span(512, 16) }), /is shorter than 256/);
  await using other = await setUp();
  await broken(all.run({ y: other.span(512) }), /none of this device's/);
  const gone = await all.device.createArena(256, "gone");
  gone[Symbol.dispose]();
  assert.throws(() => gone[Symbol.dispose](), /disposed twice/);
  await broken(all.run({ y: { arena: gone, offsetBytes: 0, lengthBytes: 256 } }), /or no longer/);
  await all.run();
});

test("outputs overlap neither inputs nor weights", async () => {
  await using all = await ready();
  await broken(all.run({ y: all.span(0) }), /use one place at once/);
  await broken(all.run({ y: all.span(256) }), /use one place at once/);
  await all.run();
});

test("inputs were written, and nothing was put over them since", async () => {
  await using all = await setUp();
  await all.upload(all.span(256));
  await broken(all.run(), /8 elements is read where nothing whole lies/);
  await all.device.write(graph, x, all.span(0), X);
  await all.run();
  await all.upload(all.span(0));
  await broken(all.run(), /read where upload of w/);
  await broken(all.device.read(graph, y, all.span(768), X), /nothing whole lies/);
  await broken(all.device.write(graph, x, all.span(0), new Float32Array(7)), /7 of 8 elements/);
});

test("weights were uploaded whole, as the call says, and nothing was put over them since", async () => {
  await using all = await setUp();
  await all.device.write(graph, x, all.span(0), X);
  await broken(all.run(), /a weight f16 \[8,8\] is read where nothing whole lies/);
  await all.upload(all.span(256), "f32");
  await broken(all.run(), /a weight f16 .* lies|upload of w \(a weight f32/);
  const failed = all.upload(all.span(256), "f16", async () => Promise.reject(new Error("disk")));
  await assert.rejects(failed, /disk/);
  await broken(all.run(), /nothing whole/);
  await all.upload(all.span(256));
  await all.run();
  await all.device.write(graph, x, all.span(256), X);
  await broken(all.run(), /a weight f16/);
});

test("an upload that is under way, or memory in use, is nobody else's", async () => {
  await using all = await ready();
  let finish = () => {};
  const held = all.upload(all.span(256), "f16", () => new Promise((done) => (finish = done)));
  await broken(all.run(), /use one place at once/);
  await broken(all.upload(all.span(256)), /use one place at once/);
  assert.throws(() => all.arena[Symbol.dispose](), /disposed while upload of w uses it/);
  finish();
  await held;
  const running = all.run();
  await broken(all.upload(all.span(256)), /use one place at once/);
  await running;
  await all.run();
});

test("scratch is held where a segment needs it, and arenas heed the device's limit", async () => {
  const scratchBytes = () => ({ sharedBytes: 4096, privateBytes: 0 });
  const sizes = { activationBytes: () => 256, weightBytes: () => 256, scratchBytes };
  await using all = await ready({ sizes, maxArenaBytes: 1024 });
  await broken(all.run(), /needs 4096 bytes of scratch, 0 are held/);
  {
    using _ = await all.device.createScratch(4096);
    await all.run();
  }
  await broken(all.run(), /0 are held/);
  await broken(all.device.createArena(1280, "large"), /larger than 1024/);
});

test("a block's tensors lie within it, and weights are those that the graph declares", async () => {
  await using all = await ready();
  const upload = (storedOffsetBytes: number) =>
    all.device.upload({
      label: "block",
      storedBytes: 256,
      tensors: [{ name: "w", span: all.span(256), stored, storedOffsetBytes }],
      read: async () => {},
    });
  await broken(upload(1), /no multiple of its elements' size/);
  await broken(upload(192), /beyond its block/);
  await broken(all.device.prepare(graph, segment, []), /0 of 1 weights/);
  await broken(all.device.prepare(graph, segment, [{ dtype: "f16", shape: [4, 8] }]), /is \[8,8\] in the graph/);
});

test("memory beyond what it has is DeviceMemoryError; faults come at the call that is named; an end is an end", async () => {
  const small = createNullDevice({ memoryBytes: 1000 });
  const first = await small.createArena(600, "first");
  await assert.rejects(small.createArena(600, "second"), DeviceMemoryError);
  await broken(Promise.resolve(small[Symbol.asyncDispose]()), /600 bytes of it are held/);
  first[Symbol.dispose]();
  await broken(small.settle(), /after the end/);
  const calls: string[] = [];
  const before = (call: string, count: number) => {
    calls.push(call);
    if (count === 2) throw new Error("lost");
  };
  await using all = await setUp({ before });
  await all.device.write(graph, x, all.span(0), X);
  await assert.rejects(all.upload(all.span(256)), /lost/);
  assert.deepEqual(calls, ["createArena", "write", "upload"]);
});

/** fp16 weights of the shapes that graphs declare, which fill nothing. */
class StubBlocks implements BlockReader {
  readonly #shapes = new Map<string, readonly number[]>();
  readBytes = 0;

  constructor(graphs: readonly Graph[]) {
    for (const { values } of graphs)
      for (const { kind, name, shape } of values) if (kind === "weight") this.#shapes.set(name, shape);
  }

  blocks(segmentName: string, weightNames: readonly string[]): readonly StoredBlock[] {
    let storedBytes = 0;
    const tensors = weightNames.map((name) => {
      const stored = { dtype: "f16", shape: this.#shapes.get(name)! } as const;
      const offsetBytes = storedBytes;
      storedBytes += alignUp(tensorBytes(stored), TENSOR_ALIGNMENT_BYTES);
      return { name, stored, offsetBytes };
    });
    return [{ key: `unet/${segmentName}`, storedBytes, tensors }];
  }

  async read(_: StoredBlock, __: number, into: Uint8Array) {
    this.readBytes += into.byteLength;
    return { diskBytes: into.byteLength, decodeMs: 0 };
  }
}

const STEPS = 3;
const STEP_GRAPHS = [
  unetTextGraph(SDXL_BASE_UNET, 2, 77),
  unetTimeGraph(SDXL_BASE_UNET, 2 * STEPS),
  unetStepGraph(SDXL_BASE_UNET, { batch: 2, height: 128, width: 128 }, 77),
] as const;
const LINKS = [...STEP_GRAPHS[0].outputs.keys()];
const ONCE = { component: "unet", repeats: 1, cyclic: false, links: [] };
const PASSES: readonly PassDescription[] = [
  { ...ONCE, id: "text", graph: STEP_GRAPHS[0], links: LINKS },
  { ...ONCE, id: "time", graph: STEP_GRAPHS[1] },
  { ...ONCE, id: "step", graph: STEP_GRAPHS[2], repeats: STEPS, cyclic: true, links: LINKS },
];

function denoisePlan(device: Device, reader: BlockReader, deviceBytes: number): PlanInput {
  const phase = { id: "denoise", title: "denoise", passes: PASSES, hostBytes: 0, spilledBytes: 0 };
  return {
    device,
    machine: TEST_MACHINE,
    budgets: { deviceBytes, ramBytes: 2 ** 40 },
    processBytes: 0,
    phases: [describePhase(device, phase, () => reader.blocks.bind(reader))],
  };
}

/** What the caller feeds: zeros. */
function zeros(graph: Graph): Map<string, Float32Array> {
  const fed = [...graph.inputs].filter(([name]) => !LINKS.includes(name));
  return new Map(fed.map(([name, id]) => [name, new Float32Array(elementCount(graph.values[id]!.shape))]));
}

test("full-size SDXL steps under several budgets: the peaks of the plan, to the byte, on ledger and device", async () => {
  const sizes = new WebGpuSizes();
  const { overheadBytes } = sizes;
  const reader = new StubBlocks(STEP_GRAPHS);
  const leastBytes = smallestDeviceBytes(denoisePlan(createNullDevice({ sizes, overheadBytes }), reader, 2 ** 40));
  const streamedBytes: number[] = [];
  for (const deviceBytes of [leastBytes, 2048 * MiB, 4096 * MiB, 8192 * MiB]) {
    await using device = createNullDevice({ sizes, overheadBytes, maxArenaBytes: 1024 * MiB });
    const input = denoisePlan(device, reader, deviceBytes);
    const plan = makePlan(input);
    const phase = plan.phases[0]!;
    const ledger = new Ledger({ device: deviceBytes, ram: 0, disk: 0 });
    const clock = { now: () => 0, onLoad: () => {} };
    {
      using _ = ledger.reserve("device", overheadBytes, "overhead");
      await using pool = new WeightPool(clock);
      await using weights = await pool.open(plan, phase.id, device, ledger);
      const context = { device, ledger, weights, telemetry: new Telemetry(), now: clock.now, pause: async () => {} };
      const passes = PASSES.map((pass, i) => ({ graph: pass.graph, plan: phase.passes[i]!, reader }));
      await using run = await OpenPhase.open(phase, passes, context);
      await run.prepare();
      const [text, time, step] = STEP_GRAPHS.map(zeros);
      await run.run("text", text!, { upcoming: ["time", "step"] });
      await run.run("time", time!, { upcoming: ["step"] });
      for (let i = 1; i <= STEPS; i++) await run.run("step", step!, { upcoming: i < STEPS ? ["step"] : [] });
    }
    assert.deepEqual(ledger.held(), []);
    assert.equal(ledger.state("device").peakBytes, phase.deviceBytes);
    assert.equal(device.account.peakBytes + overheadBytes, phase.deviceBytes);
    assert.equal(device.account.heldBytes, 0);
    const segments = STEP_GRAPHS.map((of) => of.segments.length);
    assert.equal(device.account.runs, segments[0]! + segments[1]! + STEPS * segments[2]!);
    streamedBytes.push(device.account.uploadedBytes);
  }
  // 5.1 GB of weights once where all stay; the less memory, the more of them pass again.
  const [least, two, four, all] = streamedBytes as [number, number, number, number];
  assert.ok(all > 5.1e9 && all < 5.2e9, `${all} bytes`);
  assert.ok(least > two && two > four && four > all, `${streamedBytes}`);
});
