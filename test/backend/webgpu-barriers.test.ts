/**
 * @file Between a write to workgroup memory and another thread's use of it lies a barrier, in every kernel. Software adapters run a
 * workgroup's threads in an order in which a missing one mostly shows nothing, so the text itself is looked at: along the kernel, loops
 * twice, each stretch between barriers may write an array or read it.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { attentionKernel } from "../../src/backend/webgpu/kernels/attention.ts";
import { gemmKernel } from "../../src/backend/webgpu/kernels/gemm.ts";
import { TILE_NAMES } from "../../src/backend/webgpu/kernels/gemm-tiles.ts";
import { groupStatisticsKernel } from "../../src/backend/webgpu/kernels/group-norm.ts";
import type { Kernel } from "../../src/backend/webgpu/kernels/kernel.ts";
import { layerNormKernel } from "../../src/backend/webgpu/kernels/layer-norm.ts";
import { softmaxKernel } from "../../src/backend/webgpu/kernels/softmax.ts";

interface Use {
  readonly array: string;
  readonly writes: boolean;
  readonly reads: boolean;
  /** A thread's own element: what others do to theirs is no matter. */
  readonly own: boolean;
  readonly line: string;
}

/** Lines of a text in the order in which they run, loops twice. */
function unrolled(lines: readonly string[]): readonly string[] {
  const all: string[] = [];
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at]!;
    all.push(line);
    if (!/\b(for|while) \(.*\{\s*$/.test(line)) continue;
    let depth = 1;
    let end = at;
    while (depth > 0) {
      end++;
      depth += (lines[end]!.match(/\{/g) ?? []).length - (lines[end]!.match(/\}/g) ?? []).length;
    }
    const once = unrolled(lines.slice(at + 1, end));
    all.push(...once, ...once);
    at = end;
  }
  return all;
}

function usesIn(line: string, arrays: readonly string[]): readonly Use[] {
  return arrays.flatMap((array) => {
    const target = new RegExp(`\\b${array}\\[([^=]*?)\\](\\[[^=]*?\\])?\\s*=(?!=)`).exec(line);
    const uses = [...line.matchAll(new RegExp(`\\b${array}\\[([^\\]]*)\\]`, "g"))];
    if (uses.length === 0) return [];
    const index = (target ?? uses[0]!)[1];
    const own =
      (index === "t" && (uses.length === 1 || target === null)) || (index === "0" && line.includes("t == 0u"));
    const writes = target !== null;
    const reads = !writes || uses.length > 1;
    return [{ array, writes, reads, own, line: line.trim() }];
  });
}

/** One reads what the other writes, and not only of itself. */
function clash(a: Use, b: Use): boolean {
  return a.array === b.array && ((a.writes && b.reads) || (a.reads && b.writes)) && !(a.own && b.own);
}

/** The first pair of uses between which a barrier is missing. */
function race(kernel: Kernel): string | undefined {
  const text = kernel.wgsl();
  const arrays = [...text.matchAll(/var<workgroup> (\w+):/g)].map(([, name]) => name!);
  // Statements by themselves, functions that hold barriers twice: they are called again.
  const lines = text.replaceAll(/;(?=.*[;}])(?![^(]*\))/g, ";\n").split("\n");
  const start = lines.findIndex((line) => line.includes("@compute"));
  const helpers = lines.slice(0, start);
  const parts = [unrolled(lines.slice(start))];
  if (helpers.some((line) => line.includes("workgroupBarrier")))
    parts.push([...unrolled(helpers), ...unrolled(helpers)]);
  for (const part of parts) {
    let stretch: Use[] = [];
    for (const line of part) {
      if (line.includes("workgroupBarrier")) stretch = [];
      for (const use of line.includes("var<workgroup>") ? [] : usesIn(line, arrays)) {
        const other = stretch.find((before) => clash(before, use));
        if (other) return `${other.line} ... ${use.line}`;
        stretch.push(use);
      }
    }
  }
  return undefined;
}

function* kernels(): Generator<Kernel> {
  const slots = { a: 0, b: 1, out: 2 };
  for (const tile of TILE_NAMES)
    for (const arithmetic of ["f32", "f16"] as const)
      for (const conv of [undefined, { upsample: false }])
        yield gemmKernel({ tile, slots, bStorage: "f16", quadK: true, quadN: true, geglu: false, conv, arithmetic });
  for (const depth of [64, 128])
    for (const arithmetic of ["f32", "f16"] as const)
      for (const shuffles of [false, true])
        yield attentionKernel({
          ...{ slots: { q: 0, k: 1, v: 2, out: 3 }, depth, queries: 32, causal: true, quad: true },
          ...{ arithmetic, shuffles },
        });
  for (const lanes of [undefined, 4, 32]) {
    const common = { slots: { x: 0, w: 1, b: 2, out: 3 }, wStorage: "f16", bStorage: "f16" } as const;
    yield layerNormKernel({ ...common, ...(lanes === undefined ? {} : { lanes }) });
    yield softmaxKernel(lanes);
    yield groupStatisticsKernel(lanes);
  }
}

test("no kernel lacks a barrier", () => {
  for (const kernel of kernels()) assert.equal(race(kernel), undefined, kernel.key);
});

test("a barrier that is left out is found; attention has a few that another one stands in for", () => {
  for (const kernel of kernels()) {
    const text = kernel.wgsl();
    const barriers = [...text.matchAll(/workgroupBarrier\(\);/g)];
    const unnoticed = barriers.filter(({ index }) => {
      const without = `${text.slice(0, index)}${text.slice(index + "workgroupBarrier();".length)}`;
      return race({ ...kernel, wgsl: () => without }) === undefined;
    });
    assert.ok(barriers.length >= 2, kernel.key);
    assert.ok(unnoticed.length <= (kernel.key.startsWith("attention/") ? 3 : 0), `${kernel.key}: ${unnoticed.length}`);
  }
});
