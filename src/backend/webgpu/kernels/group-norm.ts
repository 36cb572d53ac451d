/**
 * @file Group normalization of images [B, P pixels, C] (NHWC) in three kernels: statistics of each channel over a run of pixels
 * (a thread a channel, so reads run along channels), statistics of each group from those, and the normalization itself.
 * Means and squared deviations are merged by Chan's formula (Chan, Golub, LeVeque 1983), so no variance comes from a
 * difference of large numbers. The image may be two, concatenated along channels. Cost: x is read twice and written once.
 * Twins: reference/norm.ts, groupNorm, groupStats and groupNormApply.
 */
import { type Kernel, makeKernel, type ParamFields } from "./kernel.ts";
import { reduceParts } from "./subgroups.ts";
import {
  ACTIVATION_FUNCTIONS,
  quadView,
  readQuad,
  readScalar,
  STORAGE_FUNCTIONS,
  type StorageType,
  scalarView,
} from "./wgsl.ts";

const THREADS = 256;
/** Statistics of channels: 64 threads, so that 320 channels fill five workgroups. */
export const STATISTICS_THREADS = 64;

/** Pixels that one thread sums: a function of the shape alone. */
export function pixelsPerRun(pixels: number): number {
  return pixels >= 4096 ? 128 : 32;
}

const CHANNEL_PARAMS = {
  pixels: "u32",
  channels: "u32",
  channelsFirst: "u32",
  run: "u32",
  runs: "u32",
  blocks: "u32",
} as const satisfies ParamFields;

/** x [B, P, C] -> parts [B, runs, C] of (mean, squared deviations). Workgroups: B runs blocks of STATISTICS_THREADS channels. */
export function channelStatisticsKernel(slots: { x: number; x2?: number; parts: number }): Kernel {
  const second = slots.x2 !== undefined;
  return makeKernel({
    name: "channelStatistics",
    variant: second ? "concatenated" : "one",
    operands: [
      { name: "x", view: "f32", slot: slots.x },
      ...(second ? [{ name: "x2", view: "f32" as const, slot: slots.x2! }] : []),
      { name: "parts", view: "f32", slot: slots.parts },
    ],
    params: CHANNEL_PARAMS,
    workgroupSize: STATISTICS_THREADS,
    text: (at) => ({
      head: `
fn read(pixel: u32, c: u32) -> f32 {
  ${
    second
      ? `if (c >= P.channelsFirst) { return ${at("x2", "pixel * (P.channels - P.channelsFirst) + c - P.channelsFirst")}; }
  return ${at("x", "pixel * P.channelsFirst + c")};`
      : `return ${at("x", "pixel * P.channels + c")};`
  }
}`,
      body: `
  // Runs are the slowest, so that a range of workgroups needs a range of pixels.
  let c = (wg % P.blocks) * ${STATISTICS_THREADS}u + t;
  let run = (wg / P.blocks) % P.runs;
  let image = wg / (P.blocks * P.runs);
  if (c >= P.channels) { return; }
  let first = run * P.run;
  let last = min(first + P.run, P.pixels);
  let shift = read(image * P.pixels + first, c);
  var sum = 0.0;
  var squares = 0.0;
  for (var p = first; p < last; p++) {
    let d = read(image * P.pixels + p, c) - shift;
    sum += d;
    squares = fma(d, d, squares);
  }
  let count = f32(last - first);
  let at = ((image * P.runs + run) * P.channels + c) * 2u;
  ${at("parts", "at")} = shift + sum / count;
  ${at("parts", "at + 1u")} = max(squares - sum * sum / count, 0.0);`,
    }),
  });
}

/**
 * parts -> statistics [B, groups] of (mean, biased variance), as the op groupStats gives them. A workgroup a group. `lanes`: of
 * the smallest subgroup; absent: no subgroups.
 */
export function groupStatisticsKernel(lanes?: number): Kernel {
  return makeKernel({
    name: "groupStatistics",
    variant: lanes === undefined ? "plain" : `lanes${lanes}`,
    enables: lanes === undefined ? [] : ["subgroups"],
    operands: [
      { name: "parts", view: "f32", slot: 0 },
      { name: "statistics", view: "f32", slot: 1 },
    ],
    params: { pixels: "u32", channels: "u32", run: "u32", runs: "u32", groups: "u32" },
    workgroupSize: THREADS,
    text: (at) => ({
      head: `
var<workgroup> part: array<vec3<f32>, ${THREADS}>;
/// (count, mean, squared deviations) of two sets as one.
fn merge(a: vec3<f32>, b: vec3<f32>) -> vec3<f32> {
  let count = a.x + b.x;
  if (count == 0.0) { return a; }
  let d = b.y - a.y;
  let share = b.x / count;
  return vec3<f32>(count, a.y + d * share, a.z + b.z + d * d * a.x * share);
}`,
      body: `
  let group = wg % P.groups;
  let image = wg / P.groups;
  let perGroup = P.channels / P.groups;
  var mine = vec3<f32>();
  for (var i = t; i < P.runs * perGroup; i += ${THREADS}u) {
    let run = i / perGroup;
    let c = group * perGroup + i % perGroup;
    let at = ((image * P.runs + run) * P.channels + c) * 2u;
    let count = f32(min(P.run, P.pixels - run * P.run));
    mine = merge(mine, vec3<f32>(count, ${at("parts", "at")}, ${at("parts", "at + 1u")}));
  }
  part[t] = mine;
  workgroupBarrier();
${reduceParts(THREADS, lanes, (a, b) => `merge(${a}, ${b})`)}
  if (t == 0u) {
    ${at("statistics", "wg * 2u")} = part[0].y;
    ${at("statistics", "wg * 2u + 1u")} = part[0].z / part[0].x;
  }`,
    }),
  });
}

export interface NormalizeVariant {
  readonly slots: {
    readonly x: number;
    readonly x2?: number;
    readonly statistics: number;
    readonly w: number;
    readonly b: number;
    readonly out: number;
  };
  readonly wStorage: StorageType;
  readonly bStorage: StorageType;
  readonly silu: boolean;
  /** Channels (of both halves) are multiples of 4. */
  readonly quad: boolean;
}

/** Values (or quads of them) that a workgroup of the last kernel writes. */
export const NORMALIZE_ITEMS = THREADS * 4;

/** (x - mean) / sqrt(variance + eps) w + b, then silu if wanted. Workgroups: NORMALIZE_ITEMS items each. */
export function normalizeKernel(v: NormalizeVariant): Kernel {
  const { slots, quad } = v;
  const view = quad ? quadView("f32") : scalarView("f32");
  const second = slots.x2 !== undefined;
  const width = quad ? 4 : 1;
  return makeKernel({
    name: "normalize",
    variant: `${v.wStorage}-${v.bStorage}${v.silu ? "-silu" : ""}${quad ? "" : "-scalar"}`,
    operands: [
      { name: "x", view, slot: slots.x },
      ...(second ? [{ name: "x2", view, slot: slots.x2! }] : []),
      { name: "statistics", view: "f32", slot: slots.statistics },
      { name: "w", view: quad ? quadView(v.wStorage) : scalarView(v.wStorage), slot: slots.w },
      { name: "b", view: quad ? quadView(v.bStorage) : scalarView(v.bStorage), slot: slots.b },
      { name: "out", view, slot: slots.out },
    ],
    params: { items: "u32", pixels: "u32", channels: "u32", channelsFirst: "u32", groups: "u32", eps: "f32" },
    workgroupSize: THREADS,
    text: (at) => ({
      head: `${STORAGE_FUNCTIONS}${ACTIVATION_FUNCTIONS}`,
      body: `
  // Items, channels and pixels in units of ${width} values.
  let channels = P.channels / ${width}u;
  let perGroup = P.channels / P.groups;
  for (var j = 0u; j < 4u; j++) {
    let i = wg * ${NORMALIZE_ITEMS}u + j * ${THREADS}u + t;
    if (i >= P.items) { return; }
    let c = i % channels;
    let pixel = i / channels;
    let image = pixel / P.pixels;
    ${
      second
        ? `let first = P.channelsFirst / ${width}u;
    var x: ${quad ? "vec4<f32>" : "f32"};
    if (c < first) { x = ${at("x", "pixel * first + c")}; } else { x = ${at("x2", "pixel * (channels - first) + c - first")}; }`
        : `let x = ${at("x", "i")};`
    }
    ${
      quad
        ? `let group = (vec4<u32>(c * 4u) + vec4<u32>(0u, 1u, 2u, 3u)) / perGroup + image * P.groups;
    let mean = vec4<f32>(${[0, 1, 2, 3].map((k) => at("statistics", `group[${k}] * 2u`)).join(", ")});
    let variance = vec4<f32>(${[0, 1, 2, 3].map((k) => at("statistics", `group[${k}] * 2u + 1u`)).join(", ")});
    let inverse = 1.0 / sqrt(variance + P.eps);
    let w = ${readQuad(v.wStorage, (i) => at("w", i), "c")};
    let b = ${readQuad(v.bStorage, (i) => at("b", i), "c")};`
        : `let group = c / perGroup + image * P.groups;
    let mean = ${at("statistics", "group * 2u")};
    let inverse = 1.0 / sqrt(${at("statistics", "group * 2u + 1u")} + P.eps);
    let w = ${readScalar(v.wStorage, (i) => at("w", i), "c")};
    let b = ${readScalar(v.bStorage, (i) => at("b", i), "c")};`
    }
    let y = (x - mean) * (inverse * w) + b;
    ${at("out", "i")} = ${v.silu ? (quad ? "silu4(y)" : "silu4(vec4<f32>(y)).x") : "y"};
  }`,
    }),
  });
}
