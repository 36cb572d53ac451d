/** @file Ops that fusion leaves as they are, each as its own dispatches. Pure. */
import type { AnyNode, Node, ValueId } from "../../../ir/graph.ts";
import type { OpName } from "../../../ir/ops.ts";
import { elementCount } from "../../../tensor/dtype.ts";
import { layerNormKernel } from "../kernels/layer-norm.ts";
import { COPY_ITEMS, embeddingKernel, upsampleKernel } from "../kernels/movement.ts";
import { STORAGE_BYTES } from "../kernels/wgsl.ts";
import { addAttention } from "./attention.ts";
import { BYTE_COST, type Window } from "./dispatches.ts";
import { addAffine, addGeglu, addPrelu, addSum, broadcastStrides, unary } from "./elementwise.ts";
import { type LoweringScope, type Place, shareWindow } from "./lowering-scope.ts";
import { groupStatistics, imageOf, normalizeRows } from "./norms.ts";
import { addProduct } from "./products.ts";
import { ALIGNMENT_BYTES, physicalStrides } from "./tensor-layout.ts";

type PlainLowering<Op extends OpName> = (l: LoweringScope, node: Node<Op>) => void;

/** What fusion leaves as it is. */
const PLAIN = {
  conv2d: notPlain,
  linear(l, node) {
    // Images by their last logical axis: through logical order.
    const [x, w, b] = node.inputs as [ValueId, ValueId, ValueId | undefined];
    const [columns, depth] = l.shape(w) as [number, number];
    const weight = l.place(w);
    const bias = b === undefined ? undefined : l.place(b);
    const a = l.rows(x);
    const { storage, done } = l.targetRows(node.output);
    addProduct(
      l.builder,
      {
        label: l.label(node.output),
        a: { storage: a },
        b: weight,
        bias,
        out: { storage },
        rows: elementCount(l.shape(x)) / depth,
        columns,
        depth,
      },
      l.chooseTile,
      l.paths,
    );
    done();
  },
  // Those with three axes; fusion takes images.
  groupNorm(l, node) {
    const [x, w, b] = node.inputs as [ValueId, ValueId, ValueId];
    const image = imageOf(l, x);
    const { groups } = node.attrs;
    const statistics = groupStatistics(
      l,
      l.label(node.output),
      image,
      groups,
      l.builder.scratch(image.batch * groups * 8),
    );
    normalizeRows(l, node.output, image, statistics, { ...node.attrs, w, b });
  },
  groupNormApply(l, node) {
    const [x, statistics, w, b] = node.inputs as [ValueId, ValueId, ValueId, ValueId];
    normalizeRows(l, node.output, imageOf(l, x), l.floats(statistics), { ...node.attrs, w, b });
  },
  groupStats(l, { inputs: [x], output, attrs: { groups } }) {
    groupStatistics(l, l.label(output), imageOf(l, x!), groups, l.target(output));
  },
  layerNorm(l, node) {
    const [x, w, b] = node.inputs as [ValueId, ValueId, ValueId];
    const channels = l.shape(x).at(-1)!;
    const from = l.rows(x);
    const { storage, done } = l.targetRows(node.output);
    const [weight, bias] = [l.place(w), l.place(b)];
    const rows = elementCount(l.shape(x)) / channels;
    const window = shareWindow(channels * 4, l.builder.bytes(storage));
    l.builder.add({
      label: l.label(node.output),
      operands: [
        { name: "x", storage: from, window },
        { name: "w", storage: weight.storage },
        { name: "b", storage: bias.storage },
        { name: "out", storage, window },
      ],
      kernel: (s) =>
        layerNormKernel({
          slots: { x: s.x!, w: s.w!, b: s.b!, out: s.out! },
          wStorage: weight.type,
          bStorage: bias.type,
          lanes: l.paths.lanes,
        }),
      workgroups: rows,
      params: { channels, eps: node.attrs.eps },
      costPerWorkgroup: channels * 12 * BYTE_COST,
    });
    done();
  },
  silu: unary("silu"),
  gelu: unary("gelu"),
  quickGelu: unary("quickGelu"),
  leakyRelu: unary("leakyRelu"),
  prelu: addPrelu,
  affine: addAffine,
  scale: unary("scale"),
  geglu: addGeglu,
  add(l, { inputs: [a, b], output }) {
    const [aShape, bShape] = [l.shape(a!), l.shape(b!)];
    const strides = aShape.join() === bShape.join() ? undefined : broadcastStrides(aShape, bShape);
    addSum(l, output, l.floats(a!), l.floats(b!), strides);
  },
  addChannels(l, { inputs: [x, t], output }) {
    addSum(l, output, l.floats(x!), l.floats(t!), [l.shape(x!)[1]!, 0, 0, 1]);
  },
  attention(l, { inputs: [q, k, v], output, attrs: { heads, causal } }) {
    const [batch, queries, channels] = l.shape(q!) as [number, number, number];
    const keys = l.shape(k!)[1]!;
    const places = { q: l.floats(q!), k: l.floats(k!), v: l.floats(v!), out: l.target(output) };
    const shape = { batch, queries, keys, channels, heads, causal };
    addAttention(l.builder, l.label(output), places, shape, {
      workgroupBytes: l.limits.workgroupBytes,
      chooseTile: l.chooseTile,
      paths: l.paths,
    });
  },
  embedding(l, { inputs: [table, ids], output }) {
    const [rows, channels] = l.shape(table!) as [number, number];
    const { storage: from, type } = l.place(table!);
    const { storage, done } = l.targetRows(output);
    const items = elementCount(l.shape(output));
    const rowIds = l.rows(ids!);
    const rowBytes = channels * STORAGE_BYTES[type];
    // Which rows are read is known on the device alone: a table that can't be bound whole is gone through in parts.
    const fitting = Math.floor(l.limits.bindingBytes / rowBytes) - Math.ceil((2 * ALIGNMENT_BYTES) / rowBytes);
    const rowsAtOnce = l.builder.bytes(from) <= l.limits.bindingBytes ? rows : Math.max(1, fitting);
    for (let first = 0; first < rows; first += rowsAtOnce) {
      const last = Math.min(rows, first + rowsAtOnce);
      l.builder.add({
        label: l.label(output),
        operands: [
          { name: "table", storage: from, window: () => [first * rowBytes, last * rowBytes] },
          { name: "ids", storage: rowIds },
          { name: "out", storage, window: shareWindow(COPY_ITEMS * 4, l.builder.bytes(storage)) },
        ],
        kernel: () => embeddingKernel(type),
        workgroups: Math.ceil(items / COPY_ITEMS),
        params: { items, rows, channels, nan: 0x7fc00000, firstRow: first, endRow: last },
        costPerWorkgroup: COPY_ITEMS * 8 * BYTE_COST,
      });
    }
    done();
  },
  reshape(l, { inputs: [x], output }) {
    const from = l.rows(x!);
    const { storage, done } = l.targetRows(output);
    l.copy(l.label(output), { storage: from, type: "f32" }, storage, [elementCount(l.shape(output))], [1], [1]);
    done();
  },
  toTokens: notPlain,
  toImage: notPlain,
  upsampleNearest(l, { inputs: [x], output }) {
    const [, channels, height, width] = l.shape(output) as [number, number, number, number];
    const [, , inHeight, inWidth] = l.shape(x!) as [number, number, number, number];
    const out = l.target(output);
    const items = elementCount(l.shape(output));
    const perRow = width * channels;
    const window: Window = (first, last) => {
      const source = (row: number) =>
        Math.floor(row / height) * inHeight + Math.floor(((row % height) * inHeight) / height);
      const from = source(Math.floor((first * COPY_ITEMS) / perRow));
      const to = source(Math.ceil(Math.min(items, last * COPY_ITEMS) / perRow) - 1);
      return [from * inWidth * channels * 4, (to + 1) * inWidth * channels * 4];
    };
    l.builder.add({
      label: l.label(output),
      operands: [
        { name: "x", storage: l.floats(x!), window },
        { name: "out", storage: out, window: shareWindow(COPY_ITEMS * 4, l.builder.bytes(out)) },
      ],
      kernel: () => upsampleKernel(),
      workgroups: Math.ceil(items / COPY_ITEMS),
      params: { items, inHeight, inWidth, height, width, channels },
      costPerWorkgroup: COPY_ITEMS * 8 * BYTE_COST,
    });
  },
  slice(l, { inputs: [x], output, attrs: { axis, from } }) {
    const shape = l.shape(output);
    const strides = physicalStrides(l.shape(x!));
    const source: Place = { storage: l.floats(x!), type: "f32" };
    l.copy(l.label(output), source, l.target(output), shape, strides, physicalStrides(shape), {
      from: from * strides[axis]!,
    });
  },
  concat(l, { inputs, output, attrs: { axis } }) {
    const out = l.target(output);
    const strides = physicalStrides(l.shape(output));
    let start = 0;
    for (const id of inputs) {
      const shape = l.shape(id);
      l.copy(l.label(output), { storage: l.floats(id), type: "f32" }, out, shape, physicalStrides(shape), strides, {
        to: start,
      });
      start += shape[axis]! * strides[axis]!;
    }
  },
} satisfies { [Op in OpName]: PlainLowering<Op> };

/** These always become part of another node. */
function notPlain(l: LoweringScope, node: AnyNode): void {
  throw new Error(`${l.label(node.output)}: fusion left a ${node.op}`);
}

export function addPlain(l: LoweringScope, node: AnyNode): void {
  // Node<Op> pairs each op with its own attrs; TypeScript can't follow that through an indexed table.
  const lower = PLAIN[node.op] as (scope: LoweringScope, node: AnyNode) => void;
  lower(l, node);
}
