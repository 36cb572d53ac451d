/**
 * @file Softmax of rows in place, for attention by whole score matrices: x [R, S], rows `stride` apart, the first one of query `firstRow`.
 * A workgroup a row, fp32. Cost: reads x three times, writes it twice; memory-bound.
 * Twin: the middle of reference/attention.ts, attention.
 */
import { type Kernel, makeKernel } from "./kernel.ts";
import { reduceParts } from "./subgroups.ts";

const THREADS = 256;

/** `lanes`: of the smallest subgroup; absent: no subgroups. */
export function softmaxKernel(lanes?: number): Kernel {
  return makeKernel({
    name: "softmax",
    variant: lanes === undefined ? "rows" : `rows-lanes${lanes}`,
    enables: lanes === undefined ? [] : ["subgroups"],
    operands: [{ name: "x", view: "f32", slot: 0 }],
    params: { columns: "u32", stride: "u32", causal: "u32", firstRow: "u32" },
    workgroupSize: THREADS,
    text: (at) => ({
      head: `
var<workgroup> part: array<f32, ${THREADS}>;
fn reduce(t: u32, value: f32, largest: bool) -> f32 {
  workgroupBarrier();
  part[t] = value;
  workgroupBarrier();
${reduceParts(THREADS, lanes, (a, b) => `select(${a} + ${b}, max(${a}, ${b}), largest)`)}
  return part[0];
}`,
      body: `
  let start = wg * P.stride;
  let visible = select(P.columns, min(P.columns, P.firstRow + wg + 1u), P.causal == 1u);
  var rowMax = -3.0e38;
  for (var i = t; i < visible; i += ${THREADS}u) { rowMax = max(rowMax, ${at("x", "start + i")}); }
  rowMax = reduce(t, rowMax, true);
  var sum = 0.0;
  for (var i = t; i < P.columns; i += ${THREADS}u) {
    let e = select(0.0, exp(${at("x", "start + i")} - rowMax), i < visible);
    ${at("x", "start + i")} = e;
    sum += e;
  }
  sum = reduce(t, sum, false);
  for (var i = t; i < P.columns; i += ${THREADS}u) { ${at("x", "start + i")} /= sum; }`,
    }),
  });
}
