/**
 * @file Attention for heads of up to 128 values, scores never in memory (Dao et al. 2022, arXiv:2205.14135): q [B, T, C],
 * k and v [B, S, C] -> [B, T, C]. A workgroup takes a block of queries of one head and walks the keys 32 at a time; both
 * products are register-tiled (4 queries by 4 keys, 4 queries by 4 or more values of v per thread), softmax is fp32.
 * Cost: 4 B T S C operations; k and v are read once for each block of queries. Every row is summed in the same order whatever
 * the block, so the block may follow the adapter's workgroup memory. Twin: reference/attention.ts, attention.
 *
 * Names in the text: a thread has queries `ty * 4` .. + 3 of its workgroup. `s0` .. `s3` are their scores with four keys, then
 * their exponentials; `o0_0` .. `o3_3` the weighted sums so far, by query and chunk of the head; `hs`, `ho` the same over one
 * chunk, in fp16. `rowMax` and `sum` are the largest score of each query and the sum of exponentials so far.
 */
import {
  fetchKeys,
  fetchValues,
  loadQueries,
  readFunctions,
  setUpLoads,
  sharedQuad,
  sharedType,
  storeKeys,
  storeValues,
} from "./attention-loads.ts";
import {
  type AttentionForm,
  type AttentionVariant,
  attentionForm,
  CHUNK,
  KEYS,
  ROW_THREADS,
} from "./attention-variant.ts";
import { type Kernel, makeKernel, type ParamFields } from "./kernel.ts";
import { SHUFFLE_FUNCTIONS, shuffleMax } from "./subgroups.ts";
import { type At, lines, list } from "./text.ts";
import { quadView, scalarView } from "./wgsl.ts";

const PARAMS = {
  queries: "u32",
  keys: "u32",
  channels: "u32",
  depth: "u32",
  heads: "u32",
  blocks: "u32",
  scale: "f32",
} as const satisfies ParamFields;

export function attentionKernel(v: AttentionVariant): Kernel {
  const view = v.quad ? quadView("f32") : scalarView("f32");
  const form = attentionForm(v);
  return makeKernel({
    name: "attention",
    variant: `d${v.depth}-q${v.queries}${v.causal ? "-causal" : ""}${v.quad ? "" : "-scalar"}${form.halves ? "-f16" : ""}${v.shuffles ? "-shuffles" : ""}`,
    enables: [...(form.halves ? ["f16"] : []), ...(v.shuffles ? ["subgroups"] : [])],
    operands: (["q", "k", "v", "out"] as const).map((name) => ({ name, view, slot: v.slots[name] })),
    params: PARAMS,
    workgroupSize: form.threads,
    text: (at) => ({ head: declarations(form, at), body: body(form, at) }),
  });
}

function declarations(f: AttentionForm, at: At): string {
  return `
var<workgroup> tileQ: array<${f.vec4}, ${f.depth * f.rows}>;
var<workgroup> tileKV: array<${sharedType(f)}, ${(CHUNK * KEYS) / 4}>;
var<workgroup> tileP: array<${f.vec4}, ${KEYS * f.rows}>;
${f.halves ? `var<workgroup> tileM: array<vec4<f32>, ${ROW_THREADS * f.rows}>;` : ""}
${f.shuffles ? SHUFFLE_FUNCTIONS : ""}${readFunctions(f, at)}`;
}

function body(f: AttentionForm, at: At): string {
  return `
  let block = wg % P.blocks;
  let head = (wg / P.blocks) % P.heads;
  let image = wg / (P.blocks * P.heads);
  let firstQuery = block * ${f.queries}u;
  let startQ = image * P.queries * P.channels + head * P.depth;
  let startK = image * P.keys * P.channels + head * P.depth;
  let tx = t % ${ROW_THREADS}u;
  let ty = t / ${ROW_THREADS}u;
${loadQueries(f)}
${setUpLoads(f)}
${fetchKeys(f, "0u", 0)}
${eachSum(f, (r, g) => `  var o${r}_${g} = vec4<f32>();`)}
  var rowMax = vec4<f32>(-3.0e38);
  var sum = vec4<f32>();
  ${f.causal ? `let lastKey = min(P.keys, firstQuery + ${f.queries}u);` : "let lastKey = P.keys;"}
  for (var firstKey = 0u; firstKey < lastKey; firstKey += ${KEYS}u) {
${scores(f)}
${softmax(f)}
${weightedSums(f)}
  }
${finish(f, at)}`;
}

/** A line for each of a thread's queries and chunks of the head. */
function eachSum({ chunks }: AttentionForm, make: (r: number, g: number) => string): string {
  return lines(4, (r) => lines(chunks, (g) => make(r, g)));
}

/** s = q kT over all chunks of the head, scaled, what lies beyond the last key or the query masked. */
function scores(f: AttentionForm): string {
  const isVisible = (r: number) =>
    `(key < vec4<u32>(P.keys))${f.causal ? ` & (key <= vec4<u32>(firstQuery + ty * 4u + ${r}u))` : ""}`;
  // Queries are scaled already in f16.
  const scaled = (r: number) => `s${r}${f.halves ? "" : " * P.scale"}`;
  return `${lines(4, (r) => `    var s${r} = vec4<f32>();`)}
${lines(f.chunks, (g) => scoresOfChunk(f, g))}
    let key = vec4<u32>(firstKey + tx * 4u) + vec4<u32>(0u, 1u, 2u, 3u);
${lines(4, (r) => `    s${r} = select(vec4<f32>(-3.0e38), ${scaled(r)}, ${isVisible(r)});`)}`;
}

function scoresOfChunk(f: AttentionForm, g: number): string {
  const next = g + 1 < f.chunks ? fetchKeys(f, "firstKey", g + 1) : fetchValues(f, 0);
  const sum = (r: number) => (f.halves ? `hs${r}_${g}` : `s${r}`);
  return `${exchanged(storeKeys(f), next)}
${f.halves ? lines(4, (r) => `    var hs${r}_${g} = vec4<f16>();`) : ""}
    for (var e = 0u; e < ${CHUNK}u; e += ${WRITTEN}u) {
      let fromQ = (${g * CHUNK}u + e) * ${f.rows}u + ty;
      let even = e * ${KEYS / 4}u + tx;
      let odd = e * ${KEYS / 4}u + (tx ^ 4u);
${lines(
  WRITTEN,
  (k) => `      {
        let a = tileQ[fromQ + ${k * f.rows}u];
        let b = ${sharedQuad(f, `${k & 4 ? "odd" : "even"} + ${(k * KEYS) / 4}u`)};
${lines(4, (r) => `        ${sum(r)} = fma(${f.vec4}(a[${r}]), b, ${sum(r)});`)}
      }`,
)}
    }
${f.halves ? lines(4, (r) => `    s${r} += vec4<f32>(hs${r}_${g});`) : ""}`;
}

/**
 * The largest score so far of each query (all of its eight threads), exponentials relative to it to tileP[key][quad of queries],
 * and what was summed before brought to the new scale. Each thread sums its own keys' exponentials.
 */
function softmax(f: AttentionForm): string {
  return `    let own = vec4<f32>(${list(4, (r) => `max(max(s${r}.x, s${r}.y), max(s${r}.z, s${r}.w))`)});
${f.shuffles ? `    let next = max(rowMax, ${shuffleMax("own", ROW_THREADS)});` : sharedMax(f)}
    let rescale = exp(rowMax - next);
    rowMax = next;
${lines(4, (r) => `    s${r} = exp(s${r} - next[${r}]);`)}
    sum = sum * rescale + vec4<f32>(${list(4, (r) => `(s${r}.x + s${r}.y) + (s${r}.z + s${r}.w)`)});
${lines(4, (j) => `    tileP[(tx * 4u + ${j}u) * ${f.rows}u + ty] = ${f.vec4}(vec4<f32>(${list(4, (r) => `s${r}[${j}]`)}));`)}
${eachSum(f, (r, g) => `    o${r}_${g} *= rescale[${r}];`)}`;
}

function sharedMax(f: AttentionForm): string {
  const tile = exchangeTile(f);
  return `    ${tile}[tx * ${f.rows}u + ty] = own;
    workgroupBarrier();
    var next = rowMax;
    for (var i = 0u; i < ${ROW_THREADS}u; i++) { next = max(next, ${tile}[i * ${f.rows}u + ty]); }
    workgroupBarrier();`;
}

/** o += p v, chunk by chunk of the head. */
function weightedSums(f: AttentionForm): string {
  return lines(f.chunks, (g) => {
    const next = g + 1 < f.chunks ? fetchValues(f, g + 1) : fetchKeys(f, `firstKey + ${KEYS}u`, 0);
    const sum = (r: number) => `${f.halves ? "h" : ""}o${r}_${g}`;
    return `${exchanged(storeValues(f), next)}
${f.halves ? lines(4, (r) => `    var ho${r}_${g} = vec4<f16>();`) : ""}
    for (var c = 0u; c < ${KEYS}u; c += ${WRITTEN}u) {
      let fromP = c * ${f.rows}u + ty;
      let fromV = c * ${CHUNK / 4}u + tx;
${lines(
  WRITTEN,
  (k) => `      {
        let p = tileP[fromP + ${k * f.rows}u];
        let b = ${sharedQuad(f, `fromV + ${(k * CHUNK) / 4}u`)};
${lines(4, (r) => `        ${sum(r)} = fma(${f.vec4}(p[${r}]), b, ${sum(r)});`)}
      }`,
)}
    }
${f.halves ? lines(4, (r) => `    o${r}_${g} += vec4<f32>(ho${r}_${g});`) : ""}`;
  });
}

/** out = o / total: each thread has the sum of its own keys. */
function finish(f: AttentionForm, at: At): string {
  const tile = exchangeTile(f);
  return `  // Each thread has the sum of its own keys.
  workgroupBarrier();
  ${tile}[tx * ${f.rows}u + ty] = sum;
  workgroupBarrier();
  var total = vec4<f32>();
  for (var i = 0u; i < ${ROW_THREADS}u; i++) { total += ${tile}[i * ${f.rows}u + ty]; }
${eachSum(f, (r, g) => write(f, at, r, g))}`;
}

function write(f: AttentionForm, at: At, r: number, g: number): string {
  const index = `startQ + query * P.channels + d`;
  const value = `o${r}_${g} / total[${r}]`;
  const put = f.quad
    ? `if (d < P.depth) { ${at("out", `(${index}) >> 2u`)} = ${value}; }`
    : `let value = ${value};
${lines(4, (j) => `      if (d + ${j}u < P.depth) { ${at("out", `${index} + ${j}u`)} = value[${j}]; }`)}`;
  return `  { let query = firstQuery + ty * 4u + ${r}u; let d = ${g * CHUNK}u + tx * 4u;
    if (query < P.queries) { ${put} }
  }`;
}

/** Stores what is in registers once all have computed with what lay there, and reads what comes next. */
function exchanged(store: string, next: string): string {
  return `    workgroupBarrier();
${store}
    workgroupBarrier();
${next}`;
}

/** Where threads exchange maxima and sums, which stay fp32: in f16 they don't fit into the scores' memory. */
function exchangeTile({ halves }: AttentionForm): string {
  return halves ? "tileM" : "tileP";
}

/** Values along the head, or keys, that are written out in the loops of products. */
const WRITTEN = 8;
