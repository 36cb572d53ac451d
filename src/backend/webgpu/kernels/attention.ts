/**
 * @file Attention for heads of up to 128 numbers, scores never in memory (Dao et al. 2022, arXiv:2205.14135): q [B, T, C],
 * k and v [B, S, C] -> [B, T, C]. A workgroup takes a block of queries of one head and walks the keys 32 at a time; both
 * products are register-tiled (4 queries by 4 keys, 4 queries by 4 or more numbers of v per thread), softmax is fp32.
 * Cost: 4 B T S C operations; k and v are read once for each block of queries. Every row is summed in the same order whatever
 * the block, so the block may follow the adapter's workgroup memory.
 */
import { type Kernel, makeKernel, type ParamFields } from "../kernel.ts";
import { type Arithmetic, quadView, readScalarAs, scalarView } from "../wgsl.ts";
import { SHUFFLE_FUNCTIONS, shuffleMax } from "./subgroups.ts";

export interface AttentionVariant {
  readonly slots: { readonly q: number; readonly k: number; readonly v: number; readonly out: number };
  /** Numbers of a head, rounded up to 32, 64, 96 or 128. */
  readonly depth: number;
  /** Queries of a workgroup. */
  readonly queries: number;
  readonly causal: boolean;
  /** Heads and rows start at multiples of 4 numbers. */
  readonly quad: boolean;
  /** "f16": operands and sums of 32 products in it, softmax and longer sums in fp32. Needs `shader-f16`. */
  readonly arithmetic?: Arithmetic;
  /** Eight threads of a row are lanes of one subgroup: their maximum goes from register to register. The same bits. */
  readonly shuffles?: boolean;
}

const KEYS = 32;
/** Threads that share four queries, by keys. */
export const ROW_THREADS = 8;
const TX = ROW_THREADS;
/** k and v pass through workgroup memory this many numbers of the head at a time. */
const CHUNK = 32;

const PARAMS = {
  queries: "u32",
  keys: "u32",
  channels: "u32",
  depth: "u32",
  heads: "u32",
  blocks: "u32",
  scale: "f32",
} as const satisfies ParamFields;

export type AttentionParams = Readonly<Record<keyof typeof PARAMS, number>>;

/** Longest head that this kernel takes. */
export const MAX_DEPTH = 128;

export function paddedDepth(depth: number): number {
  return Math.ceil(depth / 32) * 32;
}

/** Bytes of workgroup memory; `depth` padded. */
export function attentionSharedBytes(depth: number, queries: number, arithmetic: Arithmetic = "f32"): number {
  const numbers = depth * queries + CHUNK * KEYS + KEYS * queries;
  return arithmetic === "f32" ? numbers * 4 : numbers * 2 + TX * queries * 4;
}

/** The largest block of queries whose workgroup memory fits. */
export function queryBlock(depth: number, workgroupBytes: number, arithmetic: Arithmetic = "f32"): number {
  const blocks = [64, 32, 16];
  return (
    blocks.find((queries) => attentionSharedBytes(paddedDepth(depth), queries, arithmetic) <= workgroupBytes) ??
    blocks.at(-1)!
  );
}

export function attentionKernel(v: AttentionVariant): Kernel {
  const view = v.quad ? quadView("f32") : scalarView("f32");
  return makeKernel({
    name: "attention",
    variant: `d${v.depth}-q${v.queries}${v.causal ? "-causal" : ""}${v.quad ? "" : "-scalar"}${v.arithmetic === "f16" ? "-f16" : ""}${v.shuffles ? "-shuffles" : ""}`,
    enables: [...(v.arithmetic === "f16" ? ["f16"] : []), ...(v.shuffles ? ["subgroups"] : [])],
    operands: (["q", "k", "v", "out"] as const).map((name) => ({ name, view, slot: v.slots[name] })),
    params: PARAMS,
    workgroupSize: (v.queries / 4) * TX,
    text: (at) => text(v, at),
  });
}

function each(count: number, make: (i: number) => string, separator = "\n"): string {
  return Array.from({ length: count }, (_, i) => make(i)).join(separator);
}

/** A thread's share of 32 keys x 32 numbers of k, in blocks of `rows` keys x 4 numbers, or of v, as it lies. */
function share(threads: number) {
  const quads = (KEYS * CHUNK) / 4 / threads;
  const rows = quads % 4 === 0 ? 4 : 2;
  return { quads, rows, blocks: quads / rows } as const;
}

/** Numbers along the head, or keys, that are written out in the loops of products. */
const WRITTEN = 8;

function text(v: AttentionVariant, at: (operand: string, index: string) => string): { head: string; body: string } {
  const threads = (v.queries / 4) * TX;
  const rows = v.queries / 4;
  const groups = v.depth / 32;
  const arithmetic = v.arithmetic ?? "f32";
  const number4 = `vec4<${arithmetic}>`;
  const halves = arithmetic === "f16";
  // Read and kept as stored: a conversion would wait for the memory. Rows beyond the last are read as the last one: their
  // scores are masked, or not stored.
  const raw = v.quad ? "vec4<f32>" : number4;
  const number = (value: string) => (v.quad && halves ? `${number4}(${value})` : value);
  // Before the products: 32 of them, unscaled, would pass 65504 sooner.
  const query = (value: string) => {
    if (!halves) return value;
    return v.quad ? `${number4}(${value} * P.scale)` : `${value} * f16(P.scale)`;
  };
  const read = (operand: "q" | "k" | "v") =>
    v.quad
      ? `if (d >= P.depth) { return ${raw}(); }
  return ${at(operand, "(start + min(row, limit - 1u) * P.channels + d) >> 2u")};`
      : `var r = ${raw}();
  if (row >= limit) { return r; }
  let i = start + row * P.channels + d;
${each(4, (j) => `  if (d + ${j}u < P.depth) { r[${j}] = ${readScalarAs(arithmetic, "f32", (i) => at(operand, i), `i + ${j}u`)}; }`)}
  return r;`;
  const reader = (operand: "q" | "k" | "v") =>
    `fn read_${operand}(start: u32, row: u32, d: u32, limit: u32) -> ${raw} {\n  ${read(operand)}\n}`;
  /** Reads 4 rows x 4 numbers of q and stores them transposed: tileQ[d][rows]. */
  const storeQ = `
${each(4, (j) => `    let q${j} = ${query(`read_q(startQ, firstQuery + r4 * 4u + ${j}u, d4 * 4u, P.queries)`)};`)}
${each(4, (k) => `    tileQ[(d4 * 4u + ${k}u) * ${rows}u + r4] = ${number4}(${each(4, (j) => `q${j}[${k}]`, ", ")});`)}`;
  const mine = share(threads);
  const element = halves ? "vec2<u32>" : number4;
  const fromKV = (index: string) => (halves ? `bitcast<${number4}>(tileKV[${index}])` : `tileKV[${index}]`);
  const toKV = (value: string) => (halves ? `bitcast<vec2<u32>>(${value})` : value);
  // Neighbouring threads read neighbouring numbers; what they store lies 64 bytes apart.
  const places = each(
    mine.blocks,
    (i) => `  let block${i} = t + ${i * threads}u;
  let d${i} = ((block${i} & 1u) | ((block${i} / ${(2 * KEYS) / mine.rows}u) << 1u)) * 4u;
  let key${i} = ((block${i} >> 1u) % ${KEYS / mine.rows}u) * ${mine.rows}u;
  let place${i} = d${i} * ${KEYS / 4}u + ((key${i} >> 2u) ^ (d${i} & 4u));`,
  );
  const fetchK = (first: string, g: number) =>
    each(mine.blocks, (i) =>
      each(
        mine.rows,
        (j) => `    l${i * mine.rows + j} = read_k(startK, ${first} + key${i} + ${j}u, ${g * CHUNK}u + d${i}, P.keys);`,
      ),
    );
  const storeK = each(mine.blocks, (i) => {
    const value = (j: number, k: number) => `n${j}[${k}]`;
    const put = (k: number) => {
      const target = `tileKV[place${i} + ${(k * KEYS) / 4}u]`;
      if (mine.rows === 4) return `      ${target} = ${toKV(`${number4}(${each(4, (j) => value(j, k), ", ")})`)};`;
      if (halves) return `      ${target}[pair] = bitcast<u32>(vec2<f16>(${value(0, k)}, ${value(1, k)}));`;
      return `      ${target}[2u * pair] = ${value(0, k)}; ${target}[2u * pair + 1u] = ${value(1, k)};`;
    };
    return `    {
${each(mine.rows, (j) => `      let n${j} = ${number(`l${i * mine.rows + j}`)};`)}
${mine.rows === 2 ? `      let pair = (key${i} >> 1u) & 1u;` : ""}
${each(4, put)}
    }`;
  });
  const fetchV = (g: number) =>
    each(
      mine.quads,
      (i) =>
        `    l${i} = read_v(startK, firstKey + (t + ${i * threads}u) / ${CHUNK / 4}u, ${g * CHUNK}u + (t % ${CHUNK / 4}u) * 4u, P.keys);`,
    );
  const storeV = each(mine.quads, (i) => `    tileKV[t + ${i * threads}u] = ${toKV(number(`l${i}`))};`);
  const exchanged = (store: string, next: string) => `    workgroupBarrier();
${store}
    workgroupBarrier();
${next}`;
  const half = halves ? "h" : "";
  const sumOf = (r: number, g: number) => (halves ? `hs${r}_${g}` : `s${r}`);
  // Maxima and sums stay fp32: in f16 they don't fit into the scores' memory.
  const exchange = halves ? "tileM" : "tileP";
  const sharedMax = `    ${exchange}[tx * ${rows}u + ty] = own;
    workgroupBarrier();
    var next = most;
    for (var i = 0u; i < ${TX}u; i++) { next = max(next, ${exchange}[i * ${rows}u + ty]); }
    workgroupBarrier();`;
  const shuffledMax = `    let next = max(most, ${shuffleMax("own", TX)});`;
  const body = `
  let block = wg % P.blocks;
  let head = (wg / P.blocks) % P.heads;
  let image = wg / (P.blocks * P.heads);
  let firstQuery = block * ${v.queries}u;
  let startQ = image * P.queries * P.channels + head * P.depth;
  let startK = image * P.keys * P.channels + head * P.depth;
  let tx = t % ${TX}u;
  let ty = t / ${TX}u;
  for (var i = t; i < ${rows * (v.depth / 4)}u; i += ${threads}u) {
    let r4 = i % ${rows}u; let d4 = i / ${rows}u;
${storeQ}
  }
${places}
${each(mine.quads, (i) => `  var l${i} = ${raw}();`)}
${fetchK("0u", 0)}
${each(4, (r) => each(groups, (g) => `  var o${r}_${g} = vec4<f32>();`))}
  var most = vec4<f32>(-3.0e38);
  var sum = vec4<f32>();
  ${v.causal ? `let lastKey = min(P.keys, firstQuery + ${v.queries}u);` : "let lastKey = P.keys;"}
  for (var firstKey = 0u; firstKey < lastKey; firstKey += ${KEYS}u) {
${each(4, (r) => `    var s${r} = vec4<f32>();`)}
${each(
  groups,
  (g) => `${exchanged(storeK, g + 1 < groups ? fetchK("firstKey", g + 1) : fetchV(0))}
${halves ? each(4, (r) => `    var hs${r}_${g} = vec4<f16>();`) : ""}
    for (var e = 0u; e < ${CHUNK}u; e += ${WRITTEN}u) {
      let fromQ = (${g * CHUNK}u + e) * ${rows}u + ty;
      let even = e * ${KEYS / 4}u + tx;
      let odd = e * ${KEYS / 4}u + (tx ^ 4u);
${each(
  WRITTEN,
  (k) => `      {
        let a = tileQ[fromQ + ${k * rows}u];
        let b = ${fromKV(`${k & 4 ? "odd" : "even"} + ${(k * KEYS) / 4}u`)};
${each(4, (r) => `        ${sumOf(r, g)} = fma(${number4}(a[${r}]), b, ${sumOf(r, g)});`)}
      }`,
)}
    }
${halves ? each(4, (r) => `    s${r} += vec4<f32>(hs${r}_${g});`) : ""}`,
)}
    let key = vec4<u32>(firstKey + tx * 4u) + vec4<u32>(0u, 1u, 2u, 3u);
${each(
  4,
  (r) =>
    `    s${r} = select(vec4<f32>(-3.0e38), s${r}${halves ? "" : " * P.scale"}, (key < vec4<u32>(P.keys))${v.causal ? ` & (key <= vec4<u32>(firstQuery + ty * 4u + ${r}u))` : ""});`,
)}
    let own = vec4<f32>(${each(4, (r) => `max(max(s${r}.x, s${r}.y), max(s${r}.z, s${r}.w))`, ", ")});
${v.shuffles ? shuffledMax : sharedMax}
    let fade = exp(most - next);
    most = next;
${each(4, (r) => `    s${r} = exp(s${r} - next[${r}]);`)}
    sum = sum * fade + vec4<f32>(${each(4, (r) => `(s${r}.x + s${r}.y) + (s${r}.z + s${r}.w)`, ", ")});
${each(4, (j) => `    tileP[(tx * 4u + ${j}u) * ${rows}u + ty] = ${number4}(vec4<f32>(${each(4, (r) => `s${r}[${j}]`, ", ")}));`)}
${each(4, (r) => each(groups, (g) => `    o${r}_${g} *= fade[${r}];`))}
${each(
  groups,
  (g) => `${exchanged(storeV, g + 1 < groups ? fetchV(g + 1) : fetchK(`firstKey + ${KEYS}u`, 0))}
${halves ? each(4, (r) => `    var ho${r}_${g} = vec4<f16>();`) : ""}
    for (var c = 0u; c < ${KEYS}u; c += ${WRITTEN}u) {
      let fromP = c * ${rows}u + ty;
      let fromV = c * ${CHUNK / 4}u + tx;
${each(
  WRITTEN,
  (k) => `      {
        let p = tileP[fromP + ${k * rows}u];
        let b = ${fromKV(`fromV + ${(k * CHUNK) / 4}u`)};
${each(4, (r) => `        ${half}o${r}_${g} = fma(${number4}(p[${r}]), b, ${half}o${r}_${g});`)}
      }`,
)}
    }
${halves ? each(4, (r) => `    o${r}_${g} += vec4<f32>(ho${r}_${g});`) : ""}`,
)}
  }
  // Each thread has the sum of its own keys.
  workgroupBarrier();
  ${exchange}[tx * ${rows}u + ty] = sum;
  workgroupBarrier();
  var total = vec4<f32>();
  for (var i = 0u; i < ${TX}u; i++) { total += ${exchange}[i * ${rows}u + ty]; }
${each(4, (r) => each(groups, (g) => write(v, at, r, g)))}`;
  const head = `
var<workgroup> tileQ: array<${number4}, ${v.depth * rows}>;
var<workgroup> tileKV: array<${element}, ${(CHUNK * KEYS) / 4}>;
var<workgroup> tileP: array<${number4}, ${KEYS * rows}>;
${halves ? `var<workgroup> tileM: array<vec4<f32>, ${TX * rows}>;` : ""}
${v.shuffles ? SHUFFLE_FUNCTIONS : ""}${reader("q")}\n${reader("k")}\n${reader("v")}`;
  return { head, body };
}

function write(v: AttentionVariant, at: (operand: string, index: string) => string, r: number, g: number): string {
  const index = `startQ + query * P.channels + d`;
  const value = `o${r}_${g} / total[${r}]`;
  const put = v.quad
    ? `if (d < P.depth) { ${at("out", `(${index}) >> 2u`)} = ${value}; }`
    : `let value = ${value};
${each(4, (j) => `      if (d + ${j}u < P.depth) { ${at("out", `${index} + ${j}u`)} = value[${j}]; }`)}`;
  return `  { let query = firstQuery + ty * 4u + ${r}u; let d = ${g * CHUNK}u + tx * 4u;
    if (query < P.queries) { ${put} }
  }`;
}
