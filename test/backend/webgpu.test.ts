/** @file The `webgpu` device against the reference backend: the shared cases, guards, other stored dtypes, and random shapes. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Backend } from "../../src/backend/backend.ts";
import { createReferenceBackend } from "../../src/backend/reference/backend.ts";
import { createWebGpuDevice } from "../../src/backend/webgpu/run/device.ts";
import { PART_BYTES } from "../../src/backend/webgpu/run/host-transfers.ts";
import { openDawn } from "../../src/node/gpu/dawn.ts";
import { searched } from "../support/thorough.ts";
import { computeGraph, conformanceTests, opGraph, requireAgreement } from "./conformance.ts";
import { deviceBackend } from "./device-backend.ts";
import { guardTests } from "./guards.ts";
import { OP_CASES } from "./op-cases.ts";
import { RANDOM_CASES } from "./random-cases.ts";
import { findTestAdapter } from "./software-vulkan.ts";

const adapter = await findTestAdapter();
const options = adapter.skip === undefined ? {} : { skip: adapter.skip };
/** One device for all: its kernels are compiled once. */
const gpu = adapter.skip === undefined ? await openDawn(adapter.name) : undefined;
let shared: Backend | undefined;
const open = async () => {
  shared ??= deviceBackend(await createWebGpuDevice(gpu!));
  return shared;
};
before(async () => {
  if (adapter.skip === undefined) await open();
});
after(async () => shared?.[Symbol.asyncDispose]());

// Weights in f16, as models have them; each other dtype where a kernel reads it in a way of its own.
conformanceTests("webgpu", open, adapter.skip, ["f16"]);

guardTests(gpu, adapter.skip);

const OTHER_TYPES = new Map<string, readonly string[]>([
  ["conv2d", ["3x3"]],
  ["linear", ["odd sides"]],
  ["groupNorm", ["4 groups"]],
  ["layerNorm", ["two axes"]],
  ["add", ["a weight"]],
  ["embedding", ["table of weights", "one id"]],
]);
for (const item of OP_CASES.filter(({ op, name }) => OTHER_TYPES.get(op)?.includes(name))) {
  test(`webgpu ${item.op}: ${item.name}, weights bf16 and f32`, options, async () => {
    const { graph, data } = opGraph(item, 9);
    for (const type of ["bf16", "f32"] as const) await requireAgreement(await open(), graph, data, type);
  });
}

/** Mean square of the difference by that of the result: 1e-6 is a thousandth of the result's size. */
const MAX_NMSE = 1e-6;

test(`webgpu: ${searched("a tenth of ", "")}${RANDOM_CASES.length} random cases`, options, async () => {
  assert.ok(RANDOM_CASES.length >= 1000);
  const backend = await open();
  const reference = createReferenceBackend();
  for (const [seed, item] of RANDOM_CASES.entries()) {
    if (seed % searched(10, 1) !== 0) continue;
    const { graph, data } = opGraph(item, seed);
    const expected = (await computeGraph(reference, graph, data, "f32")).get("result")!;
    const found = (await computeGraph(backend, graph, data, "f16")).get("result")!;
    assert.equal(found.length, expected.length);
    let squares = 0;
    let size = 1e-6;
    expected.forEach((value, i) => {
      squares += (found[i]! - value) ** 2;
      size += value ** 2;
    });
    const inputs = item.inputs.map(({ shape }) => `[${shape}]`).join(" ");
    const what = `${item.op} ${inputs} ${JSON.stringify(item.attrs)}`;
    assert.ok(squares / size <= MAX_NMSE, `${what}: NMSE ${squares / size}`);
  }
});

test("gelu keeps its size where little is left of it", options, async () => {
  const values = Array.from({ length: 40 }, (_, i) => -4 - i / 20);
  const { graph, data } = opGraph(
    { op: "gelu", name: "", attrs: {}, inputs: [{ kind: "activation", shape: [40], values }] },
    1,
  );
  const expected = (await computeGraph(createReferenceBackend(), graph, data, "f32")).get("result")!;
  const found = (await computeGraph(await open(), graph, data, "f32")).get("result")!;
  // From -1.3e-4 to -8e-9: an absolute error of 1e-7 would be several times the smaller ones.
  expected.forEach((value, i) => {
    assert.ok(Math.abs(found[i]! / value - 1) < 0.01, `gelu(${values[i]}) is ${found[i]}, expected ${value}`);
  });
});

test("a result larger than what is read back at once comes whole, through small buffers", options, async () => {
  const part = PART_BYTES / 4;
  const opened = await openDawn(adapter.name);
  const sizes: number[] = [];
  const createBuffer = opened.device.createBuffer.bind(opened.device);
  Object.defineProperty(opened.device, "createBuffer", {
    value: (descriptor: GPUBufferDescriptor) => {
      if (descriptor.label === "read-back") sizes.push(descriptor.size);
      return createBuffer(descriptor);
    },
  });
  await using backend = deviceBackend(await createWebGpuDevice(opened));
  // The second has its channels last in memory: the first part ends within a pixel of the second image.
  for (const shape of [[part + 3], [2, 7, 499, 451]]) {
    const item = { op: "scale", name: "", attrs: { factor: 0.5 }, inputs: [{ kind: "activation", shape }] } as const;
    const { graph, data } = opGraph(item, 1);
    const found = (await computeGraph(backend, graph, data, "f32")).get("result")!;
    const [x] = [...data.inputs.values()];
    assert.ok(found.every((value, i) => value === x![i]! / 2));
  }
  assert.deepEqual(sizes, [PART_BYTES, 256]);
});
