/**
 * @file Every kernel variant through Dawn's WGSL front end: its null backend compiles and validates without any graphics card.
 * Independent choices (how weights are stored, what follows a product) are combined with each tile, not all with all.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import type { OpenedGpu } from "../../src/backend/webgpu/adapter/opened-gpu.ts";
import { attentionKernel } from "../../src/backend/webgpu/kernels/attention.ts";
import { attentionSharedBytes } from "../../src/backend/webgpu/kernels/attention-variant.ts";
import {
  addKernel,
  affineKernel,
  broadcastAddKernel,
  gegluKernel,
  preluKernel,
  unaryKernel,
} from "../../src/backend/webgpu/kernels/elementwise.ts";
import { gemmKernel } from "../../src/backend/webgpu/kernels/gemm.ts";
import { matrixKernel } from "../../src/backend/webgpu/kernels/gemm-matrix.ts";
import type { MatrixShape } from "../../src/backend/webgpu/kernels/gemm-matrix-tiles.ts";
import { TILE_NAMES, tileFits } from "../../src/backend/webgpu/kernels/gemm-tiles.ts";
import type { GemmVariant } from "../../src/backend/webgpu/kernels/gemm-variant.ts";
import {
  channelStatisticsKernel,
  groupStatisticsKernel,
  normalizeKernel,
} from "../../src/backend/webgpu/kernels/group-norm.ts";
import { type Kernel, MAX_SLOTS } from "../../src/backend/webgpu/kernels/kernel.ts";
import { layerNormKernel } from "../../src/backend/webgpu/kernels/layer-norm.ts";
import {
  copyKernel,
  embeddingKernel,
  repackKernel,
  upsampleKernel,
} from "../../src/backend/webgpu/kernels/movement.ts";
import { softmaxKernel } from "../../src/backend/webgpu/kernels/softmax.ts";
import { DeviceHealth } from "../../src/backend/webgpu/run/device-health.ts";
import { PipelineCache } from "../../src/backend/webgpu/run/pipelines.ts";
import { DeviceError } from "../../src/errors.ts";
import { openNullDevice } from "../../src/node/gpu/dawn.ts";
import { searched } from "../support/thorough.ts";

const STORAGES = ["f16", "bf16", "f32"] as const;
const BOTH = [true, false] as const;
const ARITHMETICS = ["f32", "f16"] as const;
/** Of the smallest subgroup; undefined: no subgroups. */
const LANES = [undefined, 4, 32] as const;

/** As drivers of NVIDIA, Intel and Apple give them, all with the lanes that the null backend takes. */
const MATRICES: readonly MatrixShape[] = [
  { m: 16, n: 16, k: 16, lanes: 32, tiles: [] },
  { m: 16, n: 8, k: 8, lanes: 32, tiles: [] },
  { m: 8, n: 16, k: 16, lanes: 32, tiles: [] },
  { m: 8, n: 8, k: 8, lanes: 32, tiles: [] },
];

/** The null backend has WebGPU's default limit; what is larger compiles in webgpu-radv.test.ts. */
const NULL_WORKGROUP_BYTES = 16384;

function* products(): Generator<Kernel> {
  const plain = { a: 0, b: 1, out: 2 };
  const full = { a: 0, b: 1, bias: 2, channels: 3, residual: 4, out: 5 };
  const sources: Pick<GemmVariant, "conv" | "slots">[] = [
    { slots: plain },
    { slots: full },
    { slots: { ...full, residual: 0, out: 4 } },
    { slots: full, conv: { upsample: false } },
    { slots: full, conv: { upsample: true } },
    { slots: { ...full, a2: 6 }, conv: { upsample: false } },
  ];
  for (const tile of TILE_NAMES) {
    for (const bStorage of STORAGES) {
      for (const source of sources) {
        for (const quad of BOTH) {
          const bias = source.slots.bias === undefined ? {} : { biasStorage: bStorage };
          for (const arithmetic of ARITHMETICS) {
            const common = {
              tile,
              ...source,
              bStorage,
              ...bias,
              geglu: false,
              activation: "gelu" as const,
              arithmetic,
            };
            yield gemmKernel({ ...common, quadK: quad, quadN: quad });
            // One tensor in two roles is read alike.
            if (source.slots.residual !== 0) yield gemmKernel({ ...common, quadK: quad, quadN: !quad });
          }
        }
      }
      const shape = { rows: 64, columns: 64, depth: 64, geglu: true };
      if (!tileFits(tile, shape)) continue;
      for (const quad of BOTH) {
        const slots = { a: 0, b: 1, bias: 2, residual: 3, out: 4 };
        const common = { tile, slots, bStorage, biasStorage: bStorage, quadK: quad, quadN: quad, geglu: true };
        for (const arithmetic of ARITHMETICS) yield gemmKernel({ ...common, arithmetic });
      }
    }
    // Larger ones need more workgroup memory than the null backend has: webgpu-radv.test.ts.
    if (tile === "64x64") {
      for (const shape of MATRICES) {
        for (const quad of BOTH) {
          for (const source of sources) {
            const bias = source.slots.bias === undefined ? {} : { biasStorage: "f16" as const };
            const common = { tile, ...source, bStorage: "f16" as const, ...bias, geglu: false } as const;
            yield matrixKernel({ ...common, quadK: quad, quadN: quad }, shape);
          }
          const slots = { a: 0, b: 1, bias: 2, residual: 3, out: 4 };
          const common = { tile, slots, bStorage: "bf16", biasStorage: "f32", geglu: true } as const;
          yield matrixKernel({ ...common, quadK: quad, quadN: quad }, shape);
        }
      }
    }
    for (const activation of ["silu", "quickGelu"] as const)
      yield gemmKernel({ tile, slots: plain, bStorage: "f16", quadK: true, quadN: true, geglu: false, activation });
  }
}

function* others(): Generator<Kernel> {
  for (const depth of [32, 64, 96, 128])
    for (const queries of [16, 32, 64])
      for (const causal of BOTH)
        for (const quad of BOTH)
          for (const slots of [
            { q: 0, k: 1, v: 2, out: 3 },
            { q: 0, k: 0, v: 0, out: 1 },
          ])
            for (const arithmetic of ARITHMETICS)
              for (const shuffles of BOTH)
                if (attentionSharedBytes(depth, queries, arithmetic) <= NULL_WORKGROUP_BYTES)
                  yield attentionKernel({ slots, depth, queries, causal, quad, arithmetic, shuffles });
  for (const wStorage of STORAGES)
    for (const bStorage of STORAGES) {
      for (const lanes of LANES)
        yield layerNormKernel({
          slots: { x: 0, w: 1, b: 2, out: 3 },
          wStorage,
          bStorage,
          ...(lanes === undefined ? {} : { lanes }),
        });
      for (const silu of BOTH)
        for (const quad of BOTH)
          for (const joined of [{}, { x2: 5 }])
            yield normalizeKernel({
              slots: { x: 0, ...joined, statistics: 1, w: 2, b: 3, out: 4 },
              wStorage,
              bStorage,
              silu,
              quad,
            });
    }
  yield channelStatisticsKernel({ x: 0, parts: 1 });
  yield channelStatisticsKernel({ x: 0, x2: 1, parts: 2 });
  for (const lanes of LANES) yield groupStatisticsKernel(lanes);
  for (const op of ["silu", "gelu", "quickGelu", "scale", "leakyRelu"] as const) yield unaryKernel(op);
  for (const slots of [
    { a: 0, b: 1, out: 2 },
    { a: 0, b: 0, out: 1 },
  ]) {
    yield addKernel(slots);
    yield broadcastAddKernel(slots);
  }
  yield gegluKernel();
  yield preluKernel();
  yield affineKernel({ x: 0, w: 1, out: 2 });
  yield affineKernel({ x: 0, w: 1, b: 2, out: 3 });
  for (const lanes of LANES) yield softmaxKernel(lanes);
  yield upsampleKernel();
  for (const storage of STORAGES) {
    yield copyKernel(storage);
    yield embeddingKernel(storage);
  }
  for (const halves of BOTH) yield repackKernel(halves);
}

const opened = await tryOpen();
const options = typeof opened === "string" ? { skip: opened } : {};

async function tryOpen(): Promise<OpenedGpu | string> {
  try {
    return await openNullDevice();
  } catch (error) {
    if (error instanceof DeviceError) return error.problem;
    throw error;
  }
}

test("kernel variants compile: of all that there are a fifth, whichever way they differ", options, async () => {
  const { device } = opened as OpenedGpu;
  const cache = new PipelineCache(device, new DeviceHealth());
  const texts = new Map<string, string>();
  let compiled = 0;
  for (const kernel of [...products(), ...others()]) {
    assert.ok(kernel.slots.length <= MAX_SLOTS, kernel.key);
    const text = kernel.wgsl();
    // The key is what pipelines are cached by.
    assert.equal(texts.get(kernel.key) ?? text, text, kernel.key);
    if (texts.has(kernel.key)) continue;
    texts.set(kernel.key, text);
    if (createHash("sha256").update(kernel.key).digest()[0]! % searched(5, 1) !== 0) continue;
    await cache.get(kernel);
    compiled++;
  }
  assert.ok(texts.size > 900 && compiled > searched(150, 900), `${compiled} of ${texts.size} variants`);
});

test("a kernel that is wrong is refused by name", options, async () => {
  const cache = new PipelineCache((opened as OpenedGpu).device, new DeviceHealth());
  const kernel = unaryKernel("silu");
  const wrong = { ...kernel, key: "wrong", wgsl: () => kernel.wgsl().replace("= silu4(", "= nosuch4(") };
  await assert.rejects(cache.get(wrong), /^DeviceError: E_GPU wrong: .*nosuch4/);
});
