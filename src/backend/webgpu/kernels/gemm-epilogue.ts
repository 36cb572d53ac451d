/** @file What the product kernel does with its sums before it stores them. */

import type { Tile } from "./gemm-tiles.ts";
import type { GemmVariant } from "./gemm-variant.ts";
import { type At, each, lines } from "./text.ts";
import { readQuad, readScalar, type StorageType } from "./wgsl.ts";

/** Bias, channels, activation, factor, residual: in this order, then the store. */
export function epilogue(v: GemmVariant, tile: Tile, at: At): string {
  const groups = v.geglu ? 1 : tile.threadColumns / 4;
  const columns = each(groups, (g) => {
    const offset = g === 1 ? `${tile.columns / 2}u + ` : "";
    return `  let column${g} = n0 + ${offset}tx * 4u;${epilogueColumns(v, at, g, `column${g}`)}`;
  });
  const rows = each(tile.threadRows, (r) => {
    const m = `m0 + ${r >= 4 ? tile.rows / 2 : 0}u + ty * 4u + ${r % 4}u`;
    const results = lines(groups, (g) => {
      const value = epilogueValue(v, at, { value: `c${r}_${g}`, gate: `c${r}_1` }, g);
      return `    { let n = column${g};\n${value}\n    }`;
    });
    return `  { let m = ${m};\n    if (m < P.m) {\n${results}\n    }\n  }`;
  });
  return [...columns, ...rows].join("\n");
}

/** Declares `bias0` (and the gate's) of four columns from `column` on, if there is a bias. */
export function epilogueColumns(v: GemmVariant, at: At, group: number, column: string): string {
  if (v.slots.bias === undefined) return "";
  const bias = (name: string, index: string) =>
    `\n  var ${name} = vec4<f32>();\n  { let n = ${column};\n${readRow(v, at, "bias", v.biasStorage!, index, name)}\n  }`;
  return bias(`bias${group}`, "n") + (v.geglu ? bias(`gateBias${group}`, "P.n + n") : "");
}

/** Turns sums of row `m`, columns `n` .. `n` + 3 into results and stores them. */
export function epilogueValue(
  v: GemmVariant,
  at: At,
  sums: { readonly value: string; readonly gate: string },
  group: number,
): string {
  const value = v.geglu ? gegluValue(v, sums) : plainValue(v, at, sums.value, group);
  return `${value}\n${finish(v, at)}`;
}

/** Four values at flat index `index`, those from column n + j >= P.n on left at zero. */
function readRow(v: GemmVariant, at: At, operand: string, storage: StorageType, index: string, name: string): string {
  if (v.quadN)
    return `      if (n < P.n) { ${name} = ${readQuad(storage, (i) => at(operand, i), `(${index}) >> 2u`)}; }`;
  return lines(
    4,
    (j) =>
      `      if (n + ${j}u < P.n) { ${name}[${j}] = ${readScalar(storage, (i) => at(operand, i), `${index} + ${j}u`)}; }`,
  );
}

function plainValue(v: GemmVariant, at: At, sums: string, g: number): string {
  const bias = v.slots.bias === undefined ? "" : ` + bias${g}`;
  const channels =
    v.slots.channels === undefined
      ? ""
      : `\n      var added = vec4<f32>();\n${readRow(v, at, "channels", "f32", "(m / P.pixels) * P.n + n", "added")}\n      value += added;`;
  const activation = v.activation ? `\n      value = ${v.activation}4(value);` : "";
  return `      var value = ${sums}${bias};${channels}${activation}`;
}

function gegluValue(v: GemmVariant, { value, gate }: { readonly value: string; readonly gate: string }): string {
  const [bias, gateBias] = v.slots.bias === undefined ? ["", ""] : [" + bias0", " + gateBias0"];
  return `      var value = (${value}${bias}) * gelu4(${gate}${gateBias});`;
}

function finish(v: GemmVariant, at: At): string {
  const index = "P.cStart + m * P.ldc + n";
  const residual =
    v.slots.residual === undefined
      ? ""
      : `      var rest = vec4<f32>();\n${readRow(v, at, "residual", "f32", index, "rest")}\n      value += rest;\n`;
  const put = v.quadN
    ? `      if (n < P.n) { ${at("out", `(${index}) >> 2u`)} = value; }`
    : lines(4, (j) => `      if (n + ${j}u < P.n) { ${at("out", `${index} + ${j}u`)} = value[${j}]; }`);
  return `      value *= P.factor;\n${residual}${put}`;
}
