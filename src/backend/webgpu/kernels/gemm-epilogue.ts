/** @file What the product kernel does with its sums before it stores them. */
import { readQuad, readScalar, type Storage } from "../wgsl.ts";
import type { GemmVariant } from "./gemm.ts";
import type { Tile } from "./gemm-tiles.ts";
import { type At, each } from "./text.ts";

/** Bias, channels, activation, factor, residual: in this order, then the store. */
export function epilogue(v: GemmVariant, tile: Tile, at: At): string {
  const groups = v.geglu ? 1 : tile.threadColumns / 4;
  const columns = each(groups, (g) => {
    const offset = g === 1 ? `${tile.columns / 2}u + ` : "";
    const bias = (name: string, index: string) =>
      `\n  var ${name} = vec4<f32>();\n  { let n = column${g};\n${readRow(v, at, "bias", v.biasStorage!, index, name)}\n  }`;
    const gate = v.geglu ? bias(`gateBias${g}`, "P.n + n") : "";
    return `  let column${g} = n0 + ${offset}tx * 4u;${v.slots.bias === undefined ? "" : bias(`bias${g}`, "n") + gate}`;
  });
  const rows = each(tile.threadRows, (r) => {
    const m = `m0 + ${r >= 4 ? tile.rows / 2 : 0}u + ty * 4u + ${r % 4}u`;
    const results = each(groups, (g) => {
      const value = v.geglu ? gegluValue(v, r) : plainValue(v, at, r, g);
      return `    { let n = column${g};\n${value}\n${finish(v, at)}\n    }`;
    }).join("\n");
    return `  { let m = ${m};\n    if (m < P.m) {\n${results}\n    }\n  }`;
  });
  return [...columns, ...rows].join("\n");
}

/** Four numbers at flat index `index`, those from column n + j >= P.n on left at zero. */
function readRow(v: GemmVariant, at: At, operand: string, storage: Storage, index: string, name: string): string {
  if (v.quadN)
    return `      if (n < P.n) { ${name} = ${readQuad(storage, (i) => at(operand, i), `(${index}) >> 2u`)}; }`;
  return each(
    4,
    (j) =>
      `      if (n + ${j}u < P.n) { ${name}[${j}] = ${readScalar(storage, (i) => at(operand, i), `${index} + ${j}u`)}; }`,
  ).join("\n");
}

function plainValue(v: GemmVariant, at: At, r: number, g: number): string {
  const bias = v.slots.bias === undefined ? "" : ` + bias${g}`;
  const channels =
    v.slots.channels === undefined
      ? ""
      : `\n      var added = vec4<f32>();\n${readRow(v, at, "channels", "f32", "(m / P.pixels) * P.n + n", "added")}\n      value += added;`;
  const activation = v.activation ? `\n      value = ${v.activation}4(value);` : "";
  return `      var value = c${r}_${g}${bias};${channels}${activation}`;
}

function gegluValue(v: GemmVariant, r: number): string {
  const [bias, gateBias] = v.slots.bias === undefined ? ["", ""] : [" + bias0", " + gateBias0"];
  return `      var value = (c${r}_0${bias}) * gelu4(c${r}_1${gateBias});`;
}

function finish(v: GemmVariant, at: At): string {
  const index = "P.cStart + m * P.ldc + n";
  const residual =
    v.slots.residual === undefined
      ? ""
      : `      var rest = vec4<f32>();\n${readRow(v, at, "residual", "f32", index, "rest")}\n      value += rest;\n`;
  const put = v.quadN
    ? `      if (n < P.n) { ${at("out", `(${index}) >> 2u`)} = value; }`
    : each(4, (j) => `      if (n + ${j}u < P.n) { ${at("out", `${index} + ${j}u`)} = value[${j}]; }`).join("\n");
  return `      value *= P.factor;\n${residual}${put}`;
}
