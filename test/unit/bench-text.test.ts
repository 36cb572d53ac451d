/** @file What `solvay bench` prints of each figure: rates in their units, the best tile, shares, and what a step of a model waited for. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { BenchEvent } from "../../src/bench/bench.ts";
import { benchLines } from "../../src/terminal/bench-text.ts";

const linesOf = (event: object) => benchLines(event as unknown as BenchEvent);

test("a shape: its rate and tile, the best of all tiles, other paths, the naive way, its share of the peak", () => {
  const shape = { name: "to_q", rows: 4096, columns: 640, depth: 64, gflops: 1234.56 };
  const told = (more: object) => linesOf({ type: "shape", result: { ...shape, ...more } })[0]!;
  assert.equal(told({}), `${"to_q [4096 x 640 x 64]".padEnd(48)} 1234.6 GFLOP/s`);
  const tiles = { "8x8": 900, "16x16": 2000.04, "4x4": 30 };
  const more = { tile: "8x8", tiles, paths: { fp16: 2500.25, matrices: 1e4 }, naiveGflops: 12.34, share: 0.256 };
  assert.equal(
    told(more).slice(49),
    "1234.6 GFLOP/s (8x8), best 2000.0 (16x16), fp16 2500.3, matrices 10000.0, naive 12.3, 26 % of peak",
  );
  assert.equal(told({ gflops: undefined, gbps: 99.96 }).slice(49), "100.0 GB/s");
});

test("an adapter: its notes, both ways of uploads, and how much of the shorter work was hidden", () => {
  const found = {
    adapter: { vendor: "v", architecture: "a", device: "d", description: "A Card", backendType: "vulkan" },
    ...{ shrink: 32, notes: ["no fp16", "no matrices"] },
    uploads: { ringGbps: 12.345, writeBufferGbps: 6.7 },
    overlap: { uploadMs: 10, computeMs: 20.04, bothMs: 21, hiddenShare: 0.904 },
  };
  const lines = linesOf({ type: "adapter", found });
  assert.match(lines[0]!, /; rows divided by 32$/);
  assert.deepEqual(lines.slice(1), [
    ...["no fp16", "no matrices", "uploads: 12.35 GB/s by the ring, 6.70 by writeBuffer"],
    "upload 10.0 ms, compute 20.0 ms, both at once 21.0 ms: 90 % of the shorter hidden",
  ]);
  assert.doesNotMatch(linesOf({ type: "adapter", found: { ...found, shrink: 1 } })[0]!, /divided/);
});

test("a model's steps under a budget, or why there are none; kept tiles; no adapter", () => {
  const result = { vram: "4G", stepSeconds: 1.234, waitSeconds: 0.5, readBytes: 5.137e9 };
  assert.deepEqual(linesOf({ type: "model", result }), [
    "--vram 4G: 1.23 s/step, 0.50 of it waiting for 5.14 GB of weights",
  ]);
  assert.deepEqual(linesOf({ type: "model", result: { vram: "1G", error: "E_X" } }), ["--vram 1G: E_X"]);
  assert.deepEqual(linesOf({ type: "tilesKept", file: "/t.json" }), ["tiles kept in /t.json"]);
  assert.deepEqual(linesOf({ type: "noAdapter", problem: "there is none" }), ["On the CPU: there is none."]);
});
