/**
 * @file The check that no kernel of the `webgpu` device reads or writes beyond its tensors, and that what is cut for small bindings
 * gives the same bits: every op, and whole segments, with canaries behind each storage.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { OpenedGpu } from "../../src/backend/webgpu/adapter/opened-gpu.ts";
import { BASELINE } from "../../src/backend/webgpu/lower/paths.ts";
import { GraphBuilder } from "../../src/ir/builder.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { sameOutputs } from "../support/same.ts";
import { drawData, type GraphData, opGraph, segmentGraph } from "./conformance.ts";
import { LooseRunner, type LooseStorage } from "./loose-run.ts";
import { OP_CASES } from "./op-cases.ts";
import { SEGMENT_CASES } from "./segment-cases.ts";

const LIMITS = { bindingBytes: 2 ** 27, workgroupBytes: 16384 };
/** More than a workgroup of any kernel writes. */
const GUARD_BYTES = 1 << 17;
/** Kernels of four values at a time may fill up the last four. */
const QUAD_WORDS = 4;

/** Throws unless all canaries stand, inputs and weights are what they were, and no result was made of a canary. */
function requireGuarded(
  what: string,
  storages: readonly LooseStorage[],
  outputs: ReadonlyMap<string, Float32Array>,
): void {
  for (const { kind, ownWords, before, after: found } of storages) {
    const isRead = kind === "input" || kind === "weight";
    const from = isRead ? 0 : Math.ceil(ownWords / QUAD_WORDS) * QUAD_WORDS;
    const changed = found.findIndex((word, i) => i >= from && word !== before[i]);
    assert.equal(changed, -1, `${what}: word ${changed} of a storage for ${kind} of ${ownWords} was written`);
  }
  for (const [name, values] of outputs) {
    const index = values.findIndex((value) => !Number.isFinite(value));
    assert.equal(index, -1, `${what}: element ${index} of ${name} is ${values[index]}`);
  }
}

/** Tensors of several times the small binding, whose ends fall within a row, a pixel, a workgroup's share. */
const LARGE: Readonly<Record<string, (g: GraphBuilder) => void>> = {
  "a sum of equal shapes and an activation": (g) => {
    const x = g.input("x", [3, 16411]);
    g.output("y", g.node("silu", [g.node("add", [x, g.input("z", [3, 16411])], {})], {}));
  },
  "a sum that broadcasts": (g) => g.output("y", g.node("add", [g.input("x", [97, 7, 43]), g.input("b", [7, 1])], {})),
  "the gated activation": (g) => g.output("y", g.node("geglu", [g.input("x", [101, 2 * 131])], {})),
  "layer norm": (g) =>
    g.output(
      "y",
      g.node("layerNorm", [g.input("x", [301, 70]), g.weight("w", [70]), g.weight("b", [70])], { eps: 1e-5 }),
    ),
  "rows of an image": (g) =>
    g.output("y", g.node("slice", [g.input("x", [6, 5, 40, 23])], { axis: 2, from: 3, to: 38 })),
  "channels of an image": (g) =>
    g.output("y", g.node("slice", [g.input("x", [6, 12, 20, 23])], { axis: 1, from: 3, to: 11 })),
  "images joined by channels, and by batch": (g) => {
    const x = g.input("x", [4, 5, 24, 19]);
    g.output("y", g.node("concat", [x, g.input("z", [4, 7, 24, 19])], { axis: 1 }));
    g.output("b", g.node("concat", [x, g.input("t", [3, 5, 24, 19])], { axis: 0 }));
  },
  "tokens of an image": (g) =>
    g.output("y", g.node("reshape", [g.input("x", [8, 5, 24, 19])], { shape: [8, 5 * 24 * 19] })),
  "an enlarged image": (g) =>
    g.output("y", g.node("upsampleNearest", [g.input("x", [4, 5, 33, 31])], { height: 74, width: 63 })),
  "group norm of an image, by four and one by one": (g) => {
    // Pixels of more than 256 bytes, of which a workgroup has no whole number.
    for (const [channels, height] of [
      [8, 91],
      [6, 91],
      [72, 21],
      [70, 21],
    ] as const) {
      const [w, b] = [g.weight(`w${channels}`, [channels]), g.weight(`b${channels}`, [channels])];
      g.output(
        `y${channels}`,
        g.node("groupNorm", [g.input(`x${channels}`, [2, channels, height, 23]), w, b], { groups: 2, eps: 1e-5 }),
      );
    }
  },
  "a linear layer with bias and residual": (g) => {
    const x = g.input("x", [1301, 20]);
    const y = g.node("linear", [x, g.weight("w", [24, 20]), g.weight("b", [24])], {});
    g.output("y", g.node("add", [g.input("r", [1301, 24]), y], {}));
  },
  "a convolution, of two images joined, and of an enlarged one": (g) => {
    const padded = { stride: 1, pad: [1, 1, 1, 1] } as const;
    const x = g.input("x", [2, 8, 53, 49]);
    const joined = g.node("concat", [x, g.input("z", [2, 4, 53, 49])], { axis: 1 });
    g.output("joined", g.node("conv2d", [joined, g.weight("w", [12, 12, 3, 3]), g.weight("b", [12])], padded));
    const larger = g.node("upsampleNearest", [g.input("s", [2, 8, 27, 25])], { height: 54, width: 50 });
    g.output("enlarged", g.node("conv2d", [larger, g.weight("v", [8, 8, 3, 3])], padded));
    g.output("halved", g.node("conv2d", [x, g.weight("u", [8, 8, 3, 3])], { stride: 2, pad: [0, 0, 1, 1] }));
  },
};

/**
 * Registers the tests on a device that others compute on, too: Dawn keeps its kernels, most of which theirs are. With `skip` they are
 * reported as skipped for that reason.
 */
export function guardTests(opened: OpenedGpu | undefined, skip: string | undefined): void {
  const options = skip === undefined ? {} : { skip };
  const runner = opened && new LooseRunner(opened);
  const guard = async (what: string, graph: Graph, data: GraphData): Promise<void> => {
    const { storages, outputs } = await runner!.run(graph, data, { limits: LIMITS, paths: BASELINE }, GUARD_BYTES);
    requireGuarded(what, storages, outputs);
  };

  test("one op at a time: nothing beyond its tensors is read or written", options, async () => {
    for (const item of OP_CASES) {
      const { graph, data } = opGraph(item, 1);
      await guard(`${item.op}, ${item.name}`, graph, data);
    }
  });

  test(
    "whole segments, with what follows their products: nothing beyond their tensors is read or written",
    options,
    async () => {
      for (const item of SEGMENT_CASES) {
        const graph = segmentGraph(item, 2);
        await guard(item.name, graph, drawData(graph, 1));
      }
    },
  );

  for (const [name, build] of Object.entries(LARGE)) {
    test(`cut for bindings of 48 KiB: ${name}`, options, async () => {
      const g = new GraphBuilder(name);
      g.segment("s", () => build(g));
      const graph = g.build();
      const data = drawData(graph, 4);
      const small = { chooseTile: () => "32x32" as const, paths: BASELINE };
      const whole = await runner!.run(graph, data, { ...small, limits: LIMITS }, GUARD_BYTES);
      requireGuarded(name, whole.storages, whole.outputs);
      const limits = { ...LIMITS, bindingBytes: 48 << 10 };
      const cut = await runner!.run(graph, data, { ...small, limits });
      assert.ok(
        cut.list.dispatches.some(({ parts }) => parts.length > 1),
        "something is cut",
      );
      sameOutputs(cut.outputs, whole.outputs);
    });
  }

  test("what lies across a binding's order is refused, never read in part", options, async () => {
    for (const build of [
      (g: GraphBuilder) => g.node("reshape", [g.input("x", [1, 40, 24, 19])], { shape: [40 * 24 * 19] }),
      (g: GraphBuilder) =>
        g.node("groupNorm", [g.input("x", [1, 64, 300]), g.weight("w", [64]), g.weight("b", [64])], {
          groups: 4,
          eps: 1e-5,
        }),
    ]) {
      const g = new GraphBuilder("across");
      g.segment("s", () => g.output("y", build(g)));
      const graph = g.build();
      const run = runner!.run(graph, drawData(graph, 1), {
        limits: { ...LIMITS, bindingBytes: 48 << 10 },
        paths: BASELINE,
      });
      await assert.rejects(run, /E_GPU_LIMIT .*can't be bound in parts \(found \d+ bytes, allowed 49152\)/);
    }
  });
}
