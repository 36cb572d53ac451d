/**
 * @file Kernels that only move values: strided copies, upsampling, rows of a table, weights of convolutions. Memory-bound.
 * Twins: reference/movement.ts, upsampleNearest and embedding; copies serve toTokens, toImage, concat and slice.
 */
import { type Kernel, makeKernel } from "./kernel.ts";
import { readScalar, STORAGE_FUNCTIONS, type StorageType, scalarView } from "./wgsl.ts";

const THREADS = 256;
/** Values that a workgroup writes. */
export const COPY_ITEMS = THREADS * 4;

function eachItem(statements: string): string {
  return `
  for (var j = 0u; j < 4u; j++) {
    let i = wg * ${COPY_ITEMS}u + j * ${THREADS}u + t;
    if (i >= P.items) { return; }
${statements}
  }`;
}

/** Values of x, in the order of four axes, to places of `out`: both with strides and a start. Converts stored weights. */
export function copyKernel(storage: StorageType): Kernel {
  return makeKernel({
    name: "copy",
    variant: storage,
    operands: [
      { name: "x", view: scalarView(storage), slot: 0 },
      { name: "out", view: "f32", slot: 1 },
    ],
    params: {
      items: "u32",
      size1: "u32",
      size2: "u32",
      size3: "u32",
      source: "u32",
      source0: "u32",
      source1: "u32",
      source2: "u32",
      source3: "u32",
      place: "u32",
      place0: "u32",
      place1: "u32",
      place2: "u32",
      place3: "u32",
    },
    workgroupSize: THREADS,
    text: (at) => ({
      head: STORAGE_FUNCTIONS,
      body: eachItem(`
    let i3 = i % P.size3;
    let i2 = (i / P.size3) % P.size2;
    let i1 = (i / (P.size3 * P.size2)) % P.size1;
    let i0 = i / (P.size3 * P.size2 * P.size1);
    let source = P.source + i0 * P.source0 + i1 * P.source1 + i2 * P.source2 + i3 * P.source3;
    ${at("out", "P.place + i0 * P.place0 + i1 * P.place1 + i2 * P.place2 + i3 * P.place3")} = ${readScalar(storage, (i) => at("x", i), "source")};`),
    }),
  });
}

/** x [B, h, w, C] -> [B, H, W, C] by nearest neighbours. */
export function upsampleKernel(): Kernel {
  return makeKernel({
    name: "upsample",
    variant: "nearest",
    operands: [
      { name: "x", view: "f32", slot: 0 },
      { name: "out", view: "f32", slot: 1 },
    ],
    params: { items: "u32", inHeight: "u32", inWidth: "u32", height: "u32", width: "u32", channels: "u32" },
    workgroupSize: THREADS,
    text: (at) => ({
      head: "",
      body: eachItem(`
    let c = i % P.channels;
    let pixel = i / P.channels;
    let x = ((pixel % P.width) * P.inWidth) / P.width;
    let y = (((pixel / P.width) % P.height) * P.inHeight) / P.height;
    let image = pixel / (P.width * P.height);
    ${at("out", "i")} = ${at("x", "((image * P.inHeight + y) * P.inWidth + x) * P.channels + c")};`),
    }),
  });
}

/** table [V, C], ids -> rows. An id outside of the table gives NaN, which the guard of results finds. */
export function embeddingKernel(storage: StorageType): Kernel {
  return makeKernel({
    name: "embedding",
    variant: storage,
    operands: [
      { name: "table", view: scalarView(storage), slot: 0 },
      { name: "ids", view: "i32", slot: 1 },
      { name: "out", view: "f32", slot: 2 },
    ],
    params: { items: "u32", rows: "i32", channels: "u32", nan: "u32", firstRow: "i32", endRow: "i32" },
    workgroupSize: THREADS,
    text: (at) => ({
      head: STORAGE_FUNCTIONS,
      body: eachItem(`
    let id = ${at("ids", "i / P.channels")};
    if (id < 0 || id >= P.rows) {
      ${at("out", "i")} = bitcast<f32>(P.nan);
    } else if (id >= P.firstRow && id < P.endRow) {
      let source = u32(id) * P.channels + i % P.channels;
      ${at("out", "i")} = ${readScalar(storage, (i) => at("table", i), "source")};
    }`),
    }),
  });
}

/**
 * Weights of a convolution as stored, [rows, Ci, taps], to [rows, taps, Ci], word by word: `halves` packs two values of 16
 * bits in a word. Bits are moved, never converted. `to` is the first word of `out`.
 */
export function repackKernel(halves: boolean): Kernel {
  const source = (i: string) =>
    `((${i}) / (P.taps * P.channels)) * P.taps * P.channels + ((${i}) % P.channels) * P.taps + ((${i}) / P.channels) % P.taps`;
  return makeKernel({
    name: "repack",
    variant: halves ? "16" : "32",
    operands: [
      { name: "x", view: "u32", slot: 0 },
      { name: "out", view: "u32", slot: 1 },
    ],
    params: { items: "u32", values: "u32", taps: "u32", channels: "u32", source: "u32", place: "u32" },
    workgroupSize: THREADS,
    text: (at) => ({
      head: halves
        ? `fn half16(n: u32) -> u32 {
  if (n >= P.values) { return 0u; }
  let source = ${source("n")};
  return (${at("x", "P.source + (source >> 1u)")} >> ((source & 1u) * 16u)) & 0xffffu;
}`
        : "",
      body: eachItem(
        halves
          ? `    ${at("out", "P.place + i")} = half16(i * 2u) | (half16(i * 2u + 1u) << 16u);`
          : `    ${at("out", "P.place + i")} = ${at("x", `P.source + ${source("i")}`)};`,
      ),
    }),
  });
}
