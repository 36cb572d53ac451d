/**
 * @file How products by matrices get their operands: quads of 4 K, through registers (`aQuad0` ..., `bQuad0` ...), into rows of
 * workgroup memory. A thread has the same K of several rows of both operands.
 */
import { MATRIX_DEPTH, MATRIX_STRIDE } from "./gemm-matrix-tiles.ts";
import { advanceTap, quadA, quadB, rawType, unpacked } from "./gemm-reads.ts";
import type { GemmVariant } from "./gemm-variant.ts";
import { each, lines } from "./text.ts";

/** Threads side by side along K. */
const PER_ROW = MATRIX_DEPTH / 4;

export interface MatrixLoads {
  readonly v: GemmVariant;
  readonly threads: number;
  /** Rows of B in the tile that belong to one subgroup. */
  readonly spanColumns: number;
  /** A thread's quads of each operand. */
  readonly aCount: number;
  readonly bCount: number;
}

export function matrixLoads(
  v: GemmVariant,
  tile: { readonly rows: number; readonly columns: number; readonly spanColumns: number },
  threads: number,
): MatrixLoads {
  const count = (rows: number) => (rows * PER_ROW) / threads;
  return { v, threads, spanColumns: tile.spanColumns, aCount: count(tile.rows), bCount: count(tile.columns) };
}

/** Row in the tile of a thread's quad `i`. */
function row({ threads }: MatrixLoads, i: number): string {
  return `t / ${PER_ROW}u + ${(i * threads) / PER_ROW}u`;
}

/** Where a thread's rows of A and B lie; for images, the place of each row's patch, and of K in it. */
export function setUp(loads: MatrixLoads): string {
  const { v, aCount, bCount } = loads;
  const patch = `  var c = kq % P.channelsIn; var tapX = (kq / P.channelsIn) % P.kernelWidth; var tapY = (kq / P.channelsIn) / P.kernelWidth;
${pixels(loads)}`;
  const quads = (name: "a" | "b", count: number) =>
    each(count, (i) => `  var ${name}Quad${i} = ${rawType(v, name)}();`);
  return [
    `  let inRow = (t % ${PER_ROW}u) * 4u;
  let kq = inRow;
  var k0 = 0u;`,
    ...each(aCount, (i) => rowOfA(loads, i)),
    ...each(bCount, (i) => rowOfB(loads, i)),
    ...(v.conv ? [patch] : []),
    ...quads("a", aCount),
    ...quads("b", bCount),
  ].join("\n");
}

function rowOfA(loads: MatrixLoads, i: number): string {
  const { v } = loads;
  const from = `  let aRow${i} = m0 + ${row(loads, i)};`;
  if (!v.quadK) return from;
  return v.conv ? `${from}\n  var aAt${i} = -1;` : `${from}\n  let aAt${i} = ${quadA(`aRow${i}`, "kq")};`;
}

function rowOfB(loads: MatrixLoads, i: number): string {
  const { v, spanColumns } = loads;
  const half = spanColumns / 2;
  const at = v.quadK ? `\n  let bAt${i} = ${quadB(`bRow${i}`, "kq", `bLimit${i}`)};` : "";
  if (!v.geglu) return `  let bRow${i} = n0 + ${row(loads, i)}; let bLimit${i} = P.n;${at}`;
  // The second half of each subgroup's columns are the gate's rows of the weights.
  return `  let bSpan${i} = ${row(loads, i)};
  let bColumn${i} = n0 + bSpan${i} / ${spanColumns}u * ${half}u + bSpan${i} % ${half}u;
  let bRow${i} = select(bColumn${i}, P.n + bColumn${i}, bSpan${i} % ${spanColumns}u >= ${half}u);
  let bLimit${i} = select(P.n, 2u * P.n, bSpan${i} % ${spanColumns}u >= ${half}u);${at}`;
}

function pixels({ v, aCount }: MatrixLoads): string {
  return v.quadK ? lines(aCount, (i) => `      aAt${i} = pixelOf(aRow${i}, tapY, tapX);`) : "";
}

/** Moves a thread's patches one round along K; what lies in rows follows `k0`. */
export function advance(loads: MatrixLoads): string {
  return loads.v.conv ? advanceTap({ c: "c", tapX: "tapX", tapY: "tapY" }, MATRIX_DEPTH, pixels(loads)) : "";
}

/** Reads a thread's quads of the round that starts at K `k0` into registers. */
export function fetch({ v, aCount, bCount }: MatrixLoads): string {
  const none = (name: "a" | "b", count: number) => each(count, (i) => `      ${name}Quad${i} = ${rawType(v, name)}();`);
  if (!v.quadK) {
    const b = each(bCount, (i) => `    if (bRow${i} < bLimit${i}) { bQuad${i} = readB(bRow${i}, kq + k0); }`);
    return [...each(aCount, (i) => fetchScalars(v, i)), ...none("b", bCount), ...b].join("\n");
  }
  const a = each(aCount, (i) =>
    v.conv ? `      aQuad${i} = readPixel(aAt${i}, c);` : `      aQuad${i} = readA(aAt${i} + (k0 >> 2u));`,
  );
  const b = each(bCount, (i) => `      bQuad${i} = readB(bAt${i} + (k0 >> 2u));`);
  return `    if (kq + k0 < P.k) {
${[...a, ...b].join("\n")}
    } else {
${[...none("a", aCount), ...none("b", bCount)].join("\n")}
    }`;
}

/** A quad of A value by value: each of the four K may have a tap of its own. */
function fetchScalars(v: GemmVariant, i: number): string {
  if (!v.conv) return `    aQuad${i} = readA(aRow${i}, kq + k0);`;
  return `    { var ce = c; var xe = tapX; var ye = tapY; aQuad${i} = vec4<f16>();
      for (var e = 0u; e < 4u; e++) {
        if (kq + k0 + e < P.k) { aQuad${i}[e] = readPixel(pixelOf(aRow${i}, ye, xe), ce); }
        ce += 1u;
        if (ce == P.channelsIn) { ce = 0u; xe += 1u; if (xe == P.kernelWidth) { xe = 0u; ye += 1u; } }
      } }`;
}

/** Stores what is in registers in workgroup memory. */
export function store(loads: MatrixLoads): string {
  const { v, aCount, bCount } = loads;
  const put = (name: "a" | "b", i: number) => {
    const place = (j: number) => `tile${name.toUpperCase()}[(${row(loads, i)}) * ${MATRIX_STRIDE}u + inRow + ${j}u]`;
    return `    { let quad = ${unpacked(v, name, `${name}Quad${i}`)};
${lines(4, (j) => `      ${place(j)} = quad[${j}];`)} }`;
  };
  return [...each(aCount, (i) => put("a", i)), ...each(bCount, (i) => put("b", i))].join("\n");
}
