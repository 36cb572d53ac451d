/**
 * @file Layer normalization of rows [R, C]: a workgroup a row, mean first, then squared deviations from it (two passes, the
 * second from cache). Cost: reads x three times, of which two hit the cache; memory-bound. Twin: reference/norm.ts, layerNorm.
 */
import { type Kernel, makeKernel } from "./kernel.ts";
import { reduceParts } from "./subgroups.ts";
import { readScalar, STORAGE_FUNCTIONS, type StorageType, scalarView } from "./wgsl.ts";

const THREADS = 64;

export interface LayerNormVariant {
  readonly slots: { readonly x: number; readonly w: number; readonly b: number; readonly out: number };
  readonly wStorage: StorageType;
  readonly bStorage: StorageType;
  /** Of the smallest subgroup; absent: no subgroups. */
  readonly lanes?: number;
}

export function layerNormKernel(v: LayerNormVariant): Kernel {
  const { lanes } = v;
  return makeKernel({
    name: "layerNorm",
    variant: `${v.wStorage}-${v.bStorage}${lanes === undefined ? "" : `-lanes${lanes}`}`,
    enables: lanes === undefined ? [] : ["subgroups"],
    operands: [
      { name: "x", view: "f32", slot: v.slots.x },
      { name: "w", view: scalarView(v.wStorage), slot: v.slots.w },
      { name: "b", view: scalarView(v.bStorage), slot: v.slots.b },
      { name: "out", view: "f32", slot: v.slots.out },
    ],
    params: { channels: "u32", eps: "f32" },
    workgroupSize: THREADS,
    text: (at) => ({
      head: `${STORAGE_FUNCTIONS}
var<workgroup> part: array<f32, ${THREADS}>;
fn total(t: u32, value: f32) -> f32 {
  workgroupBarrier();
  part[t] = value;
  workgroupBarrier();
${reduceParts(THREADS, lanes, (a, b) => `${a} + ${b}`)}
  return part[0];
}`,
      body: `
  let start = wg * P.channels;
  var sum = 0.0;
  for (var c = t; c < P.channels; c += ${THREADS}u) { sum += ${at("x", "start + c")}; }
  let mean = total(t, sum) / f32(P.channels);
  var squares = 0.0;
  for (var c = t; c < P.channels; c += ${THREADS}u) {
    let d = ${at("x", "start + c")} - mean;
    squares = fma(d, d, squares);
  }
  let inverse = 1.0 / sqrt(total(t, squares) / f32(P.channels) + P.eps);
  for (var c = t; c < P.channels; c += ${THREADS}u) {
    let w = ${readScalar(v.wStorage, (i) => at("w", i), "c")};
    let b = ${readScalar(v.bStorage, (i) => at("b", i), "c")};
    ${at("out", "start + c")} = (${at("x", "start + c")} - mean) * inverse * w + b;
  }`,
    }),
  });
}
