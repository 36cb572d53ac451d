/** @file Memory that ONNX Runtime takes while it runs a segment, measured in a process of its own: never more than was planned, and not far from it. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { accessSync, constants, readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { onnxScratchBytes } from "../../src/backend/onnx/scratch-bytes.ts";
import { winogradScratchBytes } from "../../src/backend/onnx/winograd.ts";
import { GraphBuilder, type Tensor } from "../../src/ir/builder.ts";

const PROBE = fileURLToPath(new URL("scratch-probe.ts", import.meta.url));
/** Pages of the process itself that come and go meanwhile. */
const NOISE_BYTES = 4 * 1024 ** 2;
/** Of an upper bound: far from it, it would be none of this segment. */
const LEAST_SHARE = 0.4;

function canMeasure(): boolean {
  try {
    accessSync("/proc/self/clear_refs", constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

const skip = canMeasure() ? {} : { skip: "this system's kernel tells no peak of a process's memory that can be reset" };

/** As `npm start` sets them: what is large is given back at once, so that a peak is one. */
const { malloc } = JSON.parse(readFileSync(new URL("../../bin/memory-settings.json", import.meta.url), "utf8"));

for (const name of ["winograd", "direct", "casts", "attention"]) {
  test(`scratch is as planned: ${name}`, skip, () => {
    const env = { ...process.env, ...malloc };
    const { stdout, stderr } = spawnSync(process.execPath, [PROBE, name], { encoding: "utf8", env });
    assert.notEqual(stdout, "", stderr);
    const { plannedBytes, takenBytes } = JSON.parse(stdout) as { plannedBytes: number; takenBytes: number };
    assert.ok(takenBytes <= plannedBytes + NOISE_BYTES, `${takenBytes} taken, ${plannedBytes} planned`);
    assert.ok(takenBytes > LEAST_SHARE * plannedBytes, `${takenBytes} taken of ${plannedBytes} planned`);
  });
}

test("Winograd's scratch, added up by hand", () => {
  // 512 channels to 512, 48 x 48: 12 x 12 tiles of 36 values, in two bands of 6 rows of tiles.
  const shape = { x: [1, 512, 48, 48], w: [512, 512, 3, 3], pad: [1, 1, 1, 1] };
  const kernels = 512 * 512 * 36 * 4;
  const band = 6 * 12 * (512 + 512) * 36 * 4;
  const results = 512 * 48 * 48 * 4;
  assert.equal(winogradScratchBytes(shape), kernels + 2 * band + 2 * results);
});

/** Of one segment, whose weights all have one type. */
function scratchOf(dtype: "f16" | "f32", build: (g: GraphBuilder) => Tensor): number {
  const g = new GraphBuilder("g");
  g.output(
    "y",
    g.segment("s", () => build(g)),
  );
  const graph = g.build();
  const [segment] = graph.segments;
  const weights = segment!.weights.map((id) => ({ dtype, shape: graph.values[id]!.shape }));
  return onnxScratchBytes(graph, segment!, weights);
}

test("ONNX Runtime's scratch, added up by hand: what each op takes, values between ops, casts, and copies of results", () => {
  // x [2, 4, 8]: 256 bytes.
  const x = (g: GraphBuilder, name = "x") => g.input(name, [2, 4, 8]);
  const linear = (g: GraphBuilder, from: Tensor, name: string) => g.node("linear", [from, g.weight(name, [8, 8])], {});
  // Nothing but the copy of the result.
  assert.equal(
    scratchOf("f32", (g) => g.node("scale", [x(g)], { factor: 2 })),
    256,
  );
  assert.equal(
    scratchOf("f32", (g) => linear(g, x(g), "w")),
    256,
  );
  // Half as wide a result, of which three are there.
  assert.equal(
    scratchOf("f32", (g) => g.node("geglu", [x(g)], {})),
    3 * 128,
  );
  assert.equal(
    scratchOf("f32", (g) => g.node("attention", [x(g), x(g, "k"), x(g, "v")], { heads: 2, causal: false })),
    4 * 256,
  );
  // Both weights are cast before the first is used; the value between is there until the second has read it.
  const two = (g: GraphBuilder) => linear(g, linear(g, x(g), "a"), "b");
  assert.equal(scratchOf("f32", two), 256);
  assert.equal(scratchOf("f16", two), 2 * 256 + 256);
  // x w + x v: two values between, with what each activation takes.
  const sum = (g: GraphBuilder) => {
    const from = x(g);
    const [left, right] = [g.node("gelu", [from], {}), g.node("gelu", [from], {})];
    return g.node("add", [left, right], {});
  };
  assert.equal(scratchOf("f32", sum), 3 * 256);
  // An image [1, 4, 6, 6]: 576 bytes.
  const image = (g: GraphBuilder) => g.input("image", [1, 4, 6, 6]);
  const norm = (g: GraphBuilder) =>
    g.node("groupNorm", [image(g), g.weight("w", [4]), g.weight("b", [4])], { groups: 2, eps: 1e-5 });
  assert.equal(scratchOf("f32", norm), 2 * 576);
  assert.equal(scratchOf("f16", norm), 2 * 576 + 2 * 16);
  // Two channels of it, 288 bytes, by a kernel of 72 values.
  const conv = (g: GraphBuilder) =>
    g.node("conv2d", [image(g), g.weight("w", [2, 4, 3, 3])], { stride: 1, pad: [1, 1, 1, 1] });
  assert.equal(scratchOf("f32", conv), 576 + 288);
  assert.equal(scratchOf("f16", conv), 576 + 288 + 288);
  // A table is never cast as a whole.
  const rows = (g: GraphBuilder) =>
    g.node("embedding", [g.weight("table", [100, 8]), g.input("ids", [1, 3], "i32")], {});
  assert.equal(scratchOf("f16", rows), 96);
});
