/** @file How failures of the graphics device become one error, whenever and wherever they are reported. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { DeviceMemoryError } from "../../src/backend/device.ts";
import { type OpenedGpu, openFrom } from "../../src/backend/webgpu/adapter/opened-gpu.ts";
import type { Kernel } from "../../src/backend/webgpu/kernels/kernel.ts";
import { createWebGpuDevice } from "../../src/backend/webgpu/run/device.ts";
import { DeviceHealth, lostError, uncapturedError } from "../../src/backend/webgpu/run/device-health.ts";
import { PipelineCache } from "../../src/backend/webgpu/run/pipelines.ts";
import { DeviceError } from "../../src/errors.ts";
import { openNullDevice } from "../../src/node/gpu/dawn.ts";

const lost = lostError("unknown", "hung");

test("a loss that is reported after the refusal that it causes is the failure", async () => {
  const health = new DeviceHealth();
  const refused = Promise.reject(new DOMException("the map was aborted", "AbortError"));
  setImmediate(() => health.fail(lost));
  assert.equal(await health.guard(refused).catch((error: unknown) => error), lost);
});

test("what broke the device while a kernel was compiled is the error, short memory too", async () => {
  const short = new DeviceMemoryError({ code: "E_VRAM", problem: "ran out", next: "close programs" });
  for (const failure of [short, lost]) {
    const health = new DeviceHealth();
    const device = {
      pushErrorScope: () => undefined,
      popErrorScope: async () => null,
      createShaderModule: () => ({}),
      createBindGroupLayout: () => ({}),
      createPipelineLayout: () => ({}),
      createComputePipelineAsync: async () => {
        await new Promise((later) => setTimeout(later));
        health.fail(failure);
        throw new Error("no device");
      },
    } as unknown as GPUDevice;
    const kernel = { key: "k", slots: [], wgsl: () => "" } as unknown as Kernel;
    assert.equal(await new PipelineCache(device, health).get(kernel).catch((error: unknown) => error), failure);
  }
});

test("nothing is kept of answers that came", async () => {
  setFlagsFromString("--expose-gc");
  const collect: () => void = runInNewContext("gc");
  const health = new DeviceHealth();
  const kept = await Promise.all(
    Array.from({ length: 20 }, async () => new WeakRef(await health.answer(Promise.resolve({})))),
  );
  await new Promise((later) => setTimeout(later));
  collect();
  assert.equal(kept.filter((ref) => ref.deref() !== undefined).length, 0);
  health.fail(lost);
});

test("a refusal by a device that works stays what it is", async () => {
  const refusal = new Error("no");
  assert.equal(await new DeviceHealth().guard(Promise.reject(refusal)).catch((error: unknown) => error), refusal);
});

test("whatever the order of answer and loss, the first loss is what all who wait or ask hear", async () => {
  const later = lostError("unknown", "another");
  const never = new Promise<string>(() => undefined);
  const outcomes: Readonly<Record<string, (health: DeviceHealth) => Promise<unknown>>> = {
    "in the turn of the answer": (health) => {
      const { promise, resolve } = Promise.withResolvers<string>();
      const guarded = health.guard(promise);
      resolve("an answer");
      health.fail(lost);
      return guarded;
    },
    "before the question": (health) => {
      health.fail(lost);
      return health.guard(never);
    },
    "before a question that is answered": (health) => {
      health.fail(lost);
      return health.guard(Promise.resolve("an answer"));
    },
    "while nobody answers": (health) => {
      const guarded = health.guard(never);
      health.fail(lost);
      return guarded;
    },
    "before a refusal": (health) => {
      health.fail(lost);
      return health.guard(Promise.reject(new Error("no")));
    },
    "a turn after a refusal": async (health) => {
      const guarded = health.guard(Promise.reject(new Error("no")));
      setImmediate(() => health.fail(lost));
      return await guarded;
    },
  };
  for (const [when, outcome] of Object.entries(outcomes)) {
    const told: unknown[] = [];
    const health = new DeviceHealth(1e6, (failure) => told.push(failure));
    const silence = delay(10_000, "nothing", { ref: false });
    const heard = await Promise.race([outcome(health).catch((error: unknown) => error), silence]);
    assert.equal(heard, lost, when);
    health.fail(later);
    assert.equal(health.failure, lost, when);
    assert.deepEqual(told, [lost], when);
  }
});

test("silence is looked at in ten ticks: a computer that slept through one has not waited for all", async (t) => {
  t.mock.timers.enable({ apis: ["setInterval"] });
  const health = new DeviceHealth(1000);
  const unanswered = health.answer(new Promise(() => undefined)).catch((error: unknown) => error);
  for (let tick = 1; tick <= 10; tick++) {
    assert.equal(health.failure, undefined, `before tick ${tick}`);
    t.mock.timers.tick(100);
  }
  assert.equal(health.failure?.code, "E_GPU_SILENT");
  assert.equal(await unanswered, health.failure);
});

test("memory that ran out where nobody asked is short memory, not refused work", () => {
  class GPUOutOfMemoryError extends Error {}
  class GPUValidationError extends Error {}
  const short = uncapturedError("card", new GPUOutOfMemoryError("Out of memory."));
  assert.ok(short instanceof DeviceMemoryError && short.code === "E_VRAM", short.message);
  const refused = uncapturedError("card", new GPUValidationError("bad binding"));
  assert.ok(refused instanceof DeviceError && refused.code === "E_GPU", refused.message);
});

test("an adapter that gives no device is told as one, so that auto can go on without it", async () => {
  const adapter = {
    info: { vendor: "v", architecture: "a", device: "some-card", description: "driver 1" },
    limits: {},
    features: new Set(),
    requestDevice: () => Promise.reject(new DOMException("vkCreateDevice failed\nat Device.cpp", "OperationError")),
  };
  const gpu = { requestAdapter: async () => adapter } as unknown as GPU;
  await assert.rejects(openFrom(gpu, "vulkan", {}), (error) => {
    assert.ok(error instanceof DeviceError && error.code === "E_GPU_OPEN", String(error));
    assert.match(error.message, /some-card.*gives no device on this adapter \(vkCreateDevice failed\)\. Next: /);
    return true;
  });
});

test("a device is asked for with all that its adapter allows, and with those of its features that kernels use", async () => {
  const limits = { maxBufferSize: 7e9, maxStorageBufferBindingSize: 2 ** 31, maxComputeWorkgroupStorageSize: 49152 };
  const asked: GPUDeviceDescriptor[] = [];
  const adapter = {
    info: {
      vendor: "v",
      architecture: "a",
      device: "",
      description: "a card",
      subgroupMinSize: 8,
      subgroupMaxSize: 32,
    },
    limits: { ...limits, maxTextureDimension2D: 4096 },
    features: new Set(["timestamp-query", "subgroups", "shader-f16", "texture-compression-bc"]),
    requestDevice: async (descriptor: GPUDeviceDescriptor) => asked.push(descriptor),
  };
  const { facts } = await openFrom({ requestAdapter: async () => adapter } as unknown as GPU, "vulkan", {});
  const { requiredLimits, requiredFeatures } = asked[0]!;
  assert.equal(asked.length, 1);
  const set = Object.entries(requiredLimits!).filter(([, limit]) => limit !== undefined);
  assert.deepEqual(Object.fromEntries(set), limits);
  assert.deepEqual([...requiredFeatures!].sort(), ["shader-f16", "subgroups", "timestamp-query"]);
  assert.deepEqual(facts.subgroups, { min: 8, max: 32 });
  // Where a backend gives no name of its own, the description is one.
  assert.deepEqual([facts.device, facts.description], ["a card", ""]);
  const gone = { requestAdapter: async () => null } as unknown as GPU;
  await assert.rejects(openFrom(gone, "vulkan", {}), { code: "E_NO_ADAPTER" });
});

const dawn = await openNullDevice().catch((error: unknown) => error);
const options = dawn instanceof DeviceError ? { skip: `skipped: ${dawn.problem}` } : {};

test("staging memory that the host has not is E_VRAM, and the device is given back", options, async () => {
  const opened = dawn as OpenedGpu;
  Object.defineProperty(opened.device, "createBuffer", {
    value: () => {
      throw new RangeError("createBuffer failed, size is too large");
    },
  });
  await assert.rejects(createWebGpuDevice(opened), (error) => {
    assert.ok(error instanceof DeviceMemoryError, String(error));
    assert.match(error.message, /^E_VRAM staging: .*needs 51 MB more/);
    return true;
  });
  const gone = await Promise.race([opened.device.lost, new Promise<undefined>((end) => setTimeout(end, 1000))]);
  assert.equal(gone?.reason, "destroyed");
  void opened.gpu;
});
