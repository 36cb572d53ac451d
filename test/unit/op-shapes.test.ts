/** @file The IR's ops: which shapes they give, and that what doesn't fit is refused before anything is computed; what makes segments the same to backends. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { GraphBuilder } from "../../src/ir/builder.ts";
import { INFER_SHAPE, type OpAttrs, type OpName } from "../../src/ir/ops.ts";
import { segmentSignature } from "../../src/ir/signature.ts";

type Shapes = readonly (readonly number[])[];
type Case = readonly [op: OpName, attrs: object, fits: Shapes, gives: readonly number[], others: readonly Shapes[]];

/** Each with shapes that fit, what they give, and shapes that don't fit. */
const CASES: readonly Case[] = [
  [
    "conv2d",
    { stride: 2, pad: [0, 1, 1, 2] },
    [[2, 3, 8, 9], [5, 3, 3, 2], [5]],
    // (8 + 0 + 1 - 3) / 2 + 1 and (9 + 1 + 2 - 2) / 2 + 1
    [2, 5, 4, 6],
    [
      [[2, 4, 8, 9], [5, 3, 3, 2], [5]],
      [[2, 3, 8, 9], [5, 3, 3, 2], [3]],
      [[2, 3, 8], [5, 3, 3, 2], [5]],
      [[2, 3, 8, 9], [5, 3, 3], [5]],
      [
        [2, 3, 8, 9],
        [5, 3, 3, 2],
        [5, 1],
      ],
    ],
  ],
  [
    "linear",
    {},
    [[2, 7, 4], [6, 4], [6]],
    [2, 7, 6],
    [
      [[2, 7, 5], [6, 4], [6]],
      [[2, 7, 4], [6, 4], [4]],
      [[2, 7, 4], [6, 4, 1], [6]],
    ],
  ],
  [
    "groupNorm",
    { groups: 3 },
    [[2, 6, 5, 4], [6], [6]],
    [2, 6, 5, 4],
    [
      [[2, 6, 5, 4], [5], [6]],
      [[2, 6, 5, 4], [6], [5]],
      [[2, 8, 5, 4], [8], [8]],
    ],
  ],
  [
    "layerNorm",
    {},
    [[2, 5, 8], [8], [8]],
    [2, 5, 8],
    [
      [[2, 5, 8], [5], [8]],
      [[2, 5, 8], [8], [5]],
    ],
  ],
  [
    "prelu",
    {},
    [[2, 5, 3, 4], [5]],
    [2, 5, 3, 4],
    [
      [[2, 5, 3, 4], [4]],
      [[2, 5, 3], [5]],
      [
        [2, 5, 3, 4],
        [5, 1],
      ],
    ],
  ],
  [
    "affine",
    {},
    [[2, 5, 3, 4], [5], [1]],
    [2, 5, 3, 4],
    [
      [[2, 5, 3, 4], [4], [1]],
      [[2, 5, 3, 4], [5], [4]],
      [[2, 5, 3], [5]],
    ],
  ],
  ["geglu", {}, [[2, 5, 6]], [2, 5, 3], [[[2, 5, 7]]]],
  [
    "add",
    {},
    [
      [2, 3, 4],
      [3, 1],
    ],
    [2, 3, 4],
    [
      [
        [2, 3, 4],
        [2, 4],
      ],
      [
        [3, 4],
        [1, 3, 4],
      ],
      [
        [2, 1, 4],
        [2, 3, 4],
      ],
    ],
  ],
  [
    "addChannels",
    {},
    [
      [2, 6, 3, 4],
      [2, 6],
    ],
    [2, 6, 3, 4],
    [
      [
        [2, 6, 3, 4],
        [1, 6],
      ],
      [
        [2, 6, 3, 4],
        [2, 3],
      ],
      [
        [2, 6, 3],
        [2, 6],
      ],
      [[2, 6, 3, 4], [6]],
    ],
  ],
  [
    "attention",
    { heads: 2, causal: false },
    [
      [2, 5, 8],
      [2, 7, 8],
      [2, 7, 8],
    ],
    [2, 5, 8],
    [
      [
        [2, 5, 9],
        [2, 7, 9],
        [2, 7, 9],
      ],
      [
        [2, 5, 8],
        [1, 7, 8],
        [1, 7, 8],
      ],
      [
        [2, 5, 8],
        [2, 7, 6],
        [2, 7, 8],
      ],
      [
        [2, 5, 8],
        [2, 7, 8],
        [2, 6, 8],
      ],
      [
        [2, 5, 8],
        [2, 7, 8],
        [2, 7, 6],
      ],
    ],
  ],
  [
    "embedding",
    {},
    [
      [9, 6],
      [2, 4],
    ],
    [2, 4, 6],
    [
      [[9, 6, 1], [2]],
      [[9], [2]],
    ],
  ],
  ["reshape", { shape: [3, 4] }, [[2, 6]], [3, 4], [[[2, 5]]]],
  ["toTokens", {}, [[2, 5, 3, 4]], [2, 12, 5], [[[2, 5, 12]]]],
  ["toImage", { height: 3, width: 4 }, [[2, 12, 5]], [2, 5, 3, 4], [[[2, 11, 5]], [[2, 5, 3, 4]]]],
  ["upsampleNearest", { height: 6, width: 9 }, [[2, 5, 3, 4]], [2, 5, 6, 9], [[[2, 5, 12]]]],
  [
    "concat",
    { axis: 1 },
    [
      [2, 3, 4],
      [2, 5, 4],
    ],
    [2, 8, 4],
    [
      [
        [2, 3, 4],
        [1, 5, 4],
      ],
      [
        [2, 3, 4],
        [2, 5, 5],
      ],
      [
        [2, 3, 4],
        [2, 5],
      ],
    ],
  ],
  ["slice", { axis: 1, from: 2, to: 5 }, [[2, 5, 4]], [2, 3, 4], [[[2, 4, 4]], [[5]]]],
  ["groupStats", { groups: 2 }, [[3, 4, 5]], [3, 2, 2], [[[3, 5, 5]]]],
  [
    "groupNormApply",
    { groups: 2 },
    [[3, 4, 5], [3, 2, 2], [4], [4]],
    [3, 4, 5],
    [
      [[3, 4, 5], [1, 2, 2], [4], [4]],
      [[3, 4, 5], [3, 4, 2], [4], [4]],
      [[3, 4, 5], [3, 2, 1], [4], [4]],
      [[3, 4, 5], [3, 2, 2], [5], [4]],
      [[3, 4, 5], [3, 2, 2], [4], [5]],
      [[3, 5, 5], [3, 2, 2], [5], [5]],
    ],
  ],
];

test("each op gives its shape, and refuses each shape that doesn't fit", () => {
  for (const [op, attrs, fits, gives, others] of CASES) {
    const infer = (inputs: Shapes, own = attrs) => INFER_SHAPE[op](inputs, own as never);
    assert.deepEqual(infer(fits), gives, op);
    for (const shapes of others) assert.throws(() => infer(shapes), RangeError, `${op} of [${shapes.join("] [")}]`);
  }
  const slice = (from: number, to: number) => INFER_SHAPE.slice([[5]], { axis: 0, from, to });
  for (const [from, to] of [
    [-1, 3],
    [3, 3],
    [4, 2],
    [0, 6],
    [Number.NaN, 2],
  ] as const) {
    assert.throws(() => slice(from, to), RangeError, `${from} to ${to}`);
  }
  assert.throws(() => INFER_SHAPE.slice([[5]], { axis: 1, from: 0, to: 1 }), RangeError);
});

test("a segment reads what others gave and gives what others read: each value once, and what nothing reads is kept to itself", () => {
  const g = new GraphBuilder("graph");
  const [x, unread] = [g.input("x", [4]), g.input("unread", [4])];
  assert.throws(() => g.node("silu", [x], {}), /a node outside of a segment/);
  const w = g.weight("w", [4]);
  assert.equal(g.weight("w", [4]), w);
  const [first, kept, unused] = g.segment("first", () => {
    const inner = g.node("add", [x, w], {});
    return [g.node("add", [inner, inner], {}), g.node("silu", [inner], {}), g.node("gelu", [x], {})] as const;
  });
  g.segment("empty", () => undefined);
  const last = g.segment("last", () => g.node("add", [g.node("add", [first, x], {}), w], {}));
  g.output("kept", kept);
  g.output("last", last);
  const { segments, inputs, outputs } = g.build();
  assert.deepEqual(
    segments.map(({ name, inputs: read, weights, outputs: given }) => [name, read, weights, given]),
    [
      ["first", [x.id], [w.id], [first.id, kept.id]],
      ["last", [first.id, x.id], [w.id], [last.id]],
    ],
  );
  assert.ok(!segments.some(({ outputs: given }) => given.includes(unused.id)));
  assert.deepEqual(
    [...inputs],
    [
      ["x", x.id],
      ["unread", unread.id],
    ],
  );
  assert.deepEqual(
    [...outputs],
    [
      ["kept", kept.id],
      ["last", last.id],
    ],
  );
});

test("segments are the same to backends where all but names is, and others where anything else is", () => {
  interface Kind {
    readonly count?: number;
    readonly factor?: number;
    readonly op?: "silu" | "gelu";
    readonly swapped?: boolean;
    readonly both?: boolean;
    readonly fp32?: boolean;
    readonly ids?: boolean;
    readonly name?: string;
    readonly dtype?: string;
  }
  const signatureOf = ({
    count = 4,
    factor = 2,
    op = "silu",
    swapped,
    both,
    fp32,
    ids,
    name = "a",
    dtype = "f16",
  }: Kind) => {
    const g = new GraphBuilder(name, { fp32: fp32 ?? false });
    const [x, z] = [g.input(`${name}.x`, [count], ids ? "i32" : "f32"), g.input(`${name}.z`, [count])];
    g.segment(`${name}.s`, () => {
      const sum = g.node("add", swapped ? [z, x] : [x, z], {});
      const scaled = g.node("scale", [g.node("add", [sum, g.weight(`${name}.w`, [count])], {})], { factor });
      if (both) g.output("scaled", scaled);
      g.output("y", g.node("add", [g.node(op, [scaled], {}), x], {}));
    });
    const graph = g.build();
    return segmentSignature(graph, graph.segments[0]!, [dtype]);
  };
  assert.equal(signatureOf({}), signatureOf({ name: "b" }));
  const others: readonly Kind[] = [
    ...([{ count: 5 }, { factor: 3 }, { op: "gelu" }, { both: true }, { fp32: true }, { ids: true }] as const),
    { dtype: "f32" },
  ];
  const all = [{}, ...others].map(signatureOf);
  assert.equal(new Set(all).size, 1 + others.length, all.join("\n"));
  // x is read twice: which of the two is first makes another segment.
  assert.notEqual(signatureOf({}), signatureOf({ swapped: true }));
});

/** Attributes are checked by the table's type where graphs are made; here they stand in a list of all ops. */
test("no op but those without demands is left out", () => {
  const free: readonly OpName[] = ["silu", "gelu", "quickGelu", "leakyRelu", "scale"];
  assert.deepEqual(
    [...CASES.map(([op]) => op), ...free].sort(),
    (Object.keys(INFER_SHAPE) as (keyof OpAttrs)[]).sort(),
  );
});
