/** @file The `webgpu` device as a whole: in what order its work happens, what of a result is looked at, what it refuses and remembers. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import type { DeviceWeight, Span } from "../../src/backend/device.ts";
import { BASELINE } from "../../src/backend/webgpu/lower/paths.ts";
import { createWebGpuDevice, type WebGpuDevice, type WebGpuOptions } from "../../src/backend/webgpu/run/device.ts";
import { DeviceHealth, lostError } from "../../src/backend/webgpu/run/device-health.ts";
import { forgetProbes, probePaths } from "../../src/backend/webgpu/run/self-test.ts";
import { DeviceError } from "../../src/errors.ts";
import { GraphBuilder } from "../../src/ir/builder.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { openDawn } from "../../src/node/gpu/dawn.ts";
import { computeGraph, drawData, opGraph } from "./conformance.ts";
import { deviceBackend } from "./device-backend.ts";
import { dropDispatches } from "./faulty-gpu.ts";
import { findTestAdapter } from "./software-vulkan.ts";

const adapter = await findTestAdapter();
const options = adapter.skip === undefined ? {} : { skip: adapter.skip };
const MiB = 2 ** 20;
const STAGING = { slots: 2, slotBytes: 65536 };
const opened: WebGpuDevice[] = [];
after(async () => {
  for (const device of opened) await device[Symbol.asyncDispose]();
});

async function open(more: WebGpuOptions = {}, spoil: (gpu: GPUDevice) => void = () => {}): Promise<WebGpuDevice> {
  const found = await openDawn(adapter.name);
  spoil(found.device);
  const device = await createWebGpuDevice(found, { staging: STAGING, paths: BASELINE, ...more });
  opened.push(device);
  return device;
}

/** y = x + w, of `count` numbers. */
function sumGraph(count: number): Graph {
  const g = new GraphBuilder("sum");
  const x = g.input("x", [count]);
  g.segment("s", () => g.output("y", g.node("add", [x, g.weight("w", [count])], {})));
  return g.build();
}

/** Spans of x, w and y of such a graph, one after the other. */
async function placesOf(device: WebGpuDevice, graph: Graph, count: number) {
  const bytes = Math.ceil((count * 4) / 256) * 256;
  const arena = await device.createArena(3 * bytes, "all");
  const [x, w, y] = [0, 1, 2].map((i): Span => ({ arena, offsetBytes: i * bytes, lengthBytes: bytes })) as [
    Span,
    Span,
    Span,
  ];
  const segment = graph.segments[0]!;
  const stored = { dtype: "f32" as const, shape: [count] };
  const weight: DeviceWeight = { span: w, stored };
  const upload = (value: number) =>
    device.upload({
      label: "w",
      storedBytes: count * 4,
      tensors: [{ name: "w", stored, span: w, storedOffsetBytes: 0 }],
      read: async (_, into) => {
        new Float32Array(into.buffer, into.byteOffset, into.length / 4).fill(value);
      },
    });
  const call = {
    graph,
    segment,
    inputs: new Map([[segment.inputs[0]!, x]]),
    weights: new Map([[segment.weights[0]!, weight]]),
    outputs: new Map([[segment.outputs[0]!, y]]),
  };
  const read = async (at = y) => {
    const values = new Float32Array(count);
    await device.read(graph, segment.outputs[0]!, at, values);
    return values;
  };
  return { arena, x, w, y, call, upload, read, segment };
}

test(
  "weights that come into the place of others change nothing of what was asked before them, nor do inputs",
  options,
  async () => {
    const device = await open();
    const count = 1000;
    const graph = sumGraph(count);
    const { arena, x, call, upload, read, segment } = await placesOf(device, graph, count);
    await upload(1);
    await device.write(graph, segment.inputs[0]!, x, new Float32Array(count).fill(10));
    await device.run(call);
    await upload(2);
    await device.write(graph, segment.inputs[0]!, x, new Float32Array(count).fill(20));
    assert.ok(
      (await read()).every((value) => value === 11),
      "what was asked first",
    );
    await device.run(call);
    assert.ok((await read()).every((value) => value === 22));
    arena[Symbol.dispose]();
  },
);

test("a result of which only the start, or only the end, was computed is not handed out", options, async () => {
  const count = 40_000;
  const item = {
    op: "scale",
    name: "",
    attrs: { factor: 2 },
    inputs: [{ kind: "activation", shape: [count] }],
  } as const;
  const { graph, data } = opGraph(item, 1);
  for (const dropped of ["first", "last"] as const) {
    // Ten workgroups in parts of a binding.
    const device = await open({ limits: { bindingBytes: 1 << 16 } }, (gpu) => {
      dropDispatches({ device: gpu }, (dispatch) => (dropped === "first" ? dispatch === 0 : dispatch > 0));
    });
    const outcome = computeGraph(deviceBackend(device), graph, data, "f32");
    await assert.rejects(outcome, (error) => error instanceof DeviceError && error.code === "E_GPU_STALE", dropped);
  }
});

test("long reads come in pieces of 4 MiB, each byte once, also where two tensors share a slot", options, async () => {
  const device = await open({ staging: { slots: 1, slotBytes: 16 * MiB } });
  const counts = [2.3 * MiB, 0.4 * MiB].map(Math.floor);
  const storedBytes = 4 * (counts[0]! + counts[1]!);
  const stored = new Float32Array(storedBytes / 4).map((_, i) => i % 8191);
  const bytes = new Uint8Array(stored.buffer);
  const arena = await device.createArena(storedBytes + 512, "weights");
  const spans = counts.map((count, i): Span => {
    return {
      arena,
      offsetBytes: i * Math.ceil((counts[0]! * 4) / 256) * 256,
      lengthBytes: Math.ceil((count * 4) / 256) * 256,
    };
  });
  const reads: [number, number][] = [];
  await device.upload({
    label: "long",
    storedBytes,
    tensors: counts.map((count, i) => ({
      ...{ name: `w${i}`, stored: { dtype: "f32" as const, shape: [count] }, span: spans[i]! },
      storedOffsetBytes: i * counts[0]! * 4,
    })),
    read: async (from, into) => {
      reads.push([from, into.length]);
      into.set(bytes.subarray(from, from + into.length));
    },
  });
  assert.ok(reads.every(([, length]) => length <= 4 * MiB));
  let next = 0;
  for (const [from, length] of reads.sort(([a], [b]) => a - b)) {
    assert.equal(from, next);
    next += length;
  }
  assert.equal(next, storedBytes);
  for (const [i, count] of counts.entries()) {
    const g = new GraphBuilder("read back");
    const x = g.input("x", [count]);
    g.segment("s", () => g.output("y", g.node("silu", [x], {})));
    const found = new Float32Array(count);
    await device.read(g.build(), x.id, spans[i]!, found);
    const start = i * counts[0]!;
    assert.ok(
      found.every((value, at) => value === stored[start + at]),
      `tensor ${i}`,
    );
  }
  arena[Symbol.dispose]();
});

test("a read that fails is told once the others have landed: they write into the same slot", options, async () => {
  const device = await open({ staging: { slots: 1, slotBytes: 16 * MiB } });
  const stored = { dtype: "f32" as const, shape: [2 * MiB] };
  const arena = await device.createArena(8 * MiB, "weights");
  const span = { arena, offsetBytes: 0, lengthBytes: 8 * MiB };
  const landing = Promise.withResolvers<void>();
  let told = false;
  const upload = device
    .upload({
      ...{ label: "two reads", storedBytes: 8 * MiB, tensors: [{ name: "w", stored, span, storedOffsetBytes: 0 }] },
      read: (from) => (from === 0 ? Promise.reject(new Error("disk")) : landing.promise),
    })
    .catch((error: unknown) => {
      told = true;
      return error;
    });
  for (let turn = 0; turn < 20; turn++) await new Promise((resume) => setImmediate(resume));
  assert.equal(told, false);
  landing.resolve();
  assert.match(String(await upload), /^Error: disk$/);
  arena[Symbol.dispose]();
});

test("memory that was given back, that is another device's, or that ends too early is refused", options, async () => {
  const device = await open();
  const graph = sumGraph(64);
  const { arena, y, read } = await placesOf(device, graph, 64);
  await assert.rejects(read({ ...y, lengthBytes: 512 }), /RangeError: a span ends beyond arena all/);
  const other = await (await open()).createArena(1024, "other");
  await assert.rejects(read({ ...y, arena: other }), /arena other is none of this device's/);
  arena[Symbol.dispose]();
  await assert.rejects(read(), /arena all is none of this device's/);
  assert.throws(() => arena[Symbol.dispose](), /twice/);
});

test(
  "a segment computes with the memory of this call: other places of one arena, other segments at the same places",
  options,
  async () => {
    const device = await open();
    using arena = await device.createArena(5 * 256, "all");
    const places = Array.from({ length: 5 }, (_, i): Span => ({ arena, offsetBytes: 256 * i, lengthBytes: 256 }));
    const of = (op: "add" | "affine") => {
      const g = new GraphBuilder(op);
      const [a, b] = [g.input("a", [64]), g.input("b", [64])];
      g.segment("s", () => g.output("y", g.node(op, [a, b], {})));
      return g.build();
    };
    const [sum, product] = [of("add"), of("affine")];
    const compute = async (graph: Graph, a: number, b: number, into: number) => {
      const segment = graph.segments[0]!;
      const [left, right] = segment.inputs;
      const inputs = new Map([
        [left!, places[a]!],
        [right!, places[b]!],
      ]);
      await device.run({
        graph,
        segment,
        inputs,
        weights: new Map(),
        outputs: new Map([[segment.outputs[0]!, places[into]!]]),
      });
      const values = new Float32Array(64);
      await device.read(graph, segment.outputs[0]!, places[into]!, values);
      return [...new Set(values)];
    };
    for (const [place, value] of [3, 10].entries())
      await device.write(sum, sum.segments[0]!.inputs[0]!, places[place]!, new Float32Array(64).fill(value));
    assert.deepEqual(await compute(sum, 0, 1, 2), [13]);
    assert.deepEqual(await compute(sum, 2, 1, 3), [23]);
    assert.deepEqual(await compute(sum, 2, 3, 4), [36]);
    assert.deepEqual(await compute(product, 0, 1, 2), [30]);
    assert.deepEqual(await compute(sum, 0, 1, 2), [13]);
    await device.release();
    assert.deepEqual(await compute(product, 0, 1, 2), [30]);
    assert.equal(device.boundCount, 1);
  },
);

test("temporaries lie in scratch of their size or more, and in none that was given back", options, async () => {
  const device = await open();
  const g = new GraphBuilder("two");
  const x = g.input("x", [250]);
  g.segment("s", () => g.output("y", g.node("scale", [g.node("affine", [x, x], {})], { factor: 2 })));
  const graph = g.build();
  const segment = graph.segments[0]!;
  assert.deepEqual(device.scratchBytes(graph, segment, []), { sharedBytes: 1024, privateBytes: 0 });
  using arena = await device.createArena(2048, "all");
  const [from, to] = [0, 1024].map((offsetBytes): Span => ({ arena, offsetBytes, lengthBytes: 1024 }));
  await device.write(graph, x.id, from!, new Float32Array(250).fill(3));
  const outputs = new Map([[segment.outputs[0]!, to!]]);
  const run = () => device.run({ graph, segment, inputs: new Map([[x.id, from!]]), weights: new Map(), outputs });
  const none = /needs 1024 bytes of scratch memory, none so large is held/;
  await assert.rejects(run(), none);
  {
    using _less = await device.createScratch(768);
    await assert.rejects(run(), none);
    using _exact = await device.createScratch(1024);
    await run();
    const found = new Float32Array(250);
    await device.read(graph, segment.outputs[0]!, to!, found);
    assert.ok(found.every((value) => value === 18));
    assert.equal(device.heldBytes, 2048 + 768 + 1024);
  }
  await assert.rejects(run(), none);
  assert.equal(device.heldBytes, 2048);
});

test("the end of a device is no loss: the pace is kept as it was, before the device is gone", options, async () => {
  const events: string[] = [];
  const writing = Promise.withResolvers<void>();
  const keepPacing = async (state: object) => {
    events.push(JSON.stringify(state));
    await writing.promise;
    events.push("kept");
  };
  const device = await open({ keepPacing, pacing: { costPerMs: 5e6, caution: 1 } }, (gpu) => {
    const destroy = gpu.destroy.bind(gpu);
    gpu.destroy = () => {
      events.push("gone");
      destroy();
    };
  });
  const end = device[Symbol.asyncDispose]();
  for (let turn = 0; turn < 50; turn++) await new Promise((resume) => setImmediate(resume));
  writing.resolve();
  await end;
  assert.deepEqual(events, ['{"costPerMs":5000000,"caution":1,"steadyMs":0}', "kept", "gone"]);
  assert.equal(device.failure, undefined);
});

test(
  "a result is given only when the queue is done: an error may be reported after the data that it spoiled",
  options,
  async () => {
    let asked = -1;
    const device = await open({}, (gpu) => {
      const done = gpu.queue.onSubmittedWorkDone.bind(gpu.queue);
      gpu.queue.onSubmittedWorkDone = async () => {
        await done();
        // The first time for the copy that brings the result.
        if (asked >= 0 && ++asked === 2)
          gpu.onuncapturederror!({ error: { message: "late" } } as unknown as GPUUncapturedErrorEvent);
      };
    });
    const graph = sumGraph(8);
    const { arena, x, call, upload, read, segment } = await placesOf(device, graph, 8);
    await upload(1);
    await device.write(graph, segment.inputs[0]!, x, new Float32Array(8));
    await device.run(call);
    await device.settle();
    asked = 0;
    await assert.rejects(read(), (error) => error instanceof DeviceError && error.code === "E_GPU");
    arena[Symbol.dispose]();
  },
);

test("a kernel that was refused once is tried again, and what compiled is compiled once", options, async () => {
  let refuse = true;
  const device = await open({}, (gpu) => {
    const create = gpu.createShaderModule.bind(gpu);
    gpu.createShaderModule = (descriptor) =>
      create(refuse ? { ...descriptor, code: `${descriptor.code} nonsense` } : descriptor);
  });
  const graph = sumGraph(8);
  const data = drawData(graph, 1);
  await assert.rejects(computeGraph(deviceBackend(device), graph, data, "f32"), /E_GPU .*refused work/);
  refuse = false;
  for (let i = 0; i < 2; i++) await computeGraph(deviceBackend(device), graph, data, "f32");
  assert.equal(device.pipelineCount, 1);
});

test("what an adapter was found good for is remembered by precision", options, async () => {
  forgetProbes();
  const found = await openDawn(adapter.name);
  // It offers nothing, and only who asks for halves hears it.
  const plain = { ...found, facts: { ...found.facts, features: [] } };
  const limits = { bindingBytes: 2 ** 27, workgroupBytes: 16384 };
  assert.deepEqual((await probePaths(plain, "fp32", limits)).notes, []);
  assert.match((await probePaths(plain, "fp16", limits)).notes.join(), /offers no shader-f16/);
  assert.deepEqual((await probePaths(plain, "fp32", limits)).notes, []);
  found.device.destroy();
  forgetProbes();
});

test("a driver whose subgroups give other bits loses them, with a note, be they ever so near", options, async () => {
  forgetProbes();
  const device = await open({ paths: undefined }, (gpu) => {
    const create = gpu.createShaderModule.bind(gpu);
    gpu.createShaderModule = (descriptor) => {
      const code = descriptor.code.replaceAll(
        "subgroupShuffleXor(own, 1u)",
        "(1.0000002 * subgroupShuffleXor(own, 1u))",
      );
      return create({ ...descriptor, code });
    };
  });
  assert.equal(device.chosen.paths.lanes, undefined);
  assert.match(
    device.chosen.notes.join(),
    /^subgroups is not used: its self-test gave other bits in \d+ of \d+ results$/,
  );
  forgetProbes();
});

test("the first failure of a device is the one that is told, at once to all who wait", async () => {
  const told: string[] = [];
  const health = new DeviceHealth(60_000, ({ message }) => told.push(message));
  const never = [1, 2].map(() => health.guard(new Promise(() => undefined)));
  const outcomes = Promise.all(never.map((promise) => promise.catch((error: unknown) => error)));
  const first = lostError("unknown", "hung");
  health.fail(first);
  health.fail(lostError("unknown", "and again"));
  assert.deepEqual(await outcomes, [first, first]);
  assert.equal(health.failure, first);
  assert.deepEqual(told, [first.message]);
  assert.throws(() => health.check(), /hung/);
  await assert.rejects(health.guard(Promise.resolve(1)), /hung/);
});
