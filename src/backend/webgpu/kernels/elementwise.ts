/**
 * @file Ops on each element alone: activations, scaling, sums of equal shapes, the gated activation. Memory-bound: each
 * operand is read or written once, four values at a time where all operands are whole tensors. Twins: reference/pointwise.ts, each under its op's name.
 */
import { type Kernel, makeKernel } from "./kernel.ts";
import { ACTIVATION_FUNCTIONS } from "./wgsl.ts";

const THREADS = 256;
/** Quads that a workgroup writes. */
export const ELEMENTWISE_QUADS = THREADS * 4;

export type UnaryOp = "silu" | "gelu" | "quickGelu" | "scale" | "leakyRelu";

const UNARY: Readonly<Record<UnaryOp, (x: string) => string>> = {
  silu: (x) => `silu4(${x})`,
  gelu: (x) => `gelu4(${x})`,
  quickGelu: (x) => `quickGelu4(${x})`,
  scale: (x) => `${x} * P.factor`,
  leakyRelu: (x) => `max(${x}, vec4<f32>()) + min(${x}, vec4<f32>()) * P.factor`,
};

/** out = op(x), whole tensors; what the last quad holds beyond the end is alignment. */
export function unaryKernel(op: UnaryOp): Kernel {
  return makeKernel({
    name: "unary",
    variant: op,
    operands: [
      { name: "x", view: "vec4<f32>", slot: 0 },
      { name: "out", view: "vec4<f32>", slot: 1 },
    ],
    params: op === "scale" || op === "leakyRelu" ? { quads: "u32", factor: "f32" } : { quads: "u32" },
    workgroupSize: THREADS,
    text: (at) => ({ head: ACTIVATION_FUNCTIONS, body: eachQuad(at("out", "i"), UNARY[op](at("x", "i"))) }),
  });
}

/** out = a + b of equal shapes. */
export function addKernel(slots: { a: number; b: number; out: number }): Kernel {
  return makeKernel({
    name: "add",
    variant: "whole",
    operands: (["a", "b", "out"] as const).map((name) => ({ name, view: "vec4<f32>", slot: slots[name] })),
    params: { quads: "u32" },
    workgroupSize: THREADS,
    text: (at) => ({ head: "", body: eachQuad(at("out", "i"), `${at("a", "i")} + ${at("b", "i")}`) }),
  });
}

function eachQuad(target: string, value: string): string {
  return `
  for (var j = 0u; j < 4u; j++) {
    let i = wg * ${ELEMENTWISE_QUADS}u + j * ${THREADS}u + t;
    if (i >= P.quads) { return; }
    ${target} = ${value};
  }`;
}

/** Values that a workgroup of the kernels below writes. */
export const SCALAR_ITEMS = THREADS * 4;

/** out = a + b, b with strides of its own along out's four axes (0 where it broadcasts). */
export function broadcastAddKernel(slots: { a: number; b: number; out: number }): Kernel {
  return makeKernel({
    name: "broadcastAdd",
    variant: "4axes",
    operands: (["a", "b", "out"] as const).map((name) => ({ name, view: "f32", slot: slots[name] })),
    params: {
      items: "u32",
      size1: "u32",
      size2: "u32",
      size3: "u32",
      stride0: "u32",
      stride1: "u32",
      stride2: "u32",
      stride3: "u32",
    },
    workgroupSize: THREADS,
    text: (at) => ({
      head: "",
      body: eachItem(`
    let i3 = i % P.size3;
    let i2 = (i / P.size3) % P.size2;
    let i1 = (i / (P.size3 * P.size2)) % P.size1;
    let i0 = i / (P.size3 * P.size2 * P.size1);
    ${at("out", "i")} = ${at("a", "i")} + ${at("b", "i0 * P.stride0 + i1 * P.stride1 + i2 * P.stride2 + i3 * P.stride3")};`),
    }),
  });
}

/** x [.., C], w [C] -> same: x where it is positive, else x times its channel's w. */
export function preluKernel(): Kernel {
  return makeKernel({
    name: "prelu",
    variant: "channels",
    operands: (["x", "w", "out"] as const).map((name, slot) => ({ name, view: "f32", slot })),
    params: { items: "u32", channels: "u32" },
    workgroupSize: THREADS,
    text: (at) => ({
      head: "",
      body: eachItem(`
    let x = ${at("x", "i")};
    ${at("out", "i")} = max(x, 0.0) + min(x, 0.0) * ${at("w", "i % P.channels")};`),
    }),
  });
}

/** x [.., C], w [C] or [1], b? [C] or [1] -> same: x times its channel's w, plus its channel's b. */
export function affineKernel(slots: { x: number; w: number; b?: number | undefined; out: number }): Kernel {
  const { b, ...rest } = slots;
  const all = b === undefined ? rest : { ...rest, b };
  return makeKernel({
    name: "affine",
    variant: b === undefined ? "factor" : "factor and sum",
    operands: Object.entries(all).map(([name, slot]) => ({ name, view: "f32", slot })),
    params: { items: "u32", channels: "u32", wStep: "u32", ...(b !== undefined && { bStep: "u32" as const }) },
    workgroupSize: THREADS,
    text: (at) => ({
      head: "",
      body: eachItem(`
    let channel = i % P.channels;
    ${at("out", "i")} = ${at("x", "i")} * ${at("w", "channel * P.wStep")}${b === undefined ? "" : ` + ${at("b", "channel * P.bStep")}`};`),
    }),
  });
}

/** x [R, 2 C] -> [R, C]: first half times gelu of the second. */
export function gegluKernel(): Kernel {
  return makeKernel({
    name: "geglu",
    variant: "rows",
    operands: [
      { name: "x", view: "f32", slot: 0 },
      { name: "out", view: "f32", slot: 1 },
    ],
    params: { items: "u32", half: "u32" },
    workgroupSize: THREADS,
    text: (at) => ({
      head: ACTIVATION_FUNCTIONS,
      body: eachItem(`
    let start = (i / P.half) * 2u * P.half + i % P.half;
    ${at("out", "i")} = ${at("x", "start")} * gelu4(vec4<f32>(${at("x", "start + P.half")})).x;`),
    }),
  });
}

function eachItem(statements: string): string {
  return `
  for (var j = 0u; j < 4u; j++) {
    let i = wg * ${SCALAR_ITEMS}u + j * ${THREADS}u + t;
    if (i >= P.items) { return; }
${statements}
  }`;
}
